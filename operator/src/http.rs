//! A few requests to an engine: HTTP/1 over a fresh connection each.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Bytes of a response that are read.
const RESPONSE_MAX: usize = 16 << 20;

/// A response, read to its end.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; null if it is not JSON.
    pub body: Value,
}

/// A request that had no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("could not connect to {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The request cannot be written, such as with a key that no header can hold.
    #[error("could not write the request: {0}")]
    Request(#[from] hyper::http::Error),
    /// The exchange broke off.
    #[error("the exchange broke off: {0}")]
    Exchange(#[from] hyper::Error),
    /// The response is longer than [`RESPONSE_MAX`], or broke off.
    #[error("could not read the response: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends `body` by POST, or asks by GET if there is none.
///
/// # Errors
/// [`ClientError`]; a response with an error status is none.
pub async fn send(
    address: SocketAddr,
    path: &str,
    api_key: Option<&str>,
    body: Option<&Value>,
) -> Result<Response, ClientError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| ClientError::Connect { address, source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let method = if body.is_some() {
        Method::POST
    } else {
        Method::GET
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string());
    if let Some(key) = api_key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let response = sender
        .send_request(request.body(Full::new(Bytes::from(body)))?)
        .await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, RESPONSE_MAX)
        .collect()
        .await
        .map_err(ClientError::Body)?;
    driver.abort();
    let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body,
    })
}
