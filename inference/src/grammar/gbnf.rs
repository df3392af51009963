//! GBNF, the grammar notation of llama.cpp that vLLM's examples use, made into llguidance's Lark.
//!
//! Whatever in a grammar needs no recursion becomes a terminal as large as possible: a terminal is
//! matched exactly, as a regular expression, while between two of them the first takes all it can.

use std::{collections::HashMap, iter::Peekable, str::Chars};

use serde_json::Value;

use super::{GrammarError, limits};

/// Most rules. The work of finding terminals is their number times the grammar's length.
const RULES_MAX: usize = 1_000;
/// The rule that an answer follows.
const ROOT: &str = "root";

/// Whether a text is GBNF: a line of it begins a rule.
pub(super) fn is_gbnf(text: &str) -> bool {
    text.lines().any(|line| {
        let begins = line.split_once("::=").map(|(name, _)| name.trim());
        begins.is_some_and(|name| !name.is_empty() && name.chars().all(is_name))
    })
}

/// The same grammar in Lark.
///
/// # Errors
/// [`GrammarError::Invalid`], saying where.
pub(super) fn to_lark(text: &str) -> Result<String, GrammarError> {
    let rules = Parser::new(text).rules()?;
    let Some(root) = rules.iter().position(|rule| rule.name == ROOT) else {
        return invalid(format!("there is no rule `{ROOT}`"));
    };
    let mut lark = Lark::new(&rules)?;
    for (index, rule) in rules.iter().enumerate() {
        lark.rule(index, &rule.body)?;
    }
    let start = &lark.names[root];
    Ok(format!("start: {start}\n{}", lark.out))
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, GrammarError> {
    Err(GrammarError::Invalid(reason.into()))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

struct Rule {
    name: String,
    body: Node,
}

enum Node {
    Literal(String),
    /// A character class as a regular expression.
    Class(String),
    Reference(String),
    Repeat(Box<Node>, usize, Option<usize>),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
}

impl Node {
    /// Calls `seen` with the name of every rule that this refers to.
    fn for_each_reference<'a>(&'a self, seen: &mut impl FnMut(&'a str)) {
        match self {
            Self::Literal(_) | Self::Class(_) => {}
            Self::Reference(name) => seen(name),
            Self::Repeat(inner, ..) => inner.for_each_reference(seen),
            Self::Sequence(nodes) | Self::Choice(nodes) => {
                nodes.iter().for_each(|node| node.for_each_reference(seen));
            }
        }
    }
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            chars: text.chars().peekable(),
            line: 1,
            depth: 0,
        }
    }

    fn rules(mut self) -> Result<Vec<Rule>, GrammarError> {
        let mut rules: Vec<Rule> = Vec::new();
        self.space(true);
        while self.chars.peek().is_some() {
            let name = self.name()?;
            self.space(false);
            for expected in "::=".chars() {
                self.expect(expected)?;
            }
            self.space(true);
            let body = self.choice()?;
            self.space(false);
            if !matches!(self.chars.peek(), None | Some('\n' | '\r')) {
                return self.fail("expected the end of a rule");
            }
            rules.push(Rule { name, body });
            if rules.len() > RULES_MAX {
                return invalid(format!("more than {RULES_MAX} rules"));
            }
            self.space(true);
        }
        Ok(rules)
    }

    fn choice(&mut self) -> Result<Node, GrammarError> {
        let mut options = vec![self.sequence()?];
        loop {
            // Within parentheses a rule goes on over lines; so it does before another `|`.
            self.space(self.depth > 0);
            if self.chars.next_if_eq(&'|').is_none() {
                return Ok(single(options, Node::Choice));
            }
            self.space(true);
            options.push(self.sequence()?);
        }
    }

    fn sequence(&mut self) -> Result<Node, GrammarError> {
        let mut nodes = Vec::new();
        while let Some(&next) = self.chars.peek() {
            let node = match next {
                '"' => Node::Literal(self.literal()?),
                '[' => Node::Class(self.class()?),
                '(' => self.group()?,
                '.' => {
                    self.bump();
                    Node::Class("(?s:.)".to_owned())
                }
                c if is_name(c) => Node::Reference(self.name()?),
                _ => break,
            };
            nodes.push(self.repetition(node)?);
            self.space(self.depth > 0);
        }
        Ok(single(nodes, Node::Sequence))
    }

    fn group(&mut self) -> Result<Node, GrammarError> {
        self.bump();
        self.depth += 1;
        if self.depth > limits::NESTING_MAX {
            return self.fail("parentheses are nested too deeply");
        }
        self.space(true);
        let inner = self.choice()?;
        self.expect(')')?;
        self.depth -= 1;
        Ok(inner)
    }

    /// An item with the operators behind it, each of which makes it one deeper: what walks a grammar
    /// does so by recursion.
    fn repetition(&mut self, mut node: Node) -> Result<Node, GrammarError> {
        for _ in 0..=limits::REPETITIONS_MAX {
            let (least, most) = match self.chars.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    self.bump();
                    let bounds = self.bounds()?;
                    node = Node::Repeat(Box::new(node), bounds.0, bounds.1);
                    continue;
                }
                _ => return Ok(node),
            };
            self.bump();
            node = Node::Repeat(Box::new(node), least, most);
        }
        let max = limits::REPETITIONS_MAX;
        self.fail(&format!("more than {max} repetitions of one item"))
    }

    /// What stands between braces: `3`, `3,` or `3,5`.
    fn bounds(&mut self) -> Result<(usize, Option<usize>), GrammarError> {
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(|&c| c != '}' && text.len() < 32) {
            text.push(c);
        }
        self.expect('}')?;
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let bounds = match text.split_once(',') {
            None => number(&text).map(|n| (n, Some(n))),
            Some((least, most)) if most.trim().is_empty() => number(least).map(|n| (n, None)),
            Some((least, most)) => number(least).zip(number(most).map(Some)),
        };
        match bounds {
            Some((least, most)) if most.is_none_or(|most| least <= most) => Ok((least, most)),
            _ => self.fail("expected a repetition such as {2,3}"),
        }
    }

    fn literal(&mut self) -> Result<String, GrammarError> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.chars.peek() {
                Some('"') => {
                    self.bump();
                    return Ok(text);
                }
                Some('\n') | None => return self.fail("a string has no end"),
                Some(_) => text.push(self.character()?),
            }
        }
    }

    fn class(&mut self) -> Result<String, GrammarError> {
        self.bump();
        let mut class = "[".to_owned();
        if self.chars.next_if_eq(&'^').is_some() {
            class.push('^');
        }
        let mut empty = true;
        while self.chars.peek() != Some(&']') {
            let from = self.character()?;
            let mut to = from;
            if self.chars.next_if_eq(&'-').is_some() {
                if self.chars.peek() == Some(&']') {
                    class += r"\x{2d}";
                } else {
                    to = self.character()?;
                }
            }
            if to < from {
                return self.fail("a range of characters is empty");
            }
            class += &format!(r"\x{{{:x}}}-\x{{{:x}}}", u32::from(from), u32::from(to));
            empty = false;
        }
        self.bump();
        if empty {
            return self.fail("a class of characters is empty");
        }
        class.push(']');
        Ok(class)
    }

    /// A character of a string or a class, which may be escaped.
    fn character(&mut self) -> Result<char, GrammarError> {
        let digits = match self.bump() {
            Some('\\') => match self.bump() {
                Some('n') => return Ok('\n'),
                Some('r') => return Ok('\r'),
                Some('t') => return Ok('\t'),
                Some('x') => 2,
                Some('u') => 4,
                Some('U') => 8,
                Some(c) if c.is_ascii_punctuation() => return Ok(c),
                _ => return self.fail("an escape is not known"),
            },
            Some(c) => return Ok(c),
            None => return self.fail("the grammar ends within a string or a class"),
        };
        let hex: String = (0..digits).filter_map(|_| self.bump()).collect();
        let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
        match code {
            Some(c) => Ok(c),
            None => self.fail("an escape is no character"),
        }
    }

    fn name(&mut self) -> Result<String, GrammarError> {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|&c| is_name(c)) {
            name.push(c);
        }
        match name.is_empty() {
            true => self.fail("expected the name of a rule"),
            false => Ok(name),
        }
    }

    /// Skips spaces and comments, and newlines where the rule goes on behind them.
    fn space(&mut self, newlines: bool) {
        while let Some(&c) = self.chars.peek() {
            match c {
                ' ' | '\t' => drop(self.bump()),
                '\n' | '\r' if newlines => drop(self.bump()),
                '#' => while self.chars.next_if(|&c| c != '\n').is_some() {},
                _ => break,
            }
        }
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn expect(&mut self, expected: char) -> Result<(), GrammarError> {
        if self.chars.peek() == Some(&expected) {
            self.bump();
            return Ok(());
        }
        self.fail(&format!("expected `{expected}`"))
    }

    fn fail<T>(&self, reason: &str) -> Result<T, GrammarError> {
        invalid(format!("line {}: {reason}", self.line))
    }
}

