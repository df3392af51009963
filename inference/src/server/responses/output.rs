//! What the model puts out, piece by piece, as items; and as the events that tell a stream's reader.

use crate::{
    openai::{
        ChatTokenLogprob,
        responses::{ContentItem, ItemStatus, OutputItem, OutputText, Place, ResponseEvent},
    },
    prompt::{MessageDelta, ToolCallDelta},
    server::generation::Piece,
};

/// The items so far.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Items that are over.
    items: Vec<OutputItem>,
    /// The item that goes on.
    open: Option<Open>,
    /// White space that is text only if more follows: models put it before calls, too.
    space: String,
    /// Log probabilities that are in no event yet.
    logprobs: Vec<ChatTokenLogprob>,
    tokens: usize,
    reasoning_tokens: usize,
    events: Vec<ResponseEvent>,
}

/// An item that goes on.
#[derive(Debug)]
enum Open {
    Message {
        id: String,
        text: OutputText,
    },
    Reasoning {
        id: String,
        text: String,
    },
    Call {
        /// Which of the answer's calls.
        index: usize,
        id: String,
        call_id: String,
        name: String,
        arguments: String,
    },
}

impl Output {
    /// Adds what is new, and how likely its token was.
    pub(super) fn push(&mut self, piece: Piece, logprobs: Vec<ChatTokenLogprob>) {
        self.logprobs.extend(logprobs);
        self.tokens += usize::from(piece.token.is_some());
        let MessageDelta {
            content,
            reasoning,
            tool_calls,
        } = piece.delta;
        if !reasoning.is_empty() {
            self.reasoning_tokens = self.tokens;
            self.push_reasoning(reasoning);
        }
        if !content.is_empty() {
            self.push_text(content);
        }
        for call in tool_calls {
            self.push_call(call);
        }
    }

    /// Ends the last item. An answer that says nothing is an empty message.
    pub(super) fn finish(&mut self, status: ItemStatus) {
        if self.items.is_empty() && self.open.is_none() {
            let text = std::mem::take(&mut self.space);
            self.append_text(text);
        }
        self.close(status);
    }

    /// Events since this was last asked.
    pub(super) fn take_events(&mut self) -> Vec<ResponseEvent> {
        std::mem::take(&mut self.events)
    }

    /// The items that are over; all of them after [`Self::finish`].
    pub(super) fn into_items(self) -> Vec<OutputItem> {
        self.items
    }

    /// Tokens up to the end of the reasoning.
    pub(super) fn reasoning_tokens(&self) -> usize {
        self.reasoning_tokens
    }

    fn push_reasoning(&mut self, delta: String) {
        self.drop_space();
        if !matches!(self.open, Some(Open::Reasoning { .. })) {
            self.open(Open::Reasoning {
                id: item_id("rs"),
                text: String::new(),
            });
        }
        let place = self.place();
        if let Some(Open::Reasoning { text, .. }) = &mut self.open {
            text.push_str(&delta);
            self.events
                .push(ResponseEvent::ReasoningTextDelta { place, delta });
        }
    }

    fn push_text(&mut self, delta: String) {
        let delta = std::mem::take(&mut self.space) + &delta;
        let begun = matches!(self.open, Some(Open::Message { .. }));
        if begun || !delta.trim().is_empty() {
            self.append_text(delta);
        } else {
            self.space = delta;
        }
    }

    /// Forgets white space that was no text; tokens of thoughts and calls are not reported either.
    fn drop_space(&mut self) {
        self.space.clear();
        self.logprobs.clear();
    }

    fn append_text(&mut self, delta: String) {
        if !matches!(self.open, Some(Open::Message { .. })) {
            self.open(Open::Message {
                id: item_id("msg"),
                text: OutputText::default(),
            });
        }
        let place = self.place();
        let logprobs = std::mem::take(&mut self.logprobs);
        if let Some(Open::Message { text, .. }) = &mut self.open
            && !delta.is_empty()
        {
            text.text.push_str(&delta);
            text.logprobs.extend(logprobs.iter().cloned());
            self.events.push(ResponseEvent::OutputTextDelta {
                place,
                delta,
                logprobs,
            });
        }
    }

