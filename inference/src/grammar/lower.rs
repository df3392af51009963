//! How llguidance is told: a list of its grammars, of which the first is where an answer begins and the
//! others are referred to by name.

use llguidance::{
    api::{GrammarWithLexer, TopLevelGrammar},
    regex_to_lark,
};
use serde_json::Value;

use super::{Grammar, GrammarError, Structure, Tagged, Vocabulary};

/// Any text.
const TEXT: &str = "TEXT: /(?s:.*)/\n";

/// The grammar in llguidance's terms.
///
/// # Errors
/// [`GrammarError::Invalid`] for what llguidance should not even be asked.
pub(super) fn lower(
    grammar: &Grammar,
    vocabulary: &Vocabulary,
) -> Result<TopLevelGrammar, GrammarError> {
    let mut lowered = Lowered {
        grammars: Vec::new(),
        vocabulary,
    };
    lowered.add(grammar)?;
    Ok(TopLevelGrammar {
        grammars: lowered.grammars,
        max_tokens: None,
    })
}

struct Lowered<'a> {
    grammars: Vec<GrammarWithLexer>,
    vocabulary: &'a Vocabulary,
}

impl Lowered<'_> {
    /// Adds a grammar and what it refers to; its name as others refer to it.
    fn add(&mut self, grammar: &Grammar) -> Result<String, GrammarError> {
        let index = self.grammars.len();
        let name = format!("g{index}");
        self.grammars.push(GrammarWithLexer::default());
        let mut lowered = match grammar {
            Grammar::Json(text) => {
                let schema: Value = serde_json::from_str(text)
                    .map_err(|error| GrammarError::Invalid(error.to_string()))?;
                GrammarWithLexer::from_json_schema(schema)
            }
            Grammar::Regex(expression) => {
                lark(format!("start: /{}/", regex_to_lark(expression, "")))
            }
            Grammar::Choice(choices) => {
                let choices: Vec<String> = choices.iter().map(|choice| quoted(choice)).collect();
                lark(format!("start: CHOICE\nCHOICE: {}\n", choices.join(" | ")))
            }
            Grammar::Lark(text) => lark(text.clone()),
            Grammar::Tagged(tagged) => lark(self.tagged(tagged)?),
            Grammar::After { end, then } => {
                let then = self.add(then)?;
                let free = self.text_until("free", end);
                lark(format!("start: free @{then}\n{free}{TEXT}"))
            }
            Grammar::Any(grammars) => {
                let names: Result<Vec<String>, _> = grammars
                    .iter()
                    .map(|grammar| Ok(format!("@{}", self.add(grammar)?)))
                    .collect();
                lark(format!("start: {}\n", names?.join(" | ")))
            }
        };
        lowered.name = Some(name.clone());
        self.grammars[index] = lowered;
        Ok(name)
    }

    fn tagged(&mut self, tagged: &Tagged) -> Result<String, GrammarError> {
        let Tagged {
            text,
            structures,
            at_least,
            at_most,
            separator,
        } = tagged;
        if structures.is_empty() || at_most.is_some_and(|most| most < (*at_least).max(1)) {
            let reason = "no structured part is possible".to_owned();
            return Err(GrammarError::Invalid(reason));
        }
        let mut rules = String::new();
        let mut names = Vec::new();
        for (i, structure) in structures.iter().enumerate() {
            rules += &self.structure(&format!("part_{i}"), structure, *text)?;
            names.push(format!("part_{i}"));
        }
        let start = if *text {
            format!("{} TEXT", repeated("part", *at_least, *at_most))
        } else {
            let rest = format!("({} part)", self.literal(separator));
            let more = repeated(
                &rest,
                at_least.saturating_sub(1),
                at_most.map(|most| most - 1),
            );
            match at_least {
                0 => format!("(part {more})?"),
                _ => format!("part {more}"),
            }
        };
        let names = names.join(" | ");
        Ok(format!("start: {start}\npart: {names}\n{rules}{TEXT}"))
    }

    /// The rules of one structured part; within text they begin with the text before it.
    fn structure(
        &mut self,
        name: &str,
        structure: &Structure,
        within_text: bool,
    ) -> Result<String, GrammarError> {
        let Structure {
            trigger,
            begin,
            content,
            end,
        } = structure;
        if within_text && trigger.is_empty() {
            let reason = "a structured part within text needs a trigger".to_owned();
            return Err(GrammarError::Invalid(reason));
        }
        let content = self.add(content)?;
        let (begin, end) = (self.literal(begin), self.literal(end));
        if within_text {
            let head = format!("{name}_head");
            let rules = self.text_until(&head, trigger);
            Ok(format!("{name}: {head} {begin} @{content} {end}\n{rules}"))
        } else {
            let trigger = self.literal(trigger);
            Ok(format!("{name}: {trigger} {begin} @{content} {end}\n"))
        }
    }

    /// The rule of any text that ends with the first `end`.
    fn text_until(&self, rule: &str, end: &str) -> String {
        match self.vocabulary.special_token(end) {
            Some(token) => format!("{rule}: TEXT <[{token}]>\n"),
            None => format!("{rule}[lazy]: TEXT {}\n", quoted(end)),
        }
    }

    /// A special token, if the text is one; the text otherwise.
    fn literal(&self, text: &str) -> String {
        match self.vocabulary.special_token(text) {
            Some(token) => format!("<[{token}]>"),
            None if text.is_empty() => String::new(),
            None => quoted(text),
        }
    }
}

fn lark(text: String) -> GrammarWithLexer {
    GrammarWithLexer::from_lark(text)
}

/// A string literal of Lark, which is JSON's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn repeated(rule: &str, at_least: usize, at_most: Option<usize>) -> String {
    match (at_least, at_most) {
        (0, None) => format!("{rule}*"),
        (1, None) => format!("{rule}+"),
        (_, Some(0)) => String::new(),
        (least, None) => format!("{rule}{{{least},}}"),
        (least, Some(most)) => format!("{rule}{{{least},{most}}}"),
    }
}
