//! `/tokenize` and `/detokenize`.

use serde_json::json;

use crate::{
    fake_model::{END, MAX_MODEL_LEN, VOCAB_SIZE},
    server,
};

#[test]
fn texts_and_chats_become_tokens_and_tokens_text() {
    let server = server::start(|_| {});
    let reply = server.post(
        "/tokenize",
        &json!({"prompt": "a b<|end|>", "return_token_strs": true}),
    );
    assert_eq!(
        reply.json(),
        json!({"count": 4, "max_model_len": MAX_MODEL_LEN, "tokens": [97, 32, 98, END],
               "token_strs": ["a", "Ġ", "b", "<|end|>"]})
    );
    let chat =
        json!({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]});
    let reply = server.post("/tokenize", &chat).json();
    assert_eq!(
        (&reply["tokens"], &reply["token_strs"]),
        (&json!([83, 120, 121]), &json!(null))
    );
    let reply = server.post("/detokenize", &json!({"tokens": [97, 32, 98, END]}));
    assert_eq!(reply.json(), json!({"prompt": "a b<|end|>"}));
    let long = server.post(
        "/tokenize",
        &json!({"prompt": "a".repeat(2 * MAX_MODEL_LEN)}),
    );
    assert_eq!(long.json()["count"], 2 * MAX_MODEL_LEN);
    assert_eq!(
        server.post("/detokenize", &json!({"tokens": []})).json(),
        json!({"prompt": ""})
    );
}

#[test]
fn what_is_wrong_is_named() {
    let server = server::start(|_| {});
    for (path, body, param) in [
        ("/tokenize", json!({}), json!("prompt")),
        ("/tokenize", json!({"prompt": 1}), json!("prompt")),
        (
            "/tokenize",
            json!({"prompt": "a", "messages": []}),
            json!("messages"),
        ),
        ("/tokenize", json!({"messages": []}), json!("messages")),
        (
            "/tokenize",
            json!({"messages": [], "chat_template": "x"}),
            json!("chat_template"),
        ),
        (
            "/tokenize",
            json!({"prompt": "a".repeat((4 << 20) + 1)}),
            json!("prompt"),
        ),
        ("/detokenize", json!({}), json!("tokens")),
        (
            "/detokenize",
            json!({"tokens": [VOCAB_SIZE]}),
            json!("tokens[0]"),
        ),
        (
            "/detokenize",
            json!({"tokens": [0, -1]}),
            json!("tokens[1]"),
        ),
        (
            "/detokenize",
            json!({"tokens": vec![1; (1 << 19) + 1]}),
            json!("tokens"),
        ),
    ] {
        let reply = server.post(path, &body);
        assert_eq!(reply.status, 400, "{path}");
        assert_eq!(reply.json()["error"]["param"], param, "{path}");
    }
    let unknown = server.post("/tokenize", &json!({"prompt": "a", "model": "x"}));
    assert_eq!(unknown.status, 404);
    assert_eq!(server.get("/tokenize").status, 405);
}

#[test]
fn a_model_that_makes_embeddings_has_a_tokenizer_too() {
    let server = server::start_pooling(|_| {});
    assert_eq!(
        server.post("/tokenize", &json!({"prompt": "ab"})).json()["count"],
        2
    );
}
