//! Servers of others on loopback: a listener for their services, and a runtime for their clients.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::OnceLock};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, runtime::Runtime};

/// The body of an answer of any service.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The threads of all servers and clients of a test.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// Serves on a free port of loopback until the process ends.
pub(crate) fn serve<F>(
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let listener = runtime()
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    runtime().spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let connection = auto::Builder::new(TokioExecutor::new());
                // Connections that break are what some tests are about.
                let _ = connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// `GET`s a page of a server that answers.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    runtime().block_on(async {
        let answer = reqwest_client()
            .get(format!("http://{address}{path}"))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

/// `POST`s JSON to a server that answers.
pub(crate) fn post(address: SocketAddr, path: &str, body: &serde_json::Value) -> serde_json::Value {
    runtime().block_on(async {
        let request = reqwest_client()
            .post(format!("http://{address}{path}"))
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    })
}

fn reqwest_client() -> reqwest::Client {
    // Only plain connections are made; the client wants a way to encrypt all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
