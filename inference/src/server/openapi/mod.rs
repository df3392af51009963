//! `/openapi.json`: the document of all routes. Schemas come from the types that read requests and write
//! answers, bounds from the constants that requests are checked against, and a test holds it against
//! the router's routes.

mod bounds;
mod operation;
mod operations;
mod schemas;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use serde_json::{Map, Value, json};

use self::{operation::error_responses, schemas::Schemas};

static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&document()).unwrap_or_default().into());

/// `GET /openapi.json`. It is the same for every model, and there before one is loaded.
pub(super) async fn serve() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, DOCUMENT.clone()).into_response()
}

/// The document.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for operation in operations::all(&mut schemas) {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        methods[operation.method] = operation.to_value();
    }
    let mut schemas = schemas.into_components();
    bounds::apply(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Candela",
            "description": "An OpenAI-compatible inference engine that says what each request cost. \
                Unknown fields are ignored. Every answer that is not a success is an error object. \
                A method that a route does not have is answered by 405.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": error_responses(),
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A line of the file that --api-key-file names. Without that flag no \
                        key is needed.",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests;
