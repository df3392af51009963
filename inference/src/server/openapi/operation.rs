//! How an operation of the document is put together.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{server::limits, stats::HEADER_NAMES};

/// What every route may answer, whatever it is asked: a head that is too large, and our own faults.
const EVERYWHERE: &[u16] = &[431, 500];
/// What everything below `/v1` may answer: no key, no model yet.
const API: &[u16] = &[401, 503];
/// What may come of a body.
const BODY: &[u16] = &[400, 408, 413];

/// A method of a path.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    members: Map<String, Value>,
    parameters: Vec<Value>,
    /// The content of a success.
    content: Map<String, Value>,
    headers: Map<String, Value>,
    statuses: Vec<u16>,
    /// What can be done with what a success returns.
    links: Map<String, Value>,
}

impl Operation {
    /// A route that a browser, a probe or a scraper reads.
    pub(super) fn get(path: &'static str, id: &str, summary: &str) -> Self {
        Self::new("get", path, id, summary)
    }

    /// A route that takes a body.
    pub(super) fn post(path: &'static str, id: &str, summary: &str, body: &Value) -> Self {
        let mut operation = Self::new("post", path, id, summary).fails(BODY);
        let content = json!({"application/json": {"schema": body}});
        operation.set("requestBody", json!({"required": true, "content": content}));
        operation
    }

    /// A route of any method.
    pub(super) fn new(method: &'static str, path: &'static str, id: &str, summary: &str) -> Self {
        let mut operation = Self {
            path,
            method,
            members: Map::new(),
            parameters: Vec::new(),
            content: Map::new(),
            headers: Map::new(),
            statuses: EVERYWHERE.to_vec(),
            links: Map::new(),
        };
        operation.set("operationId", id.into());
        operation.set("summary", summary.into());
        if path.starts_with("/v1/") {
            operation.set("security", json!([{"apiKey": []}, {}]));
            operation.statuses.extend(API);
        }
        operation
    }

    fn set(&mut self, member: &str, value: Value) {
        self.members.insert(member.to_owned(), value);
    }

    /// It may answer with these errors, too.
    pub(super) fn fails(mut self, statuses: &[u16]) -> Self {
        self.statuses.extend(statuses);
        self
    }

