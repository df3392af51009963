//! Where the fields of a YAML text stand: a tree of places without values, made of a parser's events.
//! What the values mean is not said here; serde_yaml says it. The limits on nesting and on what
//! aliases stand for are kept here, before anything is expanded.

use std::collections::{HashMap, hash_map::Entry};

use saphyr_parser::{Event, Parser, ScanError, Span as Marks};

use crate::{FieldPath, field_path::Step, position::Offsets};

/// Blocks and lists inside one another.
pub(crate) const DEPTH_MAX: usize = 100;
/// Bytes of a document with every alias written out, each value counted as [`VALUE_BYTES`] more.
pub(crate) const EXPANDED_BYTES_MAX: usize = 32 << 20;
/// What a value weighs besides its text.
const VALUE_BYTES: usize = 16;
/// Merges (`<<`) inside one another that are followed.
const MERGES_MAX: usize = 8;
/// The key of a merge.
pub(crate) const MERGE_KEY: &str = "<<";

/// One document.
#[derive(Debug, Default)]
pub(crate) struct Places {
    nodes: Vec<Node>,
}

/// A text that cannot be taken apart.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) message: String,
    pub(crate) at: Offsets,
    /// The bracket or brace that is still open there.
    pub(crate) open: Option<Offsets>,
}

/// The number of a value in its document.
pub(crate) type NodeId = usize;

/// The first value of every document.
pub(crate) const ROOT: NodeId = 0;

#[derive(Debug)]
struct Node {
    at: Offsets,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar,
    Alias(NodeId),
    List(Vec<NodeId>),
    Block {
        fields: HashMap<String, Field>,
        repeated: Vec<Repeated>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Field {
    key: Offsets,
    value: NodeId,
}

/// A key that a block has twice.
#[derive(Debug, Clone)]
pub(crate) struct Repeated {
    pub(crate) name: String,
    pub(crate) first: Offsets,
    pub(crate) again: Offsets,
}

impl Places {
    /// The place of a field: of its value, or of its key if that is asked for, or if the value has
    /// no line of its own. `None` if it is not written.
    pub(crate) fn exact(&self, from: NodeId, path: &FieldPath, key: bool) -> Option<Offsets> {
        let (found, steps) = self.walk(from, path);
        (steps == path.steps().len()).then(|| found.offsets(self, key))
    }

    /// The place of a field, or of the nearest block around it that is written.
    pub(crate) fn nearest(&self, from: NodeId, path: &FieldPath, key: bool) -> Offsets {
        let (found, steps) = self.walk(from, path);
        let missing = steps < path.steps().len();
        found.offsets(self, key || missing)
    }

    /// The value at a path.
    pub(crate) fn node(&self, path: &FieldPath) -> NodeId {
        self.walk(ROOT, path).0.value
    }

    /// Keys that are given twice anywhere below `from`, with their paths.
    pub(crate) fn repeated(&self, from: NodeId) -> Vec<(FieldPath, Repeated)> {
        let mut found = Vec::new();
        let mut open = vec![(from, FieldPath::default())];
        while let Some((id, path)) = open.pop() {
            match self.nodes.get(id).map(|node| &node.content) {
                Some(Content::Block { fields, repeated }) => {
                    let here = repeated.iter().cloned();
                    found.extend(here.map(|again| (path.field(&again.name), again)));
                    let inside = fields.iter();
                    open.extend(inside.map(|(name, field)| (field.value, path.field(name))));
                }
                Some(Content::List(items)) => {
                    let inside = items.iter().enumerate();
                    open.extend(inside.map(|(index, item)| (*item, path.item(index))));
                }
                // What an alias stands for is found where it is written.
                Some(Content::Alias(_) | Content::Scalar) | None => {}
            }
        }
        found
    }

    /// As far along `path` as it is written, and how many steps that is.
    fn walk(&self, from: NodeId, path: &FieldPath) -> (Found, usize) {
        let mut found = Found {
            key: None,
            value: from,
        };
        for (taken, step) in path.steps().iter().enumerate() {
            let next = match (step, self.content(found.value)) {
                (Step::Field(name), _) => self.field(found.value, name, MERGES_MAX),
                (Step::Item(index), Some(Content::List(items))) => {
                    items.get(*index).map(|&value| Found { key: None, value })
                }
                (Step::Item(_), _) => None,
            };
            match next {
                Some(next) => found = next,
                None => return (found, taken),
            }
        }
        (found, path.steps().len())
    }

    fn field(&self, block: NodeId, name: &str, merges: usize) -> Option<Found> {
        let Some(Content::Block { fields, .. }) = self.content(block) else {
            return None;
        };
        if let Some(field) = fields.get(name) {
            return Some(Found {
                key: Some(field.key),
                value: field.value,
            });
        }
        let merged = fields.get(MERGE_KEY).filter(|_| merges > 0)?.value;
        match self.content(merged)? {
            Content::List(items) => items
                .iter()
                .find_map(|item| self.field(*item, name, merges - 1)),
            _ => self.field(merged, name, merges - 1),
        }
    }

    /// What a value holds, through its alias.
    fn content(&self, id: NodeId) -> Option<&Content> {
        match &self.nodes.get(id)?.content {
            Content::Alias(target) => self.nodes.get(*target).map(|node| &node.content),
            content => Some(content),
        }
    }
}

/// A value that was come upon by a key, unless it is an item or the whole.
#[derive(Debug, Clone, Copy)]
struct Found {
    key: Option<Offsets>,
    value: NodeId,
}

impl Found {
    fn offsets(self, places: &Places, key: bool) -> Offsets {
        let Some(node) = places.nodes.get(self.value) else {
            return Offsets { start: 0, end: 0 };
        };
        let Offsets { start, end } = node.at;
        let whole = matches!(node.content, Content::Block { .. } | Content::List(_));
        match self.key {
            Some(place) if key || whole || start == end => place,
            _ => node.at,
        }
    }
}

/// The documents of a text, empty ones included.
pub(crate) fn read(text: &str) -> Result<Vec<Places>, Broken> {
    let mut documents = Vec::new();
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, marks) = event.map_err(|error| reader.scan_error(&error))?;
        let at = Offsets {
            start: marks.start.index(),
            end: marks.end.index(),
        };
        match event {
            Event::DocumentStart(_) => reader = Reader::default(),
            Event::DocumentEnd => {
                documents.push(Places {
                    nodes: std::mem::take(&mut reader.nodes),
                });
            }
            event => reader.take(event, at, marks)?,
        }
    }
    Ok(documents)
}

