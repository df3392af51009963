//! `/openapi.json` and the router have the same routes and methods.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::server;

/// The router, as it is written.
const ROUTES: &str = include_str!("../../src/server/routes.rs");

/// Every path of the router; its parameters have no names here.
fn paths_of_the_router() -> BTreeSet<String> {
    let calls = ROUTES.split(".route(").skip(1);
    let paths = calls.map(|call| call.split('"').nth(1).unwrap());
    paths.map(nameless).collect()
}

fn nameless(path: &str) -> String {
    let parts = path.split('/');
    let parts = parts.map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn the_document_has_the_routers_routes_and_methods() {
    let server = server::start_loading(|_| {});
    // It is there before the model is.
    let reply = server.get("/openapi.json");
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json"))
    );
    let document = reply.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut methods = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let operations = operations.as_object().unwrap().keys();
        let operations: BTreeSet<String> = operations.map(|m| m.to_uppercase()).collect();
        methods.insert(path.as_str(), operations);
    }
    let documented: BTreeSet<String> = methods.keys().map(|path| nameless(path)).collect();
    assert_eq!(documented, paths_of_the_router());
    for (path, documented) in methods {
        let path = path.replace(['{', '}'], "");
        let reply = server.send("BREW", &path, &[], b"");
        assert_eq!(reply.status, 405, "{path}");
        let allow = reply.header("allow").unwrap_or_default();
        // Where there is GET, there is HEAD.
        let allowed = allow.split(',').filter(|method| *method != "HEAD");
        assert_eq!(
            allowed.map(str::to_owned).collect::<BTreeSet<_>>(),
            documented,
            "{path}"
        );
    }
}

#[test]
fn every_operation_says_what_it_is_and_how_it_fails() {
    let server = server::start_loading(|_| {});
    let document = server.get("/openapi.json").json();
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].is_string(), "{id}");
            let responses = operation["responses"].as_object().unwrap();
            let has = |status: &str| responses.contains_key(status);
            assert!(has("200") && has("500") && has("431"), "{id}");
            if path.starts_with("/v1/") {
                assert!(has("401") && has("503"), "{id}");
            }
            if operation.get("requestBody").is_some() {
                assert!(
                    method == "post" && has("400") && has("408") && has("413"),
                    "{id}"
                );
            }
        }
    }
}

#[test]
fn a_field_that_is_not_what_the_document_says_is_refused_whatever_is_beside_it() {
    let (generating, pooling) = (server::start(|_| {}), server::start_pooling(|_| {}));
    let document = generating.get("/openapi.json").json();
    let messages = json!([{"role": "user", "content": "a"}]);
    let bodies = [
        ("/v1/chat/completions", json!({"messages": messages})),
        ("/v1/completions", json!({"prompt": "a"})),
        ("/v1/responses", json!({"input": "a"})),
        ("/v1/embeddings", json!({"input": "a"})),
        ("/tokenize", json!({"prompt": "a"})),
        ("/tokenize", json!({"messages": messages})),
        ("/detokenize", json!({"tokens": [97]})),
    ];
    let mut documented: BTreeSet<&str> = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        if !operations["post"]["requestBody"].is_null() {
            documented.insert(path);
        }
    }
    assert_eq!(documented, bodies.iter().map(|(path, _)| *path).collect());
    let values = [
        json!(null),
        json!(true),
        json!(-2441),
        json!(0.5),
        json!("\u{e9}"),
        json!([null]),
        json!({"a": null}),
    ];
    let mut refused = 0;
    for (path, body) in bodies {
        let server = match path {
            "/v1/embeddings" => &pooling,
            _ => &generating,
        };
        assert_eq!(server.post(path, &body).status, 200, "{path}");
        for (field, fits) in validators(&document, path) {
            for value in values.iter().filter(|value| !fits.is_valid(value)) {
                let mut body = body.clone();
                body[&field] = value.clone();
                let status = server.post(path, &body).status;
                assert_eq!(status, 400, "{path} {field} {value}");
                refused += 1;
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// Of each field in a route's body, what tells whether a value is one that it may have.
fn validators(document: &Value, path: &str) -> Vec<(String, jsonschema::Validator)> {
    let content = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"];
    let reference = content["schema"]["$ref"].as_str().unwrap();
    let body = document.pointer(reference.trim_start_matches('#')).unwrap();
    let fields = body["properties"].as_object().unwrap().keys();
    let validators = fields.map(|field| {
        let schema = json!({
            "$ref": format!("{reference}/properties/{field}"),
            "components": document["components"],
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        (field.clone(), validator)
    });
    validators.collect()
}