fn single(mut nodes: Vec<Node>, several: impl Fn(Vec<Node>) -> Node) -> Node {
    match nodes.len() {
        1 => nodes.remove(0),
        _ => several(nodes),
    }
}

/// Which rules are terminals: what refers to nothing is one, then what refers to terminals only;
/// recursion never is. Every reference is looked at once.
fn terminals(rules: &[Rule], by_name: &HashMap<&str, usize>) -> Vec<bool> {
    // Those that refer to a rule, once for each time, and how often each refers to what is no terminal.
    let mut users = vec![Vec::new(); rules.len()];
    let mut open = vec![0usize; rules.len()];
    for (user, rule) in rules.iter().enumerate() {
        rule.body.for_each_reference(&mut |name| {
            open[user] += 1;
            // What does not exist stays open: it is an error of its own.
            if let Some(&used) = by_name.get(name) {
                users[used].push(user);
            }
        });
    }
    let mut terminal = vec![false; rules.len()];
    let mut found: Vec<usize> = (0..rules.len()).filter(|&rule| open[rule] == 0).collect();
    while let Some(rule) = found.pop() {
        terminal[rule] = true;
        for &user in &users[rule] {
            open[user] -= 1;
            if open[user] == 0 {
                found.push(user);
            }
        }
    }
    terminal
}

