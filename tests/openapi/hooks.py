"""What schemathesis cannot know: the name of the model that is served, that a generation should be short, and that only responses
which are stored can be read again. Requests of the coverage phase, and broken ones where it breaks them, keep their own values.
"""

import schemathesis

MODEL = "demo"
TOKENS = {
    "/v1/chat/completions": "max_completion_tokens",
    "/v1/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
}


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("model"), str) and len(body["model"]) != 3:
        body["model"] = MODEL
    if "input" in body:
        body["store"] = True
    field = TOKENS.get(context.operation.path)
    if field and isinstance(body.get(field), int) and not isinstance(body[field], bool) and body[field] > 8:
        body[field] = 8
    # Few valid requests are streamed by chance.
    if field and isinstance(body.get("stream", False), bool):
        body["stream"] = len(body) % 2 == 0
    return body
