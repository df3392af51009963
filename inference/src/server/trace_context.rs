//! The trace that a request belongs to, by W3C's Trace Context, level 1. Its id goes to the log lines of
//! the request and to the usage log; spans are not exported.

use std::fmt;

use http::{HeaderMap, HeaderName};

/// Comes once, or not at all.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// 16 bytes, not all of them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(u128);

impl TraceId {
    /// The trace id of a well-formed `traceparent`. Anything else is as good as none, as the standard
    /// asks: a request is not refused for its tracing.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).into_iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            _ => None,
        }
    }

    /// `version-trace_id-parent_id-flags` in lower-case hex. A version beyond 00 may have more behind
    /// another dash; ff is none.
    fn parse(value: &str) -> Option<Self> {
        let mut parts = value.splitn(5, '-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let parent_id = hex(parts.next()?, 16)?;
        hex(parts.next()?, 2)?;
        let known = match parts.next() {
            None => version != 0xff,
            Some(_) => (1..0xff).contains(&version),
        };
        (known && trace_id != 0 && parent_id != 0).then_some(Self(trace_id))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn hex(digits: &str, length: usize) -> Option<u128> {
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != length || !digits.bytes().all(lower) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn the_trace_id_of_a_well_formed_header_is_taken() {
        let parent = "00f067aa0ba902b7";
        for good in [
            format!("00-{TRACE}-{parent}-01"),
            format!("00-{TRACE}-{parent}-00"),
            format!("01-{TRACE}-{parent}-ff-what-is-to-come"),
        ] {
            let id = TraceId::parse(&good).map(|id| id.to_string());
            assert_eq!(id.as_deref(), Some(TRACE), "{good}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        let parent = "00f067aa0ba902b7";
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{parent}-01"),
            format!("00-{TRACE}-{parent}-01-more"),
            format!("00-{}-{parent}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{parent}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}{TRACE}-{parent}-01"),
            format!("00-+{}-{parent}-01", &TRACE[1..]),
            format!("00-{TRACE}-{parent}-1"),
            format!(" 00-{TRACE}-{parent}-01"),
            "-".repeat(10_000),
        ] {
            assert_eq!(TraceId::parse(&bad), None, "{bad}");
        }
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            let value = format!("00-{TRACE}-{parent}-01");
            twice.append(TRACEPARENT, value.parse().unwrap());
        }
        assert_eq!(TraceId::of(&twice), None);
    }
}
