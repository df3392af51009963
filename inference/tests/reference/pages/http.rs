//! `http.md`: routes, fields of requests, what an answer says of its cost, headers, errors and limits.

use std::collections::BTreeSet;

use candela_engine::{request::FieldRoute, server::openapi_document, stats::HEADER_NAMES};
use serde_json::Value;

use super::{MADE, code, fields, limits, table};

const ROUTES: &str = "\
`/openapi.json` describes all of them, with the schemas of what they take and answer. A method that a route does not
have is answered 405. The routes below `/v1` want a key where there is `--api-key-file`; the others never do. Probes,
`/progress`, `/metrics` and `/openapi.json` answer from the first moment, while the model is fetched and loaded.
";
const FIELDS: &str = "\
Every field of a request is honoured, refused with a 400 that names it, or ignored and named here. Fields that
neither OpenAI's API nor vLLM's knows are ignored, as vLLM ignores them. null is as good as leaving a field out.
Where a key comes twice, its last value counts.
";
const ERRORS_BEFORE: &str = "\
Every answer that is not a success has the body `{\"error\": {\"message\", \"type\", \"param\", \"code\"}}`, where `code` is
the status. An error amid a stream is a `data:` line with this object, then `data: [DONE]`; of `/v1/responses`, the events
`response.failed` and `error`.
";
const LIMITS: &str = "\
Named constants of the code. Where a flag sets one, this is the flag's default. Those of grammars are in the [threat
model](../threat-model.md#grammars), with who could do what without them.
";

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
        "W3C trace context: its trace id is in the log lines and the usage log",
    ),
    (
        "Content-Type",
        "`application/json` wherever there is a body, else 400",
    ),
    ("Content-Encoding", "none but `identity`, else 400"),
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
    (
        "X-Accel-Buffering",
        "`no`, on streams, with `Cache-Control: no-cache`",
    ),
    (
        "Connection",
        "`close` on 408, 413 and 431, and from SIGTERM on",
    ),
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
        "no such route, or no such model (`param` is `model`); of type `invalid_request_error` where a response is not stored (any more)",
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
        "431",
        "RequestHeaderFieldsTooLargeError",
        "the request's head is larger than the limits below",
    ),
    (
        "500",
        "InternalServerError",
        "a fault of the server, without its internals; they are in its log",
    ),
    (
        "503",
        "ServiceUnavailableError",
        "the model is loading, the queue is full, other requests' bodies take all the memory for bodies, too many grammars wait to be compiled, the engine failed, or the server stops: `Retry-After` says when to try again",
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
const COST_END: &str = "
With several answers (`n`) the numbers are the whole request's: the prompt counts once, answers and compute time are
added up, and times run from the first beginning to the last end. A completion with several prompts has neither headers
nor `metrics`, since its prompts cannot be added up meaningfully.
";

const USAGE: &str = "
With `--usage-log FILE`, or `-` for standard output, a JSON line for each prompt or input of a request, however it ended;
for billing. Errors that were found before the engine had the request have none. A line is written when its request is
over; where the disk cannot keep up, lines are dropped, counted, and said so in the log.

";
/// A line's members, in their order; a test over HTTP finds each of them here.
const USAGE_LINE: &[(&str, &str)] = &[
    ("time", "Unix seconds at the end, with milliseconds"),
    ("request_id", "as in the answer's `X-Request-Id`"),
    (
        "trace_id",
        "of the request's `traceparent`; absent without one",
    ),
    (
        "prompt_index",
        "which of several prompts or inputs; absent where there is one",
    ),
    ("model", "the name that was asked for"),
    (
        "finish_reason",
        "`stop` (also for tool calls), `length`, `abort` or `error`; with several answers the first one's",
    ),
    (
        "status",
        "of the answer: 200, 500 or 503, also where a stream had begun with 200; 499: the client left",
    ),
    ("user", "the request's `user`, or null"),
    ("tenant", "the header `X-Candela-Tenant`, or null"),
    ("prompt_tokens", "tokens of the prompt"),
    ("completion_tokens", "tokens of all its answers"),
    (
        "cached_tokens",
        "tokens of the prompt that were in the prefix cache",
    ),
    ("preemptions", "how often a sequence lost its blocks"),
    ("e2e_latency_seconds", "from arrival to the end"),
    (
        "queued_time_seconds",
        "from being queued to being scheduled",
    ),
    (
        "prefill_time_seconds",
        "from being scheduled to the first token",
    ),
    ("decode_time_seconds", "from the first token to the last"),
    ("inference_time_seconds", "prefill and decode"),
    (
        "mean_time_per_output_token_seconds",
        "mean time of a token after the first",
    ),
    (
        "compute_time_seconds",
        "its share of the engine's time: what to bill",
    ),
];
const USAGE_END: &str = "
Times, shares and counts are those of the request's record, not rounded, and null where it has none: with
`--disable-log-stats`, or where a client left before there was one.
";

/// Routes whose other fields are known.
const FIELD_ROUTES: &[(&str, FieldRoute)] = &[
    ("/v1/chat/completions", FieldRoute::Chat),
    ("/v1/completions", FieldRoute::Completions),
    ("/v1/responses", FieldRoute::Responses),
    ("/v1/embeddings", FieldRoute::Embeddings),
];

pub(super) fn page() -> String {
    let document = openapi_document();
    let mut page = format!("# HTTP\n\n{MADE}\n\n## Routes\n\n{ROUTES}\n");
    page += &routes(&document);
    page += &format!("\n{FIELDS}");
    page += &requests(&document);
    page += &format!("\n## What a request cost\n\n{COST}\n");
    let headers = HEADER_NAMES.iter().zip(COST_OF);
    let headers = headers.map(|(name, what)| vec![code(name), what.to_owned()]);
    page += &table(&["header", "what it is"], headers);
    page += METRICS;
    page += &fields::members(&document, "RequestMetrics", &mut BTreeSet::new());
    page += COST_END;
    page += &format!("\n## The usage log\n{USAGE}");
    page += &table(&["member", "what it is"], pairs(USAGE_LINE));
    page += USAGE_END;
    page += "\n## Headers\n\nOf requests:\n\n";
    page += &table(&["header", "what it does"], pairs(HEADERS_IN));
    page += "\nOf answers:\n\n";
    page += &table(&["header", "what it is"], pairs(HEADERS_OUT));
    page += &format!("\n## Errors\n\n{ERRORS_BEFORE}\n");
    let errors = ERRORS
        .iter()
        .map(|(status, kind, when)| vec![code(status), code(kind), (*when).to_owned()]);
    page += &table(&["status", "type", "when"], errors);
    page += &format!("\n## Limits\n\n{LIMITS}\n{}", limits::section());
    page
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<Vec<String>> {
    let row = |(name, what): &(&str, &str)| vec![code(name), (*what).to_owned()];
    pairs.iter().map(row).collect()
}

/// Every method of every path: what it is, and the errors that it may answer.
fn routes(document: &Value) -> String {
    let paths = document["paths"].as_object().into_iter().flatten();
    let rows = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| {
            let summary = operation["summary"].as_str().unwrap_or_default();
            let responses = operation["responses"].as_object().into_iter().flatten();
            let errors = responses.map(|(status, _)| status.as_str());
            let errors: Vec<&str> = errors.filter(|status| !status.starts_with('2')).collect();
            let name = format!("{} {path}", method.to_uppercase());
            vec![code(&name), summary.to_owned(), errors.join(" ")]
        })
    });
    table(&["route", "what it is", "errors"], rows)
}

/// The fields of each body, then the objects in them.
fn requests(document: &Value) -> String {
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        let body = &methods["post"]["requestBody"]["content"]["application/json"]["schema"];
        let Some(schema) = body["$ref"]
            .as_str()
            .and_then(|name| name.rsplit('/').next())
        else {
            continue;
        };
        section += &format!("\n## `POST {path}`\n\n");
        section += &fields::members(document, schema, &mut found);
        if let Some((_, route)) = FIELD_ROUTES.iter().find(|(known, _)| known == path) {
            section += &fields::others(document, schema, *route);
        }
    }
    section += "\n## Objects in requests\n";
    let mut shown = BTreeSet::new();
    while let Some(schema) = found.difference(&shown).next().cloned() {
        section += &format!("\n### {schema}\n\n");
        section += &fields::object(document, &schema, &mut found);
        shown.insert(schema);
    }
    section
}
