//! One call as a JSON object: `{"name": …, "arguments": {…}}`, its members in any order.

use std::ops::Range;

use super::cursor::{Cursor, Stop};

/// Longest name of a tool that is believed, in characters.
const NAME_CHARS_MAX: usize = 256;

/// What the members of a call's object may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Members {
    /// Names of the member that holds the arguments.
    pub(super) arguments: &'static [&'static str],
    /// All members there may be; `None`: any.
    pub(super) all: Option<&'static [&'static str]>,
}

/// The part of a call that tells that it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    /// Where the arguments begin; where they end, if they came before the name.
    pub(super) arguments: (usize, Option<usize>),
    /// Where to read on when the arguments are over already.
    pub(super) read: usize,
}

impl Head {
    fn open(name: String, from: usize) -> Self {
        Self {
            name,
            arguments: (from, None),
            read: from,
        }
    }

    fn whole(name: String, arguments: Range<usize>, read: usize) -> Self {
        Self {
            name,
            arguments: (arguments.start, Some(arguments.end)),
            read,
        }
    }
}

/// Reads the object that begins at `from`, up to its arguments and its name.
pub(super) fn head(text: &str, from: usize, members: Members) -> Result<Head, Stop> {
    let mut cursor = Cursor::new(text, from);
    cursor.blank();
    cursor.expect(b'{')?;
    let (mut name, mut arguments) = (None, None);
    loop {
        cursor.blank();
        let key = cursor.key(members.all)?;
        cursor.blank();
        cursor.expect(b':')?;
        cursor.blank();
        if key == "name" && name.is_none() {
            name = Some(checked_name(cursor.string()?)?);
        } else if members.arguments.contains(&key.as_str()) && arguments.is_none() {
            if cursor.peek()? != b'{' {
                return Err(Stop::Malformed);
            }
            if let Some(name) = name {
                return Ok(Head::open(name, cursor.at));
            }
            arguments = Some(cursor.value()?);
        } else {
            cursor.value()?;
        }
        (name, arguments) = match (name, arguments) {
            (Some(name), Some(arguments)) => return Ok(Head::whole(name, arguments, cursor.at)),
            neither => neither,
        };
        cursor.blank();
        // At the object's end something is missing.
        cursor.expect(b',')?;
    }
}

fn checked_name(name: String) -> Result<String, Stop> {
    let chars = name.chars().take(NAME_CHARS_MAX + 1).count();
    if (1..=NAME_CHARS_MAX).contains(&chars) {
        Ok(name)
    } else {
        Err(Stop::Malformed)
    }
}

/// How many bytes of `text`, which follows on a call's arguments, are the rest of its object. An object
/// that does not go on as it should is taken as ended.
pub(super) fn tail(text: &str) -> Result<usize, Stop> {
    match try_tail(text) {
        Err(Stop::Malformed) => Ok(0),
        other => other,
    }
}

fn try_tail(text: &str) -> Result<usize, Stop> {
    let mut cursor = Cursor::new(text, 0);
    loop {
        cursor.blank();
        if cursor.peek()? == b'}' {
            return Ok(cursor.at + 1);
        }
        cursor.expect(b',')?;
        cursor.blank();
        cursor.key(None)?;
        cursor.blank();
        cursor.expect(b':')?;
        cursor.blank();
        cursor.value()?;
    }
}

/// A call written as `name[ARGS]{…}`, `name[CALL_ID]id[ARGS]{…}` or `name{…}`.
pub(super) fn bare_head(text: &str, from: usize) -> Result<Head, Stop> {
    let mut cursor = Cursor::new(text, from);
    cursor.blank();
    let rest = cursor.rest();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let bytes = rest.find(|c| !is_name(c)).ok_or(Stop::More)?;
    let name = checked_name(rest[..bytes].to_owned())?;
    cursor.at += bytes;
    if skip(&mut cursor, CALL_ID)? {
        let id = cursor.rest().find(|c| !is_name(c)).ok_or(Stop::More)?;
        cursor.at += id;
    }
    skip(&mut cursor, ARGS)?;
    cursor.blank();
    if cursor.peek()? != b'{' {
        return Err(Stop::Malformed);
    }
    Ok(Head::open(name, cursor.at))
}

const CALL_ID: &str = "[CALL_ID]";
const ARGS: &str = "[ARGS]";

/// Skips `marker` if it is there.
fn skip(cursor: &mut Cursor<'_>, marker: &str) -> Result<bool, Stop> {
    let rest = cursor.rest();
    if rest.starts_with(marker) {
        cursor.at += marker.len();
        return Ok(true);
    }
    if marker.starts_with(rest) {
        return Err(Stop::More);
    }
    Ok(false)
}
