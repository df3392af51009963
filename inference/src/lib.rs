//! The inference engine: an OpenAI-compatible server that says what each request cost.