    /// A member of the path.
    pub(super) fn path_parameter(mut self, name: &str, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "path", "required": true, "description": description,
            "schema": {"type": "string", "minLength": 1},
        }));
        self
    }

    /// It is billed: it takes the tenant's name.
    pub(super) fn billed(mut self) -> Self {
        self.parameters.push(json!({
            "name": "X-Candela-Tenant", "in": "header", "description": "Who pays, for the usage log.",
            "schema": {
                "type": "string", "minLength": 1, "maxLength": limits::TENANT_BYTES_MAX,
                "pattern": "^[!-~]+$",
            },
        }));
        self
    }

    /// A success is JSON of this schema.
    pub(super) fn json(mut self, schema: &Value) -> Self {
        self.content
            .insert("application/json".to_owned(), json!({"schema": schema}));
        self
    }

    /// A success is text.
    pub(super) fn text(mut self) -> Self {
        self.content.insert(
            "text/plain".to_owned(),
            json!({"schema": {"type": "string"}}),
        );
        self
    }

    /// With `"stream": true` a success is a stream of events, each of which has data of this schema, or of an error; the
    /// last one is `[DONE]`.
    pub(super) fn events(self, data: &Value) -> Self {
        let data = json!({"anyOf": [data, error_body()]});
        let data = json!({"anyOf": [{"const": "[DONE]"}, json_text(&data)]});
        let description = "Events of `data: <JSON>`; the last one is `data: [DONE]`.";
        self.event_stream(json!({"data": data}), &["data"], description)
    }

    /// Likewise, but each event says its type, and there is no `[DONE]`.
    pub(super) fn typed_events(self, data: &Value, description: &str) -> Self {
        let properties = json!({"event": {"type": "string"}, "data": json_text(data)});
        self.event_stream(properties, &["event", "data"], description)
    }

    /// OpenAPI before 3.2 has no word for a stream; the schema is that of an event, by the names of its fields.
    fn event_stream(mut self, properties: Value, required: &[&str], description: &str) -> Self {
        let schema = json!({
            "type": "object", "description": description, "properties": properties, "required": required,
        });
        self.content
            .insert("text/event-stream".to_owned(), json!({"schema": schema}));
        self
    }

    /// What it cost may be in headers.
    pub(super) fn priced(mut self) -> Self {
        for name in HEADER_NAMES {
            let schema = if name.ends_with("-tokens") {
                json!({"type": "integer", "minimum": 0})
            } else {
                json!({"type": "number", "minimum": 0, "description": "Milliseconds."})
            };
            let description = "With --enable-request-stats-headers, unless it is streamed.";
            self.headers.insert(
                name.to_owned(),
                json!({"description": description, "schema": schema}),
            );
        }
        self
    }

    /// The `id` of a success is a parameter of another operation.
    pub(super) fn links_id_to(mut self, operation: &str, parameter: &str) -> Self {
        let parameters = json!({parameter: "$response.body#/id"});
        let link = json!({"operationId": operation, "parameters": parameters});
        self.links.insert(operation.to_owned(), link);
        self
    }

    /// As the document has it.
    pub(super) fn to_value(&self) -> Value {
        let mut headers = request_id_header();
        headers.extend(self.headers.clone());
        let mut success = json!({"description": "It worked.", "headers": headers});
        if !self.content.is_empty() {
            success["content"] = self.content.clone().into();
        }
        if !self.links.is_empty() {
            success["links"] = self.links.clone().into();
        }
        let mut responses = Map::new();
        responses.insert("200".to_owned(), success);
        let mut statuses = self.statuses.clone();
        statuses.sort_unstable();
        statuses.dedup();
        for status in statuses {
            let reference = format!("#/components/responses/{status}");
            responses.insert(status.to_string(), json!({"$ref": reference}));
        }
        let mut members = self.members.clone();
        if !self.parameters.is_empty() {
            members.insert("parameters".to_owned(), self.parameters.clone().into());
        }
        members.insert("responses".to_owned(), responses.into());
        members.into()
    }
}

/// The errors, by their status.
pub(super) fn error_responses() -> Value {
    let errors = [
        (
            400,
            "The request is malformed, or asks for what is not here.",
        ),
        (401, "The request brings no valid API key."),
        (404, "There is no such model, response or route."),
        (408, "The body did not arrive in time."),
        (413, "The body is larger than --max-body-bytes."),
        (431, "The head of the request is too large."),
        (500, "The server failed on this request."),
        (
            503,
            "The model is not loaded, the queue is full, or the server ends: try again.",
        ),
    ];
    let mut responses = Map::new();
    for (status, description) in errors {
        let mut headers = request_id_header();
        if status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
            let schema = json!({"type": "integer"});
            let description = "Seconds.";
            headers.insert(
                "Retry-After".to_owned(),
                json!({"description": description, "schema": schema}),
            );
        }
        let response = json!({
            "description": description,
            "headers": headers,
            "content": {"application/json": {"schema": error_body()}},
        });
        responses.insert(status.to_string(), response);
    }
    responses.into()
}

fn error_body() -> Value {
    json!({"$ref": "#/components/schemas/ErrorBody"})
}

/// A text that is JSON of this schema.
fn json_text(schema: &Value) -> Value {
    json!({"type": "string", "contentMediaType": "application/json", "contentSchema": schema})
}

fn request_id_header() -> Map<String, Value> {
    let header = json!({
        "description": "The request's own, where it is plain and not too long, else a new one.",
        "schema": {"type": "string"},
    });
    Map::from_iter([("X-Request-Id".to_owned(), header)])
}
