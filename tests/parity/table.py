"""The table at the end: families × errors and modes."""

import modes

MODES = {"alone": "greedy", "batched": "batched", "chunked": "chunked", "cached": "cached", "preempted": "preempted"}
assert set(MODES) == set(modes.NAMES)
HEADING = ["family", "models", "f32 error", "bf16 error (transformers')", *MODES.values(), "switches"]
NOTE = (
    "Errors are the largest of the family: f32, largest difference of a logit as a share of the largest logit; bf16,"
    " root mean square of the differences from the f32 result as a share of that of the logits, the median of all"
    " positions, and in brackets the same of transformers in bf16. Modes count answers of 64 greedy tokens: equal in f32 / equal in bf16 + those that"
    " parted at a near-tie, of all. Switches counts changed settings that were noticed."
)


def rows(verdicts, figures):
    """A row for each family, as texts. `figures` are those of each subject's id."""
    for family in dict.fromkeys(verdict.family for verdict in verdicts):
        of_family = [verdict for verdict in verdicts if verdict.family == family]
        subjects = dict.fromkeys(verdict.subject for verdict in of_family)
        yield [
            family,
            str(len(subjects)),
            *errors([figures[subject] for subject in subjects]),
            *(cell([verdict for verdict in of_family if verdict.mode == mode]) for mode in MODES),
            noticed([verdict for verdict in of_family if verdict.mode == "switches"]),
        ]


def errors(figures):
    """The largest error in f32, and in bf16 beside the reference's own."""
    f32 = [f.f32.largest for f in figures if f.f32]
    bf16 = [(f.bf16.median, f.bf16_of_reference.median) for f in figures if f.bf16]
    yield f"{max(f32):.1e}" if f32 else "-"
    yield "{:.2%} ({:.2%})".format(*max(bf16)) if bf16 else "-"


def cell(verdicts):
    """How the answers of one family in one mode went."""
    f32 = [verdict for verdict in verdicts if verdict.dtype == "float32"]
    bf16 = [verdict for verdict in verdicts if verdict.dtype == "bfloat16"]
    if not verdicts:
        return "-"
    equal, all_f32 = sum(v.equal for v in f32), sum(v.count for v in f32)
    bf16_equal, near = sum(v.equal for v in bf16), sum(v.near_ties for v in bf16)
    return f"{equal}/{all_f32} · {bf16_equal}+{near}/{sum(v.count for v in bf16)}"


def noticed(verdicts):
    """How many changed settings made a difference."""
    return f"{sum(v.equal for v in verdicts)}/{sum(v.count for v in verdicts)}" if verdicts else "-"


def markdown(verdicts, figures):
    """The table, columns aligned."""
    lines = [HEADING, *rows(verdicts, figures)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADING))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text) + "\n\n" + NOTE + "\n"
