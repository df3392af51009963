//! `flags.md`: every flag of the three commands, from the parsers themselves.

use std::any::TypeId;

use candela_flags::{Bounds, EngineFlags, InspectFlags, PullFlags, owner_of};
use clap::{Arg, Args, Command, CommandFactory};

use super::{MADE, code, grouped, table};

const INTRODUCTION: &str = "\
Names are vLLM's where vLLM has the setting, and `_` is as good as `-` in them. Values follow after `=` or a
space, that of `--enable-per-request-metrics` after `=` only (without one it means `on-request`). Where a field of the InferenceService decides a flag, the last column names it, and `extraArgs` may not
carry the flag; all others may be given there.
";
const STATS: &str = "\
`--disable-log-stats` together with either flag that reports stats starts no server: the message says which of
them to remove.
";

pub(super) fn page() -> String {
    let engine = EngineFlags::augment_args(Command::new("candela-engine"));
    let arguments: Vec<&Arg> = engine.get_arguments().collect();
    let mut headings: Vec<&str> = Vec::new();
    for heading in arguments.iter().filter_map(|arg| arg.get_help_heading()) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    let mut page = format!("# Flags\n\n{MADE}\n\n{INTRODUCTION}");
    for heading in headings {
        let of_heading = arguments
            .iter()
            .filter(|arg| arg.get_help_heading() == Some(heading));
        page += &format!("\n## {heading}\n\n");
        page += &table(
            &["flag", "default", "values", "what it does", "decided by"],
            of_heading.map(|arg| row(arg)),
        );
        if heading == "Stats" {
            page += &format!("\n{STATS}");
        }
    }
    page += "\n## `candela-engine inspect MODEL`\n\nTakes all of these but `--model`, which is its first argument, and:\n\n";
    let known = EngineFlags::names();
    page += &command(InspectFlags::command(), |arg| {
        arg.get_long()
            .is_some_and(|long| !known.iter().any(|known| known == long))
    });
    page += "\n## `candela-engine pull MODEL`\n\n";
    page += &command(PullFlags::command(), |_| true);
    page
}

fn command(command: Command, shown: impl Fn(&Arg) -> bool) -> String {
    let of_clap = ["help", "version"];
    let arguments = command
        .get_arguments()
        .filter(|arg| !of_clap.contains(&arg.get_id().as_str()) && shown(arg));
    let mut row_of = |arg: &Arg| {
        let mut row = row(arg);
        row.pop();
        row
    };
    table(
        &["flag", "default", "values", "what it does"],
        arguments.map(&mut row_of).collect::<Vec<_>>(),
    )
}

fn row(arg: &Arg) -> Vec<String> {
    let name = match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => arg.get_id().to_string().to_uppercase(),
    };
    let help = arg
        .get_help()
        .map(|help| help.to_string())
        .unwrap_or_default();
    let (help, in_help) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    // Of a pair of switches, the one that says what is so anyway.
    let (help, in_help) = match help.strip_suffix("; the default") {
        Some(help) => (help.to_owned(), "on".to_owned()),
        None => (help, in_help),
    };
    let owner = owner_of(&name).map(|owned| owned.field).unwrap_or_default();
    let owner = match owner.strip_prefix("the ") {
        Some(_) => owner.to_owned(),
        None => code(owner),
    };
    let default = Some(in_help).filter(|text| !text.is_empty());
    let default = default.or_else(|| self::default(arg)).unwrap_or_default();
    vec![code(&name), default, values(arg), help, owner]
}

fn default(arg: &Arg) -> Option<String> {
    if !arg.get_action().takes_values() {
        return Some("off".to_owned());
    }
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|v| v.to_string_lossy())
        .collect();
    (!defaults.is_empty()).then(|| code(&defaults.join(" ")))
}

/// What may be given: the values there are, bounds, or the value's name.
fn values(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let parser = arg.get_value_parser();
    if let Some(Bounds { min, max, unit }) = Bounds::of(parser) {
        return format!("{} to {} {unit}", grouped(min), grouped(max));
    }
    if parser.type_id() == TypeId::of::<u16>() {
        return format!("0 to {}", grouped(u16::MAX.into()));
    }
    if parser.type_id() == TypeId::of::<u64>() {
        return format!("0 to {}", grouped(u64::MAX));
    }
    let possible: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| match value.get_help() {
            Some(help) => format!(
                "`{}`: {}",
                value.get_name(),
                help.to_string().trim_end_matches('.')
            ),
            None => code(value.get_name()),
        })
        .collect();
    if !possible.is_empty() {
        return possible.join("; ");
    }
    let names = arg.get_value_names().unwrap_or_default();
    names
        .iter()
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}
