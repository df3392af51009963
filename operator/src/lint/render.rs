//! Diagnostics for people and editors: a line that begins `file:line:column: severity:`, and below it
//! the line of the manifest with a mark under what is meant.

use candela_crds::{Diagnostic, Note, Span};

/// Characters of a line that are shown; of a longer one, those around the mark.
const SHOWN_MAX: usize = 120;
/// Characters that are shown before the mark where a line is cut.
const BEFORE_MAX: usize = 40;

/// One diagnostic of a manifest, with its notes.
pub(super) fn diagnostic(file: &str, text: &str, diagnostic: &Diagnostic) -> String {
    let Diagnostic { span, notes, .. } = diagnostic;
    let mut out = head(file, *span, &diagnostic.to_string());
    out += &snippet(text, *span);
    for Note { span, message } in notes {
        out += &head(file, *span, &format!("note: {message}"));
        out += &snippet(text, *span);
    }
    out
}

fn head(file: &str, span: Span, message: &str) -> String {
    let (line, column) = (span.start.line, span.start.column);
    let message = message.replace(char::is_control, " ");
    format!("{file}:{line}:{column}: {message}\n")
}

/// The first line of a span and a mark under its part of it.
fn snippet(text: &str, span: Span) -> String {
    let Span { start, end } = span;
    let line = text.split('\n').nth(start.line - 1).unwrap_or_default();
    let line: Vec<char> = line.trim_end_matches('\r').chars().collect();
    let first = (start.column - 1).min(line.len());
    let last = if end.line > start.line {
        line.len()
    } else {
        (end.column - 1).clamp(first, line.len())
    };
    let cut = line.len() > SHOWN_MAX;
    let from = if cut {
        first.saturating_sub(BEFORE_MAX)
    } else {
        0
    };
    let to = (from + SHOWN_MAX).min(line.len());
    let ellipsis = |shown: bool| if shown { "..." } else { "" };
    let shown: String = line[from..to].iter().map(|c| printable(*c)).collect();
    // A tab stays one, so that the mark stands below whatever the terminal makes of it.
    let pad = line[from..first].iter();
    let pad: String = pad.map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
    let number = start.line.to_string();
    let gutter = " ".repeat(number.len());
    let before = ellipsis(from > 0);
    let dots = " ".repeat(before.len());
    let after = ellipsis(to < line.len());
    let mark = "^".repeat(last.min(to).saturating_sub(first).max(1));
    format!(" {number} | {before}{shown}{after}\n {gutter} | {dots}{pad}{mark}\n")
}

/// What a terminal can be given: a manifest may come from anywhere.
fn printable(c: char) -> char {
    if c.is_control() && c != '\t' {
        '\u{fffd}'
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candela_crds::Position;

    fn span(line: usize, from: usize, to: usize) -> Span {
        let at = |column| Position { line, column };
        Span {
            start: at(from),
            end: at(to),
        }
    }

    #[test]
    fn mark_stands_below_the_span() {
        assert_eq!(
            snippet("a: 1\nb: two\n", span(2, 4, 7)),
            " 2 | b: two\n   |    ^^^\n"
        );
        assert_eq!(
            snippet("\tb: 1\r\n", span(1, 2, 3)),
            " 1 | \tb: 1\n   | \t^\n"
        );
    }

    #[test]
    fn long_line_is_cut_around_the_mark() {
        let line = format!("{}here{}", "a".repeat(500), "b".repeat(500));
        let shown = snippet(&line, span(1, 501, 505));
        let expected = format!(
            " 1 | ...{}here{}...\n   |    {}^^^^\n",
            "a".repeat(40),
            "b".repeat(76),
            " ".repeat(40)
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn control_characters_are_not_written_to_a_terminal() {
        assert!(!snippet("a: \u{1b}[2J", span(1, 4, 5)).contains('\u{1b}'));
    }
}