/// The rules written so far, under names that Lark takes: terminals in capitals.
struct Lark<'a> {
    rules: HashMap<&'a str, usize>,
    terminal: Vec<bool>,
    names: Vec<String>,
    /// Terminals made of parts of rules.
    parts: usize,
    out: String,
}

impl<'a> Lark<'a> {
    fn new(rules: &'a [Rule]) -> Result<Self, GrammarError> {
        let mut by_name = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            if by_name.insert(rule.name.as_str(), index).is_some() {
                return invalid(format!("the rule `{}` is defined twice", rule.name));
            }
        }
        let terminal = terminals(rules, &by_name);
        let name = |(index, rule): (usize, &Rule)| {
            let name = rule.name.replace('-', "_");
            match terminal[index] {
                true => format!("T{index}_{}", name.to_ascii_uppercase()),
                false => format!("r{index}_{}", name.to_ascii_lowercase()),
            }
        };
        let names = rules.iter().enumerate().map(name).collect();
        Ok(Self {
            rules: by_name,
            terminal,
            names,
            parts: 0,
            out: String::new(),
        })
    }

    fn is_terminal(&self, node: &Node) -> bool {
        match node {
            Node::Literal(_) | Node::Class(_) => true,
            Node::Reference(name) => self
                .rules
                .get(name.as_str())
                .is_some_and(|&index| self.terminal[index]),
            Node::Repeat(inner, ..) => self.is_terminal(inner),
            Node::Sequence(nodes) | Node::Choice(nodes) => {
                nodes.iter().all(|node| self.is_terminal(node))
            }
        }
    }

    fn rule(&mut self, index: usize, body: &Node) -> Result<(), GrammarError> {
        let name = self.names[index].clone();
        let body = match self.terminal[index] {
            true => self.terminal_text(body)?,
            false => self.text(body)?,
        };
        self.out += &format!("{name}: {body}\n");
        Ok(())
    }

    /// A part of a rule, with terminals of its own for what needs no recursion.
    fn text(&mut self, node: &Node) -> Result<String, GrammarError> {
        match node {
            Node::Reference(name) => self.reference(name),
            terminal if self.is_terminal(terminal) => self.part(std::slice::from_ref(terminal)),
            Node::Repeat(inner, least, most) => {
                let inner = self.text(inner)?;
                Ok(repeated(&inner, *least, *most))
            }
            Node::Choice(nodes) => {
                let texts: Result<Vec<_>, _> = nodes.iter().map(|node| self.text(node)).collect();
                Ok(format!("({})", texts?.join(" | ")))
            }
            Node::Sequence(nodes) => {
                let runs = nodes.chunk_by(|a, b| self.is_terminal(a) && self.is_terminal(b));
                let runs: Vec<&[Node]> = runs.collect();
                let mut texts = Vec::new();
                for run in runs {
                    texts.push(match run {
                        [node] => self.text(node)?,
                        run => self.part(run)?,
                    });
                }
                Ok(texts.join(" "))
            }
            Node::Literal(_) | Node::Class(_) => self.terminal_text(node),
        }
    }

    /// A terminal for some neighbours in a rule.
    fn part(&mut self, nodes: &[Node]) -> Result<String, GrammarError> {
        let texts: Result<Vec<_>, _> = nodes.iter().map(|node| self.terminal_text(node)).collect();
        let name = format!("P{}", self.parts);
        self.parts += 1;
        self.out += &format!("{name}: {}\n", texts?.join(" "));
        Ok(name)
    }

    fn terminal_text(&self, node: &Node) -> Result<String, GrammarError> {
        let all = |nodes: &[Node]| -> Result<Vec<String>, GrammarError> {
            nodes.iter().map(|node| self.terminal_text(node)).collect()
        };
        match node {
            Node::Literal(text) => Ok(Value::from(text.as_str()).to_string()),
            Node::Class(expression) => Ok(format!("/{expression}/")),
            Node::Reference(name) => self.reference(name),
            Node::Repeat(inner, least, most) => {
                Ok(repeated(&self.terminal_text(inner)?, *least, *most))
            }
            Node::Sequence(nodes) if nodes.is_empty() => Ok("\"\"".to_owned()),
            Node::Sequence(nodes) => Ok(format!("({})", all(nodes)?.join(" "))),
            Node::Choice(nodes) => Ok(format!("({})", all(nodes)?.join(" | "))),
        }
    }

    fn reference(&self, name: &str) -> Result<String, GrammarError> {
        match self.rules.get(name) {
            Some(&index) => Ok(self.names[index].clone()),
            None => invalid(format!("there is no rule `{name}`")),
        }
    }
}

