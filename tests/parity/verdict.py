"""Compares the engine's answers with the reference's, and counts how it went."""

COLUMNS = "{:8} {:9} {:8} {:>8} {:>6} {:>9} {:>7}  {}"
HEADING = COLUMNS.format(
    "model", "dtype", "mode", "requests", "equal", "near-tie", "failed", "furthest below the best logit"
)


class Verdict:
    """One line of the table: how many answers were equal, how many parted at a near-tie, what was wrong with the rest."""

    def __init__(self, model, dtype, mode):
        self.name = (model, dtype, mode)
        self.equal, self.near_ties, self.failures = 0, 0, []
        self.furthest = (0.0, 0.0)

    def judge(self, reference, prompt, expected, got):
        """Compares the greedy tokens of one answer; near-ties are let through in bf16 only."""
        if got == expected.tokens:
            self.equal += 1
            return
        where = f"prompt of {len(prompt)} tokens"
        if len(got) != len(expected.tokens):
            self.fail(f"{where}: {len(got)} tokens instead of {len(expected.tokens)}")
            return
        first = next(i for i, token in enumerate(got) if token != expected.tokens[i])
        parted = (
            f"{where}: token {first} is {got[first]} instead of {expected.tokens[first]},"
            f" top-two gap {expected.gaps[first]:.5f}"
        )
        if self.name[1] != "bfloat16":
            self.fail(parted)
            return
        shortfalls, tolerance = reference.shortfalls(prompt, got)
        worst = max(range(len(got)), key=lambda i: shortfalls[i])
        self.furthest = max(self.furthest, (shortfalls[worst], tolerance))
        if shortfalls[worst] <= tolerance:
            self.near_ties += 1
        else:
            short = f"{shortfalls[worst]:.4f} below the best, tolerance {tolerance:.4f}"
            self.fail(f"{parted}; token {worst} is {short}")

    def judge_text(self, what, expected, got):
        """Compares anything that must be equal."""
        if got == expected:
            self.equal += 1
        else:
            self.fail(f"{what}: {got!r} instead of {expected!r}")

    def fail(self, why):
        """Notes a failure."""
        self.failures.append(" ".join(self.name) + ": " + why)

    def __str__(self):
        requests = self.equal + self.near_ties + len(self.failures)
        furthest = "{:.3f} (tolerance {:.3f})".format(*self.furthest) if self.furthest[0] else "-"
        return COLUMNS.format(*self.name, requests, self.equal, self.near_ties, len(self.failures), furthest)
