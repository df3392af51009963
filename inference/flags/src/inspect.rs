//! Arguments of `candela-engine inspect`: those of the server, with the model as the first one.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, builder::Resettable};

use crate::{EngineFlags, engine::normalize_arguments};

/// What to describe, and how.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "candela-engine inspect",
    about = "Says what a model is and what it needs of memory, without loading it",
    override_usage = "candela-engine inspect MODEL [--json] [any flag of the server]"
)]
pub struct InspectFlags {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The model, and the settings it would be served with.
    #[command(flatten)]
    pub engine: EngineFlags,
}

/// Parses a command line, its first item the program's name.
///
/// # Errors
/// clap's error, which also carries `--help`.
pub fn parse_inspect_flags(
    args: impl IntoIterator<Item = OsString>,
) -> Result<InspectFlags, clap::Error> {
    let positional = |arg: clap::Arg| arg.long(Resettable::Reset).index(1).value_name("MODEL");
    let command = InspectFlags::command().mut_arg("model", positional);
    let matches = command.try_get_matches_from(normalize_arguments(args))?;
    InspectFlags::from_arg_matches(&matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<InspectFlags, clap::Error> {
        parse_inspect_flags(std::iter::once(&"inspect").chain(args).map(OsString::from))
    }

    #[test]
    fn the_model_is_the_first_argument_and_server_flags_follow() {
        let flags = parse(&["folder", "--max_model_len=128", "--json"]).unwrap();
        assert_eq!(flags.engine.model, "folder");
        assert_eq!(
            flags.engine.max_model_len.map(|len| len.as_usize()),
            Some(128)
        );
        assert!(flags.json);
        assert!(parse(&[]).is_err());
    }
}
