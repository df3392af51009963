//! The objects of a manifest: documents apart, lists taken apart, merges (`<<`) carried out, and what
//! is to be said about each with its place in the text. `lint` and `local` read manifests here.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    Checked, Diagnostic, FieldPath, Finding, InferenceService, Note, Severity, check,
    position::{Lines, Offsets},
    yaml_places::{self, Broken, MERGE_KEY, NodeId, Places},
};

/// Largest manifest that is read.
pub const MANIFEST_BYTES_MAX: usize = 8 << 20;

/// Most findings that one object is given.
const DIAGNOSTICS_MAX: usize = 100;

/// An object and where it stands.
#[derive(Debug)]
pub struct Object {
    value: Value,
    text: Arc<Text>,
    document: usize,
    root: NodeId,
}

/// An object that has been checked.
#[derive(Debug)]
pub struct Judged {
    /// The object with its defaults, unless the schema refuses it.
    pub service: Option<InferenceService>,
    /// What is to be said about it, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// A text that is no manifest.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ReadError(
    /// What is wrong, and where.
    pub Diagnostic,
);

/// What the objects of one text share.
#[derive(Debug)]
struct Text {
    lines: Lines,
    documents: Vec<Places>,
}

/// The objects of a YAML or JSON text: one for each document that is not empty, and one for each item
/// of a list (`kind: List`).
///
/// # Errors
/// [`ReadError`] when the text is not YAML that JSON can say, or exceeds [`MANIFEST_BYTES_MAX`], a
/// nesting of 100 blocks, or 32 MiB with every alias written out.
pub fn read_objects(text: &str) -> Result<Vec<Object>, ReadError> {
    if text.len() > MANIFEST_BYTES_MAX {
        let message = format!(
            "the manifest is larger than {} MiB: split it",
            MANIFEST_BYTES_MAX >> 20
        );
        return Err(ReadError(Diagnostic::whole(message)));
    }
    let lines = Lines::new(text);
    let documents = match yaml_places::read(text) {
        Ok(documents) => documents,
        Err(Broken { message, at, open }) => {
            let at = inside(text, at);
            return Err(unreadable(&lines, not_yaml(&message), at, open));
        }
    };
    let text_places = Arc::new(Text { lines, documents });
    let mut objects = Vec::new();
    for (document, read) in serde_yaml::Deserializer::from_str(text).enumerate() {
        // A failed reader goes on failing: the first error ends the loop.
        let mut value =
            Value::deserialize(read).map_err(|error| meaning_error(text, &text_places, &error))?;
        merge(&mut value);
        let object = |value, path: &FieldPath| Object {
            root: text_places
                .documents
                .get(document)
                .map_or(yaml_places::ROOT, |places| places.node(path)),
            value,
            text: Arc::clone(&text_places),
            document,
        };
        match list_items(&mut value) {
            Some(items) => objects.extend(items.into_iter().enumerate().map(|(index, item)| {
                let path = FieldPath::of("items").item(index);
                object(item, &path)
            })),
            None if value.is_null() => {}
            None => objects.push(object(value, &FieldPath::default())),
        }
    }
    Ok(objects)
}

impl Object {
    /// The object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// `metadata.name`, if it is a string.
    pub fn name(&self) -> Option<&str> {
        self.value["metadata"]["name"].as_str()
    }

