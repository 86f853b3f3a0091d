//! Why a request has no result, and how HTTP says so.

use hyper::StatusCode;

#[derive(Debug)]
pub enum Failure {
    /// The request is wrong.
    Request(String),
    /// There is no such order or route.
    NotFound,
    /// The route exists, but not with this method.
    Method,
    /// The request's body is larger than the service takes.
    TooLarge,
    /// The database did not do what it was asked.
    Database(mysql_async::Error),
    /// The shipping service did not answer.
    Shipping(String),
}

impl Failure {
    pub fn status(&self) -> StatusCode {
        match self {
            Failure::Request(_) => StatusCode::BAD_REQUEST,
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::Method => StatusCode::METHOD_NOT_ALLOWED,
            Failure::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            // What the database refuses will be refused again; what it could not be
            // asked may go well the next time.
            Failure::Database(mysql_async::Error::Server(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Failure::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Shipping(_) => StatusCode::BAD_GATEWAY,
        }
    }

    pub fn reason(&self) -> String {
        match self {
            Failure::Request(why) => why.clone(),
            Failure::NotFound => "not found".to_string(),
            Failure::Method => "method not allowed".to_string(),
            Failure::TooLarge => "the body is too large".to_string(),
            Failure::Database(e) => format!("database: {e}"),
            Failure::Shipping(e) => format!("shipping: {e}"),
        }
    }
}

impl From<mysql_async::Error> for Failure {
    fn from(e: mysql_async::Error) -> Failure {
        Failure::Database(e)
    }
}
