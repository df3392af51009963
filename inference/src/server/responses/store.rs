//! Responses that clients asked to be stored: in memory, bounded in number and bytes, the oldest
//! forgotten first. They do not outlive the process, and no other replica has them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde_json::Value;

use crate::{openai::responses::ResponseObject, server::limits};

/// The stored responses.
#[derive(Debug, Default)]
pub(in crate::server) struct ResponseStore(Mutex<Stored>);

#[derive(Debug, Default)]
struct Stored {
    by_id: HashMap<Arc<str>, Entry>,
    /// The oldest first. Ids of removed responses may be left in it.
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

/// Kept as JSON text, so that its size is what is counted.
#[derive(Debug)]
struct Entry {
    object: Bytes,
    messages: Bytes,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.object.len() + self.messages.len()
    }
}

impl ResponseStore {
    /// Keeps a response and the conversation that it ends. One that is too large is not kept.
    pub(super) fn insert(&self, object: &ResponseObject, messages: &[Value]) {
        let (Ok(json), Ok(messages)) = (serde_json::to_vec(object), serde_json::to_vec(messages))
        else {
            return;
        };
        let entry = Entry {
            object: json.into(),
            messages: messages.into(),
        };
        if entry.bytes() > limits::STORED_RESPONSE_BYTES_MAX {
            tracing::warn!(
                id = object.id,
                bytes = entry.bytes(),
                "too large a response to be stored"
            );
            return;
        }
        self.lock().insert(object.id.as_str().into(), entry);
    }

    /// The object of a response, as JSON.
    pub(super) fn object(&self, id: &str) -> Option<Bytes> {
        Some(self.lock().by_id.get(id)?.object.clone())
    }

    /// The conversation that a response ended, as chat messages.
    pub(super) fn messages(&self, id: &str) -> Option<Vec<Value>> {
        let messages = self.lock().by_id.get(id)?.messages.clone();
        serde_json::from_slice(&messages).ok()
    }

    /// Forgets a response; false if there is none.
    pub(super) fn remove(&self, id: &str) -> bool {
        let mut stored = self.lock();
        let removed = stored.remove(id);
        stored.order.retain(|known| known.as_ref() != id);
        removed
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored {
    fn insert(&mut self, id: Arc<str>, entry: Entry) {
        self.bytes += entry.bytes();
        self.by_id.insert(Arc::clone(&id), entry);
        self.order.push_back(id);
        while self.by_id.len() > limits::STORED_RESPONSES_MAX
            || self.bytes > limits::STORED_BYTES_MAX
        {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, id: &str) -> bool {
        let removed = self.by_id.remove(id);
        self.bytes -= removed.as_ref().map_or(0, Entry::bytes);
        removed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry {
            object: vec![b' '; bytes].into(),
            messages: Bytes::from_static(b"[]"),
        }
    }

    #[test]
    fn the_oldest_are_forgotten_beyond_the_number_and_beyond_the_bytes() {
        let mut stored = Stored::default();
        for i in 0..limits::STORED_RESPONSES_MAX + 2 {
            stored.insert(format!("{i}").into(), entry(1));
        }
        assert_eq!(stored.by_id.len(), limits::STORED_RESPONSES_MAX);
        assert!(!stored.by_id.contains_key("1") && stored.by_id.contains_key("2"));
        assert_eq!(stored.bytes, 3 * limits::STORED_RESPONSES_MAX);

        let large = limits::STORED_BYTES_MAX / 2;
        for id in ["a", "b", "c"] {
            stored.insert(id.into(), entry(large));
        }
        assert!(stored.bytes <= limits::STORED_BYTES_MAX);
        assert!(stored.by_id.contains_key("c") && !stored.by_id.contains_key("b"));
        assert!(stored.remove("c") && !stored.remove("c"));
        assert_eq!((stored.bytes, stored.by_id.len()), (0, 0));
    }
}
