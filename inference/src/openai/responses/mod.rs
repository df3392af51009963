//! `/v1/responses`: OpenAI's newer way to talk to a model, in items instead of messages.

mod events;
mod object;
mod request;

pub use events::{NumberedEvent, Place, ResponseEvent};
pub use object::{
    CachedTokens, ContentItem, IncompleteDetails, ItemStatus, OutputItem, OutputText,
    ReasoningTokens, ResponseDeleted, ResponseError, ResponseObject, ResponseStatus, ResponseUsage,
};
pub use request::{
    InputItem, InputPart, ReasoningOptions, ResponsesRequest, ResponsesTool, TextFormat,
    TextOptions, TextOr,
};