/// A document that is being read.
#[derive(Default)]
struct Reader {
    nodes: Vec<Node>,
    open: Vec<Open>,
    /// The value that an anchor's number stands for and its weight; none while it is open.
    anchors: HashMap<usize, (NodeId, Option<usize>)>,
    weight: usize,
}

/// A block or list that has not ended.
struct Open {
    id: NodeId,
    anchor: usize,
    /// Weight of the document before it.
    before: usize,
    /// The key whose value comes next.
    key: Option<(String, Offsets)>,
    in_brackets: bool,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, at: Offsets, marks: Marks) -> Result<(), Broken> {
        match event {
            Event::Scalar(text, _, anchor, _) => {
                let before = self.weight;
                self.weigh(text.len() + VALUE_BYTES, at)?;
                let id = if self.is_key_next() {
                    self.set_key(text.into_owned(), at)
                } else {
                    self.add(at, Content::Scalar)
                };
                self.close(anchor, id, before);
            }
            Event::Alias(anchor) => {
                let (target, weight) = match self.anchors.get(&anchor) {
                    Some((target, Some(weight))) => (*target, *weight),
                    _ => return Err(broken("an alias stands inside what it stands for", at)),
                };
                self.weigh(weight + VALUE_BYTES, at)?;
                if self.is_key_next() {
                    return Err(broken("an alias cannot be a key: write the key out", at));
                }
                self.add(at, Content::Alias(target));
            }
            Event::SequenceStart(anchor, _) => {
                self.start(at, anchor, Content::List(Vec::new()), marks)?;
            }
            Event::MappingStart(anchor, _) => {
                let block = Content::Block {
                    fields: HashMap::new(),
                    repeated: Vec::new(),
                };
                self.start(at, anchor, block, marks)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            _ => {}
        }
        Ok(())
    }

    fn start(
        &mut self,
        at: Offsets,
        anchor: usize,
        content: Content,
        marks: Marks,
    ) -> Result<(), Broken> {
        if self.is_key_next() {
            return Err(broken("a block or list cannot be a key", at));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(at));
        }
        let before = self.weight;
        self.weigh(VALUE_BYTES, at)?;
        let id = self.add(at, content);
        self.anchors.insert(anchor, (id, None));
        self.open.push(Open {
            id,
            anchor,
            before,
            key: None,
            in_brackets: !marks.is_empty(),
        });
        Ok(())
    }

    fn end(&mut self, at: Offsets) {
        if let Some(Open {
            id, anchor, before, ..
        }) = self.open.pop()
        {
            self.nodes[id].at.end = at.end;
            self.close(anchor, id, before);
        }
    }

    fn close(&mut self, anchor: usize, id: NodeId, before: usize) {
        self.anchors
            .insert(anchor, (id, Some(self.weight - before)));
    }

    fn weigh(&mut self, bytes: usize, at: Offsets) -> Result<(), Broken> {
        self.weight = self.weight.saturating_add(bytes);
        if self.weight <= EXPANDED_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "the document, with every alias written out, is larger than {} MiB: split it, or write \
             fewer aliases",
            EXPANDED_BYTES_MAX >> 20
        );
        Err(broken(&message, at))
    }

    fn is_key_next(&self) -> bool {
        self.open.last().is_some_and(|open| {
            open.key.is_none() && matches!(self.nodes[open.id].content, Content::Block { .. })
        })
    }

    /// A key is a value, too, which an alias may stand for.
    fn set_key(&mut self, name: String, at: Offsets) -> NodeId {
        if let Some(open) = self.open.last_mut() {
            open.key = Some((name, at));
        }
        let content = Content::Scalar;
        self.nodes.push(Node { at, content });
        self.nodes.len() - 1
    }

    /// A value, put into the block or list that is open.
    fn add(&mut self, at: Offsets, content: Content) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node { at, content });
        let Some(open) = self.open.last_mut() else {
            return id;
        };
        match &mut self.nodes[open.id].content {
            Content::List(items) => items.push(id),
            Content::Block { fields, repeated } => {
                if let Some((name, key)) = open.key.take() {
                    let field = Field { key, value: id };
                    match fields.entry(name) {
                        Entry::Vacant(vacant) => {
                            vacant.insert(field);
                        }
                        Entry::Occupied(mut occupied) => {
                            repeated.push(Repeated {
                                name: occupied.key().clone(),
                                first: occupied.get().key,
                                again: key,
                            });
                            // The last one counts, as it does for serde_yaml.
                            occupied.insert(field);
                        }
                    }
                }
            }
            Content::Scalar | Content::Alias(_) => {}
        }
        id
    }

    fn scan_error(&self, error: &ScanError) -> Broken {
        let at = error.marker().index();
        let at = Offsets {
            start: at,
            end: at + 1,
        };
        if error.info().contains("recursion limit") {
            return too_deep(at);
        }
        let open = self.open.iter().rfind(|open| open.in_brackets);
        let advice = ADVICE
            .iter()
            .find(|(words, _)| error.info().contains(words));
        let message = match advice {
            Some((_, advice)) => format!("{}: {advice}", error.info()),
            None => error.info().to_owned(),
        };
        Broken {
            message,
            at,
            open: open.map(|open| Offsets {
                start: self.nodes[open.id].at.start,
                end: self.nodes[open.id].at.start + 1,
            }),
        }
    }
}

/// Words of the parser's errors, and what to change.
const ADVICE: [(&str, &str); 6] = [
    ("tab", "indent with spaces"),
    (
        "mapping values are not allowed",
        "put a value that holds `: ` in quotes, and every key on a line of its own",
    ),
    (
        "did not find expected key",
        "indent this line like the lines that it belongs to",
    ),
    ("unexpected character", "put the value in quotes"),
    (
        "unknown anchor",
        "an alias (*name) needs its anchor (&name) earlier in the same document",
    ),
    (
        "quoted scalar, found unexpected end",
        "the quote that opens here is not closed",
    ),
];

fn broken(message: &str, at: Offsets) -> Broken {
    Broken {
        message: message.to_owned(),
        at,
        open: None,
    }
}

fn too_deep(at: Offsets) -> Broken {
    broken(
        &format!("blocks and lists are nested deeper than {DEPTH_MAX} levels"),
        at,
    )
}
