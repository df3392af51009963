//! Reading JSON that may still grow: every step says what it found, or that the text ends too early, or
//! that no more text can help.

use std::ops::Range;

/// Why there is nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The text ends too early.
    More,
    /// No more text can help.
    Malformed,
}

/// A place in a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Result<u8, Stop> {
        self.text.as_bytes().get(self.at).copied().ok_or(Stop::More)
    }

    /// Skips JSON's white space.
    pub(super) fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\n', '\r', '\t']).len();
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek()? != byte {
            return Err(Stop::Malformed);
        }
        self.at += 1;
        Ok(())
    }

    /// A string, decoded.
    pub(super) fn string(&mut self) -> Result<String, Stop> {
        let range = self.quoted()?;
        serde_json::from_str(&self.text[range]).map_err(|_| Stop::Malformed)
    }

    /// A string that is one of `keys`, if only they may come. Other strings are found out as soon as
    /// they differ.
    pub(super) fn key(&mut self, keys: Option<&[&str]>) -> Result<String, Stop> {
        if let Some(keys) = keys {
            self.peek()?;
            let so_far = self.rest();
            let possible = |key: &&str| {
                let whole = format!("\"{key}\"");
                so_far.starts_with(&whole) || whole.starts_with(so_far)
            };
            if !keys.iter().any(possible) {
                return Err(Stop::Malformed);
            }
        }
        self.string()
    }

    /// Skips a value of any type; returns where it is. Objects and lists are only measured.
    pub(super) fn value(&mut self) -> Result<Range<usize>, Stop> {
        let from = self.at;
        match self.peek()? {
            b'"' => return self.quoted(),
            b'{' | b'[' => match Brackets::default().push(self.rest()) {
                Extent::Open => return Err(Stop::More),
                Extent::Broken(_) => return Err(Stop::Malformed),
                Extent::Closed(bytes) => self.at += bytes,
            },
            _ => {
                let rest = self.rest();
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
                self.at += end.ok_or(Stop::More)?;
                let literal = serde_json::from_str::<serde_json::Value>(&self.text[from..self.at]);
                literal.map_err(|_| Stop::Malformed)?;
            }
        }
        Ok(from..self.at)
    }

    fn quoted(&mut self) -> Result<Range<usize>, Stop> {
        let from = self.at;
        self.expect(b'"')?;
        let mut escaped = false;
        for (at, byte) in self.rest().bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at += at + 1;
                    return Ok(from..self.at);
                }
                _ => {}
            }
        }
        Err(Stop::More)
    }
}

/// Measures a JSON object or list as it grows, by its brackets and strings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Brackets {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// How far a value goes in a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Beyond it.
    Open,
    /// So many bytes.
    Closed(usize),
    /// So many bytes; what follows can be in no JSON.
    Broken(usize),
}

impl Brackets {
    /// Takes the next piece. The first one begins with the opening bracket.
    pub(super) fn push(&mut self, text: &str) -> Extent {
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Extent::Closed(at + 1);
                    }
                }
                b',' | b':' | b'+' | b'-' | b'.' | b' ' | b'\n' | b'\r' | b'\t' => {}
                _ if byte.is_ascii_alphanumeric() => {}
                _ => return Extent::Broken(at),
            }
        }
        Extent::Open
    }
}
