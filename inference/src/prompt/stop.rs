//! Stop strings in a growing text.

use std::sync::Arc;

use crate::engine::StopMatch;

/// Looks for stop strings at the end of a growing text, and says how much of the text cannot be part
/// of one. The earliest match wins.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: Vec<Arc<str>>,
    /// Bytes of the longest stop string.
    longest: usize,
    /// Keep the stop string in the answer.
    include: bool,
    /// Bytes in which no stop string ends.
    checked: usize,
}

impl StopMatcher {
    /// A matcher for these strings, none of them empty.
    pub fn new(stops: Vec<Arc<str>>, include: bool) -> Self {
        let longest = stops.iter().map(|stop| stop.len()).max().unwrap_or(0);
        Self {
            stops,
            longest,
            include,
            checked: 0,
        }
    }

    /// Looks at what `text` has more than at the last call.
    pub fn check(&mut self, text: &str) -> Option<StopMatch> {
        let from = text.floor_char_boundary(self.checked.saturating_sub(self.longest));
        let checked = std::mem::replace(&mut self.checked, text.len());
        self.stops
            .iter()
            .filter_map(|stop| {
                let starts = text[from..].match_indices(&**stop).map(|(at, _)| from + at);
                let start = starts.into_iter().find(|at| at + stop.len() > checked)?;
                Some((start, stop))
            })
            .min_by_key(|&(start, _)| start)
            .map(|(start, stop)| StopMatch {
                stop: stop.clone(),
                text_bytes: if self.include {
                    start + stop.len()
                } else {
                    start
                },
            })
    }

    /// Takes what `text` has more than at the last call as free of stop strings.
    pub fn skip(&mut self, text: &str) {
        self.checked = text.len();
    }

    /// Bytes of `text` before anything that could become a stop string.
    pub fn safe_bytes(&self, text: &str) -> usize {
        let from = text.ceil_char_boundary((text.len() + 1).saturating_sub(self.longest));
        text[from..]
            .char_indices()
            .map(|(at, _)| from + at)
            .find(|&at| self.stops.iter().any(|stop| stop.starts_with(&text[at..])))
            .unwrap_or(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(stops: &[&str], include: bool) -> StopMatcher {
        StopMatcher::new(stops.iter().map(|&stop| Arc::from(stop)).collect(), include)
    }

    #[test]
    fn a_stop_string_over_several_pieces_is_found() {
        let mut stop = matcher(&["\n\n##"], false);
        assert_eq!(stop.check("one\n"), None);
        assert_eq!(stop.check("one\n\n#"), None);
        let found = stop.check("one\n\n## two").unwrap();
        assert_eq!((&*found.stop, found.text_bytes), ("\n\n##", 3));
    }

    #[test]
    fn the_earliest_match_wins_and_may_be_kept() {
        let mut stop = matcher(&["three", "two"], true);
        assert_eq!(stop.check("one two three").map(|m| m.text_bytes), Some(7));
    }

    #[test]
    fn what_could_become_a_stop_string_is_not_safe() {
        let stop = matcher(&["END", "é!"], false);
        for (text, safe) in [
            ("abc", 3),
            ("abE", 2),
            ("abEN", 2),
            ("abEN ", 5),
            ("abé", 2),
            ("E", 0),
            ("", 0),
        ] {
            assert_eq!(stop.safe_bytes(text), safe, "{text}");
        }
        assert_eq!(matcher(&[], false).safe_bytes("abc"), 3);
    }

    #[test]
    fn skipped_text_holds_no_match_but_may_begin_one() {
        let mut stop = matcher(&["ab"], false);
        stop.skip("ab a");
        assert_eq!(stop.check("ab ab").map(|m| m.text_bytes), Some(3));
        let mut stop = matcher(&["ab"], false);
        stop.skip("ab");
        assert_eq!(stop.check("ab c"), None);
    }
}
