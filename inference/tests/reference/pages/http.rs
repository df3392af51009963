//! `http.md`: routes, fields of requests, what an answer says of its cost, headers, errors and limits.

use candela_engine::{
    openai::{ChatRequest, CompletionRequest, GenerationOptions},
    request::FieldRoute,
    stats::HEADER_NAMES,
};
use schemars::schema_for;

use super::{MADE, code, fields, limits, table};

const ROUTES: &[(&str, &str)] = &[
    (
        "GET /health",
        "200 without a body; 503 once the engine is dead or stopping. Answers before the model is loaded",
    ),
    ("GET /ping, POST /ping", "the same"),
    (
        "GET /ready",
        "200 when the model is loaded and nothing is stopping, else 503",
    ),
    (
        "GET /progress",
        "how far fetching and loading are: phase, bytes done, bytes in all",
    ),
    ("GET /version", "`{\"version\": …}`"),
    ("GET /metrics", "Prometheus text ([metrics](metrics.md))"),
    (
        "GET /v1/models",
        "the names that are served: `id`, `object`, `created`, `owned_by`, `root`, `max_model_len`",
    ),
    ("GET /v1/models/{id}", "one of them"),
    (
        "POST /v1/chat/completions",
        "[below](#post-v1chatcompletions)",
    ),
    ("POST /v1/completions", "[below](#post-v1completions)"),
    (
        "POST /v1/embeddings",
        "vectors of texts ([guide](../guide/embeddings.md#request))",
    ),
    (
        "POST /tokenize, POST /detokenize",
        "the tokens of a text or a chat, and back ([guide](../guide/embeddings.md#tokenize-detokenize))",
    ),
];

const HEADERS_IN: &[(&str, &str)] = &[
    (
        "Authorization",
        "`Bearer KEY`, where there is `--api-key-file`: routes below `/v1` only",
    ),
    (
        "X-Request-Id",
        "becomes the request's id and comes back, if it matches `[A-Za-z0-9._-]{1,128}`; else there is one of ours",
    ),
    (
        "X-Candela-Tenant",
        "who pays, for the usage log: at most 128 visible ASCII characters",
    ),
    (
        "endpoint-load-metrics-format",
        "`TEXT` or `JSON`: the answer says how loaded the engine is (ORCA)",
    ),
    (
        "TE",
        "`trailers`: a stream ends with the stats headers as trailers",
    ),
    (
        "traceparent",
        "W3C trace context: its ids are in the log lines and the usage log",
    ),
];

const HEADERS_OUT: &[(&str, &str)] = &[
    ("X-Request-Id", "on every answer"),
    (
        "x-vllm-*, x-candela-compute-time",
        "[what the request cost](#what-a-request-cost)",
    ),
    (
        "endpoint-load-metrics",
        "`kv_cache_usage_perc` and `num_requests_waiting`, where they were asked for",
    ),
    ("Retry-After", "seconds, on 503"),
    ("WWW-Authenticate", "`Bearer`, on 401"),
    ("Allow", "on 405"),
];

const ERRORS: &[(&str, &str, &str)] = &[
    (
        "400",
        "BadRequestError",
        "the body, or a field of it: `param` names it and `message` says what to change. Also what does not fit a schema (never 422), and prompts beyond the context",
    ),
    (
        "401",
        "AuthenticationError",
        "no key, or none that is known",
    ),
    (
        "404",
        "NotFoundError",
        "no such route, or no such model (`param` is `model`)",
    ),
    (
        "405",
        "MethodNotAllowedError",
        "another method; `Allow` has those there are",
    ),
    (
        "408",
        "RequestTimeoutError",
        "the body did not come in time",
    ),
    (
        "413",
        "PayloadTooLargeError",
        "the body is larger than `--max-body-bytes`",
    ),
    (
        "500",
        "InternalServerError",
        "a fault of the server, without its internals; they are in its log",
    ),
    (
        "503",
        "ServiceUnavailableError",
        "the model is loading, the queue is full, or the server stops: `Retry-After` says when to try again",
    ),
];

const COST: &str = "\
Times are of one monotonic clock. A request *arrives* when it has been read, is *queued* when the scheduler has it,
is *scheduled* when it first has a place in a step, and has its first and its last token.

