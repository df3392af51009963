//! The routes, one operation each.

use serde_json::{Value, json};

use super::{operation::Operation, schemas::Schemas};
use crate::{
    openai::{
        ChatChunk, ChatCompletion, ChatRequest, Completion, CompletionRequest, DetokenizeRequest,
        DetokenizeResponse, EmbeddingRequest, EmbeddingResponse, ErrorBody, GenerationOptions,
        Model, ModelList, TokenizeRequest, TokenizeResponse,
        responses::{NumberedEvent, ResponseDeleted, ResponseObject, ResponsesRequest},
    },
    request::RESPONSES_SHARED_FIELDS,
    server::probes::{Progress, Version},
    stats::RequestMetrics,
};

/// All of them.
pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    // What no operation names by itself.
    schemas.answer::<ErrorBody>();
    schemas.answer::<RequestMetrics>();
    let mut all = probes(schemas);
    all.extend(models(schemas));
    all.extend(generation(schemas));
    all.extend(responses(schemas));
    all.extend(without_generation(schemas));
    all
}

fn probes(schemas: &mut Schemas) -> Vec<Operation> {
    let alive = "Whether the process is alive";
    vec![
        Operation::get("/health", "getHealth", alive).fails(&[503]),
        Operation::get("/ping", "getPing", alive).fails(&[503]),
        Operation::new("post", "/ping", "postPing", alive).fails(&[503]),
        Operation::get("/ready", "getReady", "Whether requests are answered").fails(&[503]),
        Operation::get("/progress", "getProgress", "How far the start is")
            .json(&schemas.answer::<Progress>()),
        Operation::get("/version", "getVersion", "The engine's version")
            .json(&schemas.answer::<Version>()),
        Operation::get("/metrics", "getMetrics", "What is measured, for Prometheus").text(),
        Operation::get("/openapi.json", "getOpenApi", "This document")
            .json(&json!({"type": "object"})),
    ]
}

fn models(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::get("/v1/models", "listModels", "The models that are served")
            .json(&schemas.answer::<ModelList>()),
        Operation::get(
            "/v1/models/{model}",
            "getModel",
            "A model by one of its names",
        )
        .path_parameter("model", "Its name; slashes need not be encoded.")
        .fails(&[400, 404])
        .json(&schemas.answer::<Model>()),
    ]
}

fn generation(schemas: &mut Schemas) -> Vec<Operation> {
    let chat = schemas
        .body("ChatCompletionRequest")
        .fields::<ChatRequest>()
        .fields::<GenerationOptions>()
        .done();
    let completion = schemas
        .body("CompletionRequest")
        .fields::<CompletionRequest>()
        .fields::<GenerationOptions>()
        .done();
    vec![
        generates(
            "/v1/chat/completions",
            "createChatCompletion",
            "Answers a conversation",
            &chat,
        )
        .json(&schemas.answer::<ChatCompletion>())
        .events(&schemas.answer::<ChatChunk>()),
        generates(
            "/v1/completions",
            "createCompletion",
            "Goes on from a text",
            &completion,
        )
        .json(&schemas.answer::<Completion>())
        .events(&schemas.answer::<Completion>()),
    ]
}

fn responses(schemas: &mut Schemas) -> Vec<Operation> {
    let request = schemas
        .body("ResponsesRequest")
        .fields::<ResponsesRequest>()
        .fields_among::<GenerationOptions>(|field| RESPONSES_SHARED_FIELDS.contains(&field))
        .fields_among::<ChatRequest>(|field| RESPONSES_SHARED_FIELDS.contains(&field))
        .done();
    let path = "/v1/responses/{response_id}";
    let id = "The id of a response that was stored.";
    vec![
        generates("/v1/responses", "createResponse", "Answers items", &request)
            .json(&schemas.answer::<ResponseObject>())
            .typed_events(
                &schemas.answer::<NumberedEvent>(),
                "Events of `event: <type>` and `data: <JSON>`; the last one is `response.completed`, \
                 `response.incomplete` or `error`.",
            )
            .links_id_to("getResponse", "response_id")
            .links_id_to("deleteResponse", "response_id"),
        Operation::get(path, "getResponse", "A stored response")
            .path_parameter("response_id", id)
            .fails(&[400, 404])
            .json(&schemas.answer::<ResponseObject>()),
        Operation::new("delete", path, "deleteResponse", "Forgets a stored response")
            .path_parameter("response_id", id)
            .fails(&[400, 404])
            .json(&schemas.answer::<ResponseDeleted>()),
    ]
}

/// Vectors, and the tokenizer by itself.
fn without_generation(schemas: &mut Schemas) -> Vec<Operation> {
    let embed = schemas.body("EmbeddingRequest");
    let embed = embed.fields::<EmbeddingRequest>().done();
    let tokenize = schemas.body("TokenizeRequest");
    let tokenize = tokenize.fields::<TokenizeRequest>().done();
    let detokenize = schemas.body("DetokenizeRequest");
    let detokenize = detokenize.fields::<DetokenizeRequest>().done();
    vec![
        generates(
            "/v1/embeddings",
            "createEmbedding",
            "Vectors of texts",
            &embed,
        )
        .json(&schemas.answer::<EmbeddingResponse>()),
        Operation::post(
            "/tokenize",
            "tokenize",
            "Tokens of a text or a chat",
            &tokenize,
        )
        .fails(&[404, 503])
        .json(&schemas.answer::<TokenizeResponse>()),
        Operation::post(
            "/detokenize",
            "detokenize",
            "The text of tokens",
            &detokenize,
        )
        .fails(&[404, 503])
        .json(&schemas.answer::<DetokenizeResponse>()),
    ]
}

fn generates(path: &'static str, id: &str, summary: &str, body: &Value) -> Operation {
    Operation::post(path, id, summary, body)
        .fails(&[404])
        .billed()
        .priced()
}
