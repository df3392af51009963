"""Compares answers with the reference's, and counts how it went."""

from dataclasses import dataclass, field

# Where the tolerance of a model with experts is wide, because a router in bf16 may choose another one, few tokens may
# need it: so many of an answer may be further below the best logit than this share of the largest.
FAR = 0.05
FAR_MAX = 6


@dataclass
class Verdict:
    """The answers to one subject in one dtype and mode: how many were equal, how many parted at a near-tie, what was
    wrong with the rest."""

    subject: str
    family: str
    dtype: str
    mode: str
    equal: int = 0
    near_ties: int = 0
    furthest: float = 0.0
    far: int = 0
    failures: list = field(default_factory=list)

    def judge_exact(self, prompt, expected, got):
        """The tokens must be those of the reference."""
        if got == expected.tokens:
            self.equal += 1
        elif len(got) != len(expected.tokens):
            self.fail(f"prompt of {len(prompt)} tokens: {len(got)} tokens instead of {len(expected.tokens)}")
        else:
            first = next(i for i, token in enumerate(got) if token != expected.tokens[i])
            self.fail(
                f"prompt of {len(prompt)} tokens: token {first} is {got[first]} instead of {expected.tokens[first]},"
                f" which is {expected.gaps[first]:.1e} above the second"
            )

    def judge_near(self, reference, prompt, count, tolerance, got):
        """Every token must be the reference's choice, given those before it, or within `tolerance` of it."""
        if len(got) != count:
            self.fail(f"prompt of {len(prompt)} tokens: {len(got)} tokens instead of {count}")
            return
        same, short = reference.second_thoughts(prompt, got)
        worst = max(range(count), key=lambda i: short[i])
        far = sum(share > FAR for share in short)
        self.furthest, self.far = max(self.furthest, short[worst]), max(self.far, far)
        if all(same):
            self.equal += 1
        elif far > FAR_MAX:
            self.fail(f"prompt of {len(prompt)} tokens: {far} tokens are more than {FAR} below the best")
        elif short[worst] <= tolerance:
            self.near_ties += 1
        else:
            self.fail(
                f"prompt of {len(prompt)} tokens: they part at token {same.index(False)}; token {worst} is"
                f" {short[worst]:.1e} below the best, tolerance {tolerance:.1e}"
            )

    def judge_text(self, what, expected, got):
        """Compares anything that must be equal."""
        if got == expected:
            self.equal += 1
        else:
            self.fail(f"{what}: {got!r} instead of {expected!r}")

    def require(self, holds, why):
        """Counts something that must hold."""
        if holds:
            self.equal += 1
        else:
            self.fail(why)

    def fail(self, why):
        """Notes a failure."""
        self.failures.append(f"{self.subject} {self.dtype} {self.mode}: {why}")

    @property
    def count(self):
        """All that was judged."""
        return self.equal + self.near_ties + len(self.failures)