    /// Reads the object as [`check`] does, and says where each finding is.
    pub fn check(self) -> Judged {
        let Self {
            value,
            text,
            document,
            root,
        } = self;
        let Checked { service, findings } = check(value);
        let nothing = Places::default();
        let places = text.documents.get(document).unwrap_or(&nothing);
        let mut diagnostics: Vec<Diagnostic> = places
            .repeated(root)
            .into_iter()
            .map(|(path, again)| Diagnostic {
                severity: Severity::Error,
                path,
                message: "is given twice, and only the last one would count: remove one".to_owned(),
                span: text.lines.span(again.again),
                notes: vec![Note {
                    span: text.lines.span(again.first),
                    message: "it is given here first".to_owned(),
                }],
            })
            .collect();
        diagnostics.extend(
            findings
                .into_iter()
                .map(|finding| text.diagnostic(places, root, finding)),
        );
        diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.severity));
        if let Some(last) = diagnostics.get(DIAGNOSTICS_MAX).cloned() {
            let more = diagnostics.len() - DIAGNOSTICS_MAX;
            diagnostics.truncate(DIAGNOSTICS_MAX);
            diagnostics.push(Diagnostic {
                message: format!("and {more} more from here on: correct these first"),
                path: FieldPath::default(),
                notes: Vec::new(),
                severity: Severity::Error,
                ..last
            });
        }
        Judged {
            service,
            diagnostics,
        }
    }
}

impl Text {
    fn diagnostic(&self, places: &Places, root: NodeId, finding: Finding) -> Diagnostic {
        let Finding {
            severity,
            path,
            message,
            related,
            about_name,
        } = finding;
        let notes = related.iter().filter_map(|path| {
            let at = places.exact(root, path, false)?;
            Some(Note {
                span: self.lines.span(at),
                message: format!("{path} is here"),
            })
        });
        Diagnostic {
            span: self.lines.span(places.nearest(root, &path, about_name)),
            notes: notes.collect(),
            severity,
            path,
            message,
        }
    }
}

/// The items of a `List`, as `kubectl get -o yaml` writes it, taken out of it.
fn list_items(value: &mut Value) -> Option<Vec<Value>> {
    let is_list = value["kind"].as_str().is_some_and(|k| k.ends_with("List"));
    let items = value.get_mut("items").filter(|_| is_list)?.as_array_mut()?;
    Some(std::mem::take(items))
}

/// Carries out merges as kubectl does: the fields of `<<` are the block's own unless it has them.
fn merge(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get(MERGE_KEY).is_some_and(is_mergeable)
                && let Some(merged) = fields.shift_remove(MERGE_KEY)
            {
                take_over(fields, merged);
                // What was merged may hold a merge of its own.
                return merge(value);
            }
            fields.values_mut().for_each(merge);
        }
        Value::Array(items) => items.iter_mut().for_each(merge),
        _ => {}
    }
}

fn is_mergeable(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().all(Value::is_object),
        _ => false,
    }
}

fn take_over(fields: &mut Map<String, Value>, merged: Value) {
    match merged {
        Value::Object(merged) => {
            for (name, value) in merged {
                fields.entry(name).or_insert(value);
            }
        }
        Value::Array(items) => items.into_iter().for_each(|item| take_over(fields, item)),
        _ => {}
    }
}

fn meaning_error(text: &str, places: &Text, error: &serde_yaml::Error) -> ReadError {
    let byte = error.location().map_or(0, |location| location.index());
    let start = text
        .char_indices()
        .take_while(|(index, _)| *index < byte)
        .count();
    let at = Offsets {
        start,
        end: start + 1,
    };
    let said = error.to_string();
    // The place is said already.
    let message = match error.location() {
        Some(place) => said.replace(
            &format!(" at line {} column {}", place.line(), place.column()),
            "",
        ),
        None => said,
    };
    unreadable(&places.lines, not_yaml(&message), inside(text, at), None)
}

fn not_yaml(message: &str) -> String {
    format!("not readable as YAML: {message}")
}

fn unreadable(lines: &Lines, message: String, at: Offsets, open: Option<Offsets>) -> ReadError {
    let note = |open| Note {
        span: lines.span(open),
        message: "inside what opens here".to_owned(),
    };
    ReadError(Diagnostic {
        severity: Severity::Error,
        path: FieldPath::default(),
        message,
        span: lines.span(at),
        notes: open.map(note).into_iter().collect(),
    })
}

/// The end of the last line with something on it, for a place behind that: a person sees nothing there.
fn inside(text: &str, at: Offsets) -> Offsets {
    let end = text.trim_end().chars().count();
    Offsets {
        start: at.start.min(end),
        end: at.end.min(end + 1),
    }
}
