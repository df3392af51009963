//! Places in a text: lines and columns, both from 1, columns in characters.

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character of the line, from 1; one more than the line has for its end.
    pub column: usize,
}

/// A piece of a text, from `start` up to, but without, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its first character.
    pub start: Position,
    /// The character after its last one.
    pub end: Position,
}

/// Characters of a text, counted from 0, `end` not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Where the lines of a text begin and how long they are.
#[derive(Debug)]
pub(crate) struct Lines {
    /// For each line the offset of its first character and its length without the break.
    lines: Vec<(usize, usize)>,
}

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let mut start = 0;
        let lines = text.split('\n').map(|line| {
            let characters = line.chars().count();
            let begin = start;
            start += characters + 1;
            (begin, characters - usize::from(line.ends_with('\r')))
        });
        Self {
            lines: lines.collect(),
        }
    }

    /// The place of a character; an offset behind the text is its end.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|(start, _)| *start <= offset);
        let (start, length) = self.lines[line.max(1) - 1];
        Position {
            line: line.max(1),
            column: offset.saturating_sub(start).min(length) + 1,
        }
    }

    pub(crate) fn span(&self, offsets: Offsets) -> Span {
        Span {
            start: self.position(offsets.start),
            end: self.position(offsets.end.max(offsets.start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_and_breaks_belong_to_no_column() {
        let lines = Lines::new("é: ü\r\nb\n");
        let at = |offset| {
            let Position { line, column } = lines.position(offset);
            (line, column)
        };
        assert_eq!([at(0), at(3), at(5)], [(1, 1), (1, 4), (1, 5)]);
        assert_eq!(
            [at(6), at(7), at(8), at(99)],
            [(2, 1), (2, 2), (3, 1), (3, 1)]
        );
    }
}