With `--enable-request-stats-headers`, on answers that are not streamed, of chats, completions with one prompt,
responses, and embeddings with one input. Milliseconds with two decimals; counts are integers. Streams have them as
trailers, where the client sends `TE: trailers`. Errors have none.
";
const COST_OF: [&str; 10] = [
    "from arrival to the end",
    "from being queued to being scheduled",
    "from being scheduled to the last token",
    "from being scheduled to the first token",
    "from the first token to the last",
    "tokens of the prompt",
    "tokens of the answers",
    "tokens of the prompt that were in the prefix cache",
    "mean time of a token after the first; 0.00 with one token or none",
    "the request's share of the engine's time: each step's duration is divided among the requests in it by the tokens each put through it",
];
const METRICS: &str = "
With `--enable-per-request-metrics`, the object `metrics` in the body, of requests with `\"include_metrics\": true` or
(`=always`) of all: on the answer, and in streams on the last chunk that has data (in the event
`response.completed` or `response.incomplete`). JSON numbers that are not rounded; null, and absent in streams,
where there is no value.

";
const METRICS_OF: &[(&str, &str)] = &[
    (
        "time_to_first_token_ms",
        "from being scheduled to the first token: the queue is not in it",
    ),
    ("queue_time_ms", "from being queued to being scheduled"),
    ("generation_time_ms", "from the first token to the last"),
    ("mean_itl_ms", "mean time of a token after the first"),
    (
        "tokens_per_second",
        "tokens of the answers, over the time from being scheduled to the last token",
    ),
    ("prefill_time_ms", "as the header"),
    ("inference_time_ms", "as the header"),
    ("total_time_ms", "as the header"),
    ("compute_time_ms", "as the header"),
    ("cached_tokens", "as the header"),
];
const COST_END: &str = "
With several answers (`n`) the numbers are the whole request's: the prompt counts once, answers and compute time are
added up, and times run from the first beginning to the last end. A completion with several prompts has neither headers
nor `metrics`, since its prompts cannot be added up meaningfully.
";

pub(super) fn page() -> String {
    let pairs = |pairs: &[(&str, &str)]| {
        let row = |(name, what): &(&str, &str)| vec![code(name), (*what).to_owned()];
        pairs.iter().map(row).collect::<Vec<_>>()
    };
    let mut page = format!("# HTTP\n\n{MADE}\n\n## Routes\n\n");
    page += &table(&["route", "what it is"], pairs(ROUTES));
    page += "\nEvery field of a request is honoured, refused with a 400 that names it, or ignored and named here. Fields that\n";
    page += "neither OpenAI's API nor vLLM's knows are ignored, as vLLM ignores them. Where a key comes twice, its last counts.\n";
    page += &route(
        "POST /v1/chat/completions",
        FieldRoute::Chat,
        &[schema_for!(ChatRequest), schema_for!(GenerationOptions)],
    );
    page += &route(
        "POST /v1/completions",
        FieldRoute::Completions,
        &[
            schema_for!(CompletionRequest),
            schema_for!(GenerationOptions),
        ],
    );
    page += &format!("\n## What a request cost\n\n{COST}\n");
    let headers = HEADER_NAMES.iter().zip(COST_OF);
    page += &table(
        &["header", "what it is"],
        headers.map(|(name, what)| vec![code(name), what.to_owned()]),
    );
    page += METRICS;
    page += &table(&["member", "what it is"], pairs(METRICS_OF));
    page += COST_END;
    page += "\n## Headers\n\nOf requests:\n\n";
    page += &table(&["header", "what it does"], pairs(HEADERS_IN));
    page += "\nOf answers:\n\n";
    page += &table(&["header", "what it is"], pairs(HEADERS_OUT));
    page += "\n## Errors\n\nEvery answer that is not a success has the body `{\"error\": {\"message\", \"type\", \"param\", \"code\"}}`, where `code` is\nthe status. An error amid a stream is a `data:` line with this object, then `data: [DONE]`.\n\n";
    let row = |(status, kind, when): &(&str, &str, &str)| {
        vec![code(status), code(kind), (*when).to_owned()]
    };
    page += &table(&["status", "type", "when"], ERRORS.iter().map(row));
    page += "\n## Limits\n\nNamed constants of the code; those that a flag sets are the flag's default.\n\n";
    page += &limits::section();
    page
}

fn route(title: &str, route: FieldRoute, schemas: &[schemars::Schema]) -> String {
    format!(
        "\n## `{title}`\n\n{}{}",
        fields::taken(schemas),
        fields::others(route)
    )
}
