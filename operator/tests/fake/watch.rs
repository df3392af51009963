//! Lists and watches: pages, bookmarks, what a selector makes of a change, and the end of a watch.

use std::{io, pin::pin, sync::Arc, time::Duration};

use futures::{Stream, stream};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Shared, State,
    call::Call,
    events,
    faults::Hitch,
    select::Selection,
    status::{Answer, Refusal},
    store::{Change, Store},
};

/// Between two bookmarks.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// A last bookmark comes so long before the end.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// How long a watch lasts that does not say so.
const LASTS: Duration = Duration::from_secs(30 * 60);

/// Answers a list, `age` versions too old.
pub(crate) fn list(store: &Store, call: &Call, age: u64) -> Answer {
    let selection = Selection::of(call);
    let page = call
        .parameter("continue")
        .map(|token| token.split_once(':'));
    let (version, after) = match page {
        None => {
            let version = store.version.saturating_sub(age).max(store.oldest);
            (version, "")
        }
        Some(Some((version, after))) => (version.parse().unwrap_or(0), after),
        Some(None) => return Err(Refusal::bad_request("continue key is not valid")),
    };
    if version < store.oldest {
        return Err(Refusal::expired_page());
    }
    let objects = store.at_version(call.kind, call.namespace.as_deref(), version);
    let place = |namespace: &str, name: &str| format!("{namespace}/{name}");
    let mut items = objects
        .iter()
        .map(|(key, object)| (place(&key.namespace, &key.name), object))
        .filter(|(place, object)| place.as_str() > after && selection.takes(object));
    let limit = call
        .parameter("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(usize::MAX);
    let page: Vec<(String, &Arc<Value>)> = items.by_ref().take(limit.max(1)).collect();
    let mut metadata = json!({"resourceVersion": version.to_string()});
    let rest = items.count();
    if let (Some((last, _)), true) = (page.last(), rest > 0) {
        metadata["continue"] = json!(format!("{version}:{last}"));
        metadata["remainingItemCount"] = json!(rest);
    }
    let items = page.into_iter().map(|(_, object)| (**object).clone());
    let items: Vec<Value> = items
        .map(|object| events::shown(call.kind, object))
        .collect();
    Ok(json!({
        "kind": format!("{}List", call.kind.kind), "apiVersion": call.kind.api_version(),
        "metadata": metadata, "items": items,
    }))
}

/// A watch that is under way.
struct Watch {
    shared: Arc<Shared>,
    gate: watch::Receiver<bool>,
    selection: Selection,
    kind: &'static super::call::Kind,
    /// Objects to send before changes, and whether a bookmark ends them.
    first: std::vec::IntoIter<Arc<Value>>,
    ends_first: bool,
    /// Changes that were looked at.
    cursor: usize,
    version: u64,
    /// The version that the watch began from.
    from: u64,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    over: bool,
}

type Chunk = Result<Frame<Bytes>, io::Error>;

/// Begins a watch.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    state: &State,
    gate: watch::Receiver<bool>,
    call: &Call,
) -> Result<impl Stream<Item = Chunk> + Send + use<>, Refusal> {
    let store = &state.store;
    let selection = Selection::of(call);
    let asked = call.parameter("resourceVersion").unwrap_or_default();
    let initial = call.parameter("sendInitialEvents") == Some("true");
    if initial && call.parameter("resourceVersionMatch") != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        let field = "resourceVersionMatch";
        return Err(Refusal::invalid(call.kind, "", field, why));
    }
    let from_now = initial || asked.is_empty() || asked == "0";
    let version = match asked.parse::<u64>() {
        _ if from_now => store.version,
        Ok(version) => version,
        Err(_) => {
            let why = format!("Invalid value: \"{asked}\": strconv.ParseUint: invalid syntax");
            return Err(Refusal::invalid(call.kind, "", "resourceVersion", &why));
        }
    };
    let objects = match from_now {
        true => store.at_version(call.kind, call.namespace.as_deref(), store.version),
        false => Default::default(),
    };
    let first: Vec<Arc<Value>> = objects
        .into_values()
        .filter(|object| selection.takes(object))
        .collect();
    let cursor = store
        .history
        .partition_point(|change| change.version <= version);
    let now = Instant::now();
    let lasts = call
        .parameter("timeoutSeconds")
        .and_then(|seconds| seconds.parse().ok());
    let ends = now + lasts.map_or(LASTS, Duration::from_secs);
    let bookmarks = call.parameter("allowWatchBookmarks") == Some("true");
    let watch = Watch {
        shared: Arc::clone(shared),
        gate,
        kind: call.kind,
        selection,
        first: first.into_iter(),
        ends_first: initial && bookmarks,
        cursor,
        version,
        from: version,
        bookmarks,
        next_bookmark: (now + BOOKMARKS).min(ends - LAST_BOOKMARK).max(now),
        ends,
        over: false,
    };
    Ok(stream::unfold(watch, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((chunk, watch))
    }))
}

