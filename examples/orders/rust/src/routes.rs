//! The HTTP interface: what is asked, and what is answered.

use hyper::body::HttpBody;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Body, Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::failure::Failure;
use crate::shipping::Shipping;
use crate::store::{NewOrder, Store};

/// The longest body of a request, in bytes.
const LONGEST_BODY: usize = 1 << 20;

/// The most orders in one request: the database takes 65,535 parameters.
const MOST_ORDERS: usize = 1000;

const PAGE: &str = include_str!("../../go/page.html");

pub struct Service {
    store: Store,
    shipping: Shipping,
}

impl Service {
    pub fn new(config: Config) -> Result<Service, String> {
        Ok(Service {
            store: Store::new(&config.database)?,
            shipping: Shipping::new(config)?,
        })
    }

    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.route(request).await.unwrap_or_else(|failure| {
            let error = serde_json::json!({ "error": failure.reason() });
            json(failure.status(), &error)
        })
    }

    async fn route(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let (head, body) = request.into_parts();
        let path: Vec<&str> = head.uri.path()[1..].split('/').collect();
        match path[..] {
            [""] => match head.method {
                Method::GET => Ok(with_type(StatusCode::OK, "text/html; charset=utf-8", PAGE)),
                _ => Err(Failure::Method),
            },
            ["table"] => match head.method {
                Method::PUT => {
                    self.store.initialise().await?;
                    Ok(empty())
                }
                _ => Err(Failure::Method),
            },
            ["orders"] => match head.method {
                Method::GET => Ok(json(StatusCode::OK, &self.store.list().await?)),
                Method::POST => self.create(&read(body).await?).await,
                _ => Err(Failure::Method),
            },
            ["orders", id] => {
                let id = id.parse().map_err(|_| Failure::NotFound)?;
                match head.method {
                    Method::GET => Ok(json(StatusCode::OK, &self.store.get(id).await?)),
                    Method::PUT => {
                        let new: NewOrder = parse(&read(body).await?)?;
                        new.check()?;
                        Ok(json(StatusCode::OK, &self.store.replace(id, new).await?))
                    }
                    Method::DELETE => {
                        self.store.delete(id).await?;
                        Ok(empty())
                    }
                    _ => Err(Failure::Method),
                }
            }
            ["echo"] => match head.method {
                Method::POST => {
                    // As it comes in, so that an echo of any length needs little memory.
                    let mut answer = Response::new(body);
                    if let Some(kind) = head.headers.get(CONTENT_TYPE) {
                        answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
                    }
                    Ok(answer)
                }
                _ => Err(Failure::Method),
            },
            ["shipping", way] => match head.method {
                Method::GET => {
                    let rates = self.shipping.rates(way).await?;
                    Ok(with_type(StatusCode::OK, "application/json", rates))
                }
                _ => Err(Failure::Method),
            },
            _ => Err(Failure::NotFound),
        }
    }

    /// Adds the order of the body, or all of a list.
    async fn create(&self, body: &[u8]) -> Result<Response<Body>, Failure> {
        let one = body.trim_ascii_start().first() != Some(&b'[');
        let new: Vec<NewOrder> = if one { vec![parse(body)?] } else { parse(body)? };
        if new.len() > MOST_ORDERS {
            return Err(Failure::Request(format!("at most {MOST_ORDERS} orders at once")));
        }
        for order in &new {
            order.check()?;
        }
        let created = self.store.add(new).await?;
        Ok(match &created[..] {
            [order] if one => json(StatusCode::CREATED, order),
            orders => json(StatusCode::CREATED, &orders),
        })
    }
}

async fn read(mut body: Body) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|e| Failure::Request(format!("read the body: {e}")))?;
        if all.len() + chunk.len() > LONGEST_BODY {
            return Err(Failure::TooLarge);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| Failure::Request(format!("the body: {e}")))
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    // Orders and errors are plain data, which always has a JSON form.
    let mut text = serde_json::to_string(value).expect("plain data");
    text.push('\n'); // for people with a terminal
    with_type(status, "application/json", text)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn empty() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}
