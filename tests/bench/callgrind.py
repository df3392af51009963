"""Reads what callgrind.sh counted: `callgrind.py FOLDER SHORT LONG SEQUENCES...`, where the folder has a file of every run."""

import re
import sys
from pathlib import Path

CLOCK = "clock_gettime"
ALLOCATIONS = ("malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc")


def counted(path):
    """Instructions of a run, readings of the clock, and allocations."""
    instructions, names, called = 0, {}, None
    calls = dict.fromkeys((CLOCK, *ALLOCATIONS), 0)
    for line in path.read_text(errors="replace").splitlines():
        # A name is written once, and then called by its number.
        if found := re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line):
            number, name = found.groups()
            if name:
                # Without the version of the symbol, and the mark of a function that calls itself.
                names[number] = re.split(r"[@']", name)[0]
            called = names.get(number) if line.startswith("cfn") else None
        elif line.startswith("calls=") and called in calls:
            calls[called] += int(line[6:].split()[0])
        elif line.startswith(("summary:", "totals:")):
            instructions = int(line.split()[1])
    return instructions, calls[CLOCK], sum(calls[name] for name in ALLOCATIONS)


def main():
    """Prints what one token costs."""
    folder, short, long = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print("| sequences | stats | instructions per token | of it for stats | clock readings per step | allocations per step |")
    print("|---|---|---|---|---|---|")
    for sequences in map(int, sys.argv[4:]):
        without = None
        for stats in ("off", "on"):
            few, many = (counted(folder / f"{sequences}-{stats}-{tokens}") for tokens in (short, long))
            steps = long - short
            instructions = (many[0] - few[0]) / (steps * sequences)
            without = without or instructions
            share = 100 * (instructions - without) / instructions
            readings, allocations = ((many[i] - few[i]) / steps for i in (1, 2))
            print(
                f"| {sequences} | {stats} | {instructions:.0f} | {instructions - without:.0f} ({share:.1f} %) "
                f"| {readings:.2f} | {allocations:.2f} |"
            )


main()
