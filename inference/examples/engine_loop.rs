//! Runs the engine's loop over a model that takes next to no time, for tests/bench/callgrind.sh to count its instructions:
//! `engine_loop SEQUENCES TOKENS on|off`, where the last says whether stats are.

#[path = "../benches/micro/steady.rs"]
mod steady;

use std::{env, process::ExitCode, sync::Arc};

use candela_engine::engine::{Clock, MonotonicClock};

use steady::Load;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some((load, stats)) = read(&words) else {
        eprintln!("usage: engine_loop SEQUENCES TOKENS on|off, both numbers at least 1");
        return ExitCode::FAILURE;
    };
    let clock = stats.then(|| Arc::new(MonotonicClock::start()) as Arc<dyn Clock>);
    steady::run(load, clock, |_| {});
    ExitCode::SUCCESS
}

fn read(words: &[String]) -> Option<(Load, bool)> {
    let [sequences, tokens, stats] = words else {
        return None;
    };
    let number = |word: &str| word.parse().ok().filter(|&number: &usize| number > 0);
    let load = Load {
        sequences: number(sequences)?,
        tokens: number(tokens)?,
    };
    let stats = match stats.as_str() {
        "on" => true,
        "off" => false,
        _ => return None,
    };
    Some((load, stats))
}