/// What comes next on a watch.
enum Next {
    Send(Value),
    Later(Duration),
    Wait,
    End(Option<io::Error>),
}

impl Watch {
    async fn next(&mut self) -> Option<Chunk> {
        loop {
            if self.over {
                return None;
            }
            // A client that is cut off gets nothing until it is not.
            let _ = self.gate.wait_for(|open| *open).await;
            let shared = Arc::clone(&self.shared);
            let mut changed = pin!(shared.changed.notified());
            changed.as_mut().enable();
            match self.look() {
                Next::Send(event) => {
                    let mut line = event.to_string().into_bytes();
                    line.push(b'\n');
                    return Some(Ok(Frame::data(line.into())));
                }
                Next::Later(wait) => sleep(wait).await,
                Next::Wait => {
                    let until = if self.bookmarks {
                        self.next_bookmark.min(self.ends)
                    } else {
                        self.ends
                    };
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(until) => {}
                    }
                }
                Next::End(error) => {
                    self.over = true;
                    return error.map(Err);
                }
            }
        }
    }

    fn look(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.down {
            return Next::End(Some(io::Error::other("connection reset by peer")));
        }
        if let Some(object) = self.first.next() {
            let object = events::shown(self.kind, (*object).clone());
            return Next::Send(json!({"type": "ADDED", "object": object}));
        }
        if std::mem::take(&mut self.ends_first) {
            return Next::Send(self.bookmark(true));
        }
        if self.version < state.store.oldest {
            self.over = true;
            return Next::Send(self.gone(state.store.oldest));
        }
        while let Some(change) = state.store.history.get(self.cursor).cloned() {
            self.version = change.version;
            let Some(event) = event(self.kind, &self.selection, &change) else {
                self.cursor += 1;
                continue;
            };
            match state.faults.of_event(&change.key) {
                None => {}
                Some(Hitch::Drop) => {
                    self.cursor += 1;
                    continue;
                }
                Some(Hitch::Close) => return Next::End(None),
                Some(Hitch::Expire) => {
                    self.over = true;
                    return Next::Send(self.gone(state.store.version));
                }
                Some(Hitch::Delay(wait)) => return Next::Later(wait),
            }
            self.cursor += 1;
            return Next::Send(event);
        }
        let now = Instant::now();
        if now >= self.ends {
            return Next::End(None);
        }
        if self.bookmarks && now >= self.next_bookmark {
            let last = self.ends - LAST_BOOKMARK;
            self.next_bookmark = if now >= last {
                self.ends
            } else {
                (now + BOOKMARKS).min(last)
            };
            // A bookmark says that time went by, so there is none where nothing has been since.
            if state.store.version > self.from {
                self.version = state.store.version;
                return Next::Send(self.bookmark(false));
            }
        }
        Next::Wait
    }

    fn bookmark(&self, ends_initial: bool) -> Value {
        let mut metadata =
            json!({"resourceVersion": self.version.to_string(), "creationTimestamp": null});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, version) = (self.kind.kind, self.kind.api_version());
        let object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        json!({"type": "BOOKMARK", "object": object})
    }

    fn gone(&self, oldest: u64) -> Value {
        json!({"type": "ERROR", "object": Refusal::expired(self.version, oldest).body})
    }
}

/// What `change` is to whom `selection` matters, if anything: an object that no longer matches is gone for them.
fn event(of: &super::call::Kind, selection: &Selection, change: &Change) -> Option<Value> {
    let key = &change.key;
    let elsewhere = selection
        .namespace
        .as_ref()
        .is_some_and(|namespace| *namespace != key.namespace);
    if key.resource != selection.resource || key.group != selection.group || elsewhere {
        return None;
    }
    let takes = |object: &Option<Arc<Value>>| {
        object
            .as_ref()
            .is_some_and(|object| selection.takes(object))
    };
    let kind = match (takes(&change.before), takes(&change.after)) {
        (false, false) => return None,
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
    };
    let object = events::shown(of, (*change.shown).clone());
    Some(json!({"type": kind, "object": object}))
}
