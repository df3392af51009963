//! The bounds of what a grammar may cost.

use std::time::Duration;

/// Longest JSON schema, as text.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Longest regular expression.
pub const REGEX_BYTES_MAX: usize = 16 << 10;
/// All choices of a request together.
pub const CHOICES_BYTES_MAX: usize = 64 << 10;
/// Longest context-free grammar.
pub const GRAMMAR_BYTES_MAX: usize = 64 << 10;
/// All that an answer must follow, together: the schemas of a request's tools or structural tags, say, and
/// the text around them.
pub const GRAMMAR_TOTAL_BYTES_MAX: usize = 1 << 20;
/// Parentheses that may be open at once in GBNF. llguidance has such bounds of its own for the others.
pub const NESTING_MAX: usize = 64;
/// Operators such as `*` or `{2}` in a row behind one item of GBNF.
pub const REPETITIONS_MAX: usize = 4;
/// Properties of one object in a schema, and alternatives of one `anyOf`, `oneOf` or `allOf`. Those that
/// may be absent are all looked at before each key.
pub const SCHEMA_MEMBERS_MAX: usize = 1_000;
/// Work of building a grammar's lexer, in llguidance's units (about 50 000 a millisecond).
pub const LEXER_BUILD_FUEL: u64 = 500_000;
/// Work of the lexer for one mask, in llguidance's units (about 14 000 a millisecond).
pub const LEXER_STEP_FUEL: u64 = 200_000;
/// Earley items for one mask (about 20 000 a millisecond).
pub const STEP_ITEMS_MAX: usize = 50_000;
/// Earley items of one row.
pub const ROW_ITEMS_MAX: usize = 8_000;
/// States of a branch's lexer, each one or two kB.
pub const LEXER_STATES_MAX: usize = 50_000;
/// Symbols of a compiled grammar.
pub const GRAMMAR_SYMBOLS_MAX: usize = 200_000;
/// Compiled grammars that are kept; the one that was not used for longest is dropped first.
pub const CACHED_GRAMMARS_MAX: usize = 256;
/// And the bytes of all of these, as they were asked for.
pub const CACHED_GRAMMARS_BYTES_MAX: usize = 16 << 20;
/// Grammars that may wait to be compiled; a request with one more is refused for now.
pub const COMPILE_QUEUE_MAX: usize = 64;
/// Longest that a grammar waits before it is compiled, for those of others, and longest that compiling it
/// takes.
pub const COMPILE_TIMEOUT: Duration = Duration::from_secs(10);
/// Stack of the thread that compiles: llguidance follows a grammar's nesting by recursion.
pub const COMPILE_STACK_BYTES: usize = 64 << 20;
/// Threads that compute masks, at most; half the cores if those are fewer.
pub const MASK_THREADS_MAX: usize = 8;
/// Spaces, tabs and newlines between two parts of a JSON value. Without a bound a weak model can go on
/// with them to the end of its context.
pub const JSON_WHITESPACE_MAX: usize = 32;
/// Longest token that a grammar can use; longer ones are never chosen.
pub const TOKEN_BYTES_MAX: usize = 512;
/// How much of llguidance's reason an error repeats, in characters.
pub const REASON_CHARS_MAX: usize = 300;
