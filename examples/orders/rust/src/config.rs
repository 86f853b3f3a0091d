//! What the environment says.

use std::net::SocketAddr;

pub struct Config {
    /// LISTEN, an address with a port; 0.0.0.0:8080 when unset.
    pub listen: SocketAddr,
    /// DATABASE_URL, mysql://user:password@host:port/database.
    pub database: String,
    /// SHIPPING_URL, the http:// service that knows what shipping costs.
    pub shipping: Option<String>,
    /// SECURE_SHIPPING_URL, the same behind https://.
    pub secure_shipping: Option<String>,
    /// TRUST_ANCHORS, a PEM file with the certificate authorities to believe.
    pub trust_anchors: Option<String>,
}

impl Config {
    pub fn from_env() -> Result<Config, String> {
        let listen = var("LISTEN").unwrap_or_else(|| "0.0.0.0:8080".to_string());
        Ok(Config {
            listen: listen
                .parse()
                .map_err(|_| format!("LISTEN is {listen:?}, which is no address with a port"))?,
            database: var("DATABASE_URL")
                .ok_or("DATABASE_URL is not set: give mysql://user:password@host:port/database")?,
            shipping: var("SHIPPING_URL"),
            secure_shipping: var("SECURE_SHIPPING_URL"),
            trust_anchors: var("TRUST_ANCHORS"),
        })
    }
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}