    fn push_call(&mut self, delta: ToolCallDelta) {
        self.drop_space();
        let goes_on = matches!(&self.open, Some(Open::Call { index, .. }) if *index == delta.index);
        if !goes_on {
            self.open(Open::Call {
                index: delta.index,
                id: item_id("fc"),
                call_id: delta.id.unwrap_or_else(|| item_id("call")),
                name: delta.name.unwrap_or_default(),
                arguments: String::new(),
            });
        }
        let output_index = self.items.len();
        if let Some(Open::Call { id, arguments, .. }) = &mut self.open
            && !delta.arguments.is_empty()
        {
            arguments.push_str(&delta.arguments);
            self.events.push(ResponseEvent::ArgumentsDelta {
                item_id: id.clone(),
                output_index,
                delta: delta.arguments,
            });
        }
    }

    /// Begins an item, after the end of the last one.
    fn open(&mut self, item: Open) {
        self.close(ItemStatus::Completed);
        let announced = match &item {
            Open::Message { id, .. } => message(id, ItemStatus::InProgress, Vec::new()),
            Open::Reasoning { id, .. } => reasoning(id, ItemStatus::InProgress, Vec::new()),
            Open::Call {
                id, call_id, name, ..
            } => OutputItem::FunctionCall {
                id: id.clone(),
                status: ItemStatus::InProgress,
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: String::new(),
            },
        };
        self.events.push(ResponseEvent::OutputItemAdded {
            output_index: self.items.len(),
            item: announced,
        });
        let part = match &item {
            Open::Message { .. } => Some(ContentItem::OutputText(OutputText::default())),
            Open::Reasoning { .. } => Some(ContentItem::ReasoningText {
                text: String::new(),
            }),
            Open::Call { .. } => None,
        };
        self.open = Some(item);
        if let Some(part) = part {
            let place = self.place();
            self.events
                .push(ResponseEvent::ContentPartAdded { place, part });
        }
    }

    /// Ends the item that goes on, if there is one.
    fn close(&mut self, status: ItemStatus) {
        let place = self.place();
        let output_index = self.items.len();
        let item = match self.open.take() {
            None => return,
            Some(Open::Message { id, text }) => {
                self.events.push(ResponseEvent::OutputTextDone {
                    place: place.clone(),
                    text: text.text.clone(),
                    logprobs: text.logprobs.clone(),
                });
                let part = ContentItem::OutputText(text);
                self.part_done(place, part.clone());
                message(&id, status, vec![part])
            }
            Some(Open::Reasoning { id, text }) => {
                self.events.push(ResponseEvent::ReasoningTextDone {
                    place: place.clone(),
                    text: text.clone(),
                });
                let part = ContentItem::ReasoningText { text };
                self.part_done(place, part.clone());
                reasoning(&id, status, vec![part])
            }
            Some(Open::Call {
                index: _,
                id,
                call_id,
                name,
                arguments,
            }) => {
                self.events.push(ResponseEvent::ArgumentsDone {
                    item_id: id.clone(),
                    output_index,
                    name: name.clone(),
                    arguments: arguments.clone(),
                });
                OutputItem::FunctionCall {
                    id,
                    status,
                    call_id,
                    name,
                    arguments,
                }
            }
        };
        self.events.push(ResponseEvent::OutputItemDone {
            output_index,
            item: item.clone(),
        });
        self.items.push(item);
    }

    fn part_done(&mut self, place: Place, part: ContentItem) {
        self.events
            .push(ResponseEvent::ContentPartDone { place, part });
    }

    /// Where the part is that goes on; every item has one at most.
    fn place(&self) -> Place {
        let item_id = match &self.open {
            Some(Open::Message { id, .. } | Open::Reasoning { id, .. } | Open::Call { id, .. }) => {
                id.clone()
            }
            None => String::new(),
        };
        Place {
            item_id,
            output_index: self.items.len(),
            content_index: 0,
        }
    }
}

fn message(id: &str, status: ItemStatus, content: Vec<ContentItem>) -> OutputItem {
    OutputItem::Message {
        id: id.to_owned(),
        status,
        role: "assistant",
        content,
    }
}

fn reasoning(id: &str, status: ItemStatus, content: Vec<ContentItem>) -> OutputItem {
    OutputItem::Reasoning {
        id: id.to_owned(),
        summary: Vec::new(),
        content,
        status,
    }
}

/// A new id.
fn item_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}
