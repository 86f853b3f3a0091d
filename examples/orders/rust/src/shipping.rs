//! Calls to the shipping service, in three ways that services have.

use std::time::Duration;

use hyper::header::HOST;
use hyper::{Body, Request, Uri};

use crate::config::Config;
use crate::failure::Failure;
use crate::tls::Tls;

/// How long a call may take before the client of this service hears of it.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Shipping {
    plain: Option<String>,
    secure: Option<Uri>,
    client: reqwest::Client,
    tls: Option<Tls>,
}

impl Shipping {
    pub fn new(config: Config) -> Result<Shipping, String> {
        let secure = match config.secure_shipping {
            Some(url) => Some(url.parse().map_err(|e| format!("SECURE_SHIPPING_URL: {e}"))?),
            None => None,
        };
        let tls = match config.trust_anchors {
            Some(file) => Some(Tls::trusting(&file).map_err(|e| format!("TRUST_ANCHORS: {e}"))?),
            None => None,
        };
        Ok(Shipping { plain: config.shipping, secure, client: reqwest::Client::new(), tls })
    }

    /// Returns what the shipping service answers.
    pub async fn rates(&self, way: &str) -> Result<Vec<u8>, Failure> {
        match way {
            "plain" => in_time(self.plain()).await,
            "blocking" => self.blocking(),
            "secure" => in_time(self.secure()).await,
            _ => Err(Failure::NotFound),
        }
    }

    /// With reqwest, on connections that it keeps.
    async fn plain(&self) -> Result<Vec<u8>, Failure> {
        let answer = self.client.get(self.url()?).send().await.map_err(failed)?;
        let answer = answer.error_for_status().map_err(failed)?;
        Ok(answer.bytes().await.map_err(failed)?.to_vec())
    }

    /// With http_req. Nothing else happens in the service until it returns: right
    /// for tools and jobs, and here to show that it works.
    fn blocking(&self) -> Result<Vec<u8>, Failure> {
        let url = http_req::uri::Uri::try_from(self.url()?).map_err(failed)?;
        let mut body = Vec::new();
        let answer = http_req::request::Request::new(&url)
            .connect_timeout(Some(PATIENCE))
            .read_timeout(Some(PATIENCE))
            .send(&mut body)
            .map_err(failed)?;
        if !answer.status_code().is_success() {
            return Err(failed(answer.status_code()));
        }
        Ok(body)
    }

    /// With hyper on a connection of our own making, because the forks do TLS only
    /// by a plug-in of one host.
    async fn secure(&self) -> Result<Vec<u8>, Failure> {
        let url = self.secure.as_ref().ok_or_else(|| failed("SECURE_SHIPPING_URL is not set"))?;
        let tls = self.tls.as_ref().ok_or_else(|| failed("TRUST_ANCHORS is not set"))?;
        let authority = url.authority().ok_or_else(|| failed("SECURE_SHIPPING_URL has no host"))?;
        let stream = tls
            .connect(authority.host(), authority.port_u16().unwrap_or(443))
            .await
            .map_err(failed)?;
        let (mut sender, connection) = hyper::client::conn::Builder::new()
            .handshake(stream)
            .await
            .map_err(failed)?;
        // It ends when the sender is dropped and the answer read.
        tokio::spawn(connection);
        let path = url.path_and_query().map_or("/", |p| p.as_str());
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .body(Body::empty())
            .map_err(failed)?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(failed(answer.status()));
        }
        Ok(hyper::body::to_bytes(answer.into_body()).await.map_err(failed)?.to_vec())
    }

    fn url(&self) -> Result<&str, Failure> {
        self.plain.as_deref().ok_or_else(|| failed("SHIPPING_URL is not set"))
    }
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::Shipping(why.to_string())
}

async fn in_time(
    call: impl std::future::Future<Output = Result<Vec<u8>, Failure>>,
) -> Result<Vec<u8>, Failure> {
    tokio::time::timeout(PATIENCE, call)
        .await
        .unwrap_or_else(|_| Err(failed("no answer in time")))
}