fn repeated(inner: &str, least: usize, most: Option<usize>) -> String {
    match (least, most) {
        (0, None) => format!("({inner})*"),
        (1, None) => format!("({inner})+"),
        (0, Some(1)) => format!("({inner})?"),
        (least, None) => format!("({inner}){{{least},}}"),
        (least, Some(most)) => format!("({inner}){{{least},{most}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_parts_become_terminals() {
        let lark = to_lark("root ::= item (\",\" root)?\nitem ::= [a-z]+ # letters\n").unwrap();
        let expected = "start: r0_root\nP0: \",\"\nr0_root: T1_ITEM (P0 r0_root)?\n\
                        T1_ITEM: (/[\\x{61}-\\x{7a}]/)+\n";
        assert_eq!(lark, expected);
    }

    #[test]
    fn a_rule_may_go_on_over_lines() {
        for text in [
            "root ::= \"a\" |\n  \"b\"\n",
            "root ::= (\n \"a\"\n | \"b\" )",
            "\n# first\nroot ::=\n  \"a\" | \"b\"",
        ] {
            assert!(is_gbnf(text), "{text}");
            assert!(to_lark(text).is_ok(), "{text}");
        }
        assert!(!is_gbnf("start: \"::=\"\n"));
    }

    #[test]
    fn errors_name_the_line_or_the_rule() {
        for (text, expected) in [
            ("root ::= \"a", "line 1: a string has no end"),
            ("root ::= \"a\"\nb ::= [z-a]", "line 2: a range"),
            ("root ::= x", "no rule `x`"),
            ("a ::= \"a\"", "no rule `root`"),
            ("root ::= \"a\"\nroot ::= \"b\"", "defined twice"),
            ("root ::= \"a\"{3,2}", "such as {2,3}"),
            ("root ::= \"a\" )", "the end of a rule"),
            ("root ::= \"a\"?*+{1}?", "line 1: more than 4 repetitions"),
        ] {
            let error = to_lark(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
