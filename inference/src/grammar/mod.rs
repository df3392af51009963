//! Grammars that answers must follow: JSON schemas, regular expressions, choices, context-free grammars,
//! and text with structured parts, such as tool calls. A grammar is compiled once against the model's
//! vocabulary and then says, before each token, which tokens may come next.
//!
//! Read in this order: `grammar.rs` (what can be asked for), `lower.rs` (how llguidance is told),
//! `compiler.rs` (compiling, once per content, on a thread of its own), `branch.rs` (one branch's
//! constraint), `masks.rs` (who computes masks, and when). It knows no request and no model.

mod branch;
mod compiler;
mod error;
mod gbnf;
#[path = "grammar.rs"]
mod kinds;
pub mod limits;
mod lower;
mod masks;
mod schema;
mod vocabulary;

pub use compiler::{CompiledGrammar, GrammarCompiler};
pub use error::GrammarError;
pub use kinds::{Grammar, SchemaOptions, Structure, Tagged};
pub use masks::MaskClock;
pub use vocabulary::Vocabulary;

#[cfg(test)]
mod bomb_tests;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod test_schemas;
#[cfg(test)]
mod tests;
