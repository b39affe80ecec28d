"""Two runs compared honestly: the same bound of the same draws of the same test examples, in pairs, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from taut.errors import InputError
from taut.evaluation import Progress, Subject, bounds
from taut.evaluation.coordinates import glance
from taut.evaluation.pairs import Paired, paired, require_alike
from taut.evaluation.subject import require_positive
from taut.runs import Run

__all__ = ["difference"]

SAMPLES = 100  # of an example, as `taut evaluate` takes


def difference(
    first: Run,
    second: Run,
    samples: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    root: str | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Paired, Tensor]:
    """The difference of two runs in a bound of log p(x), example by example.

    Where a density of either is noisy the bound is the ELBO of both, of as many draws as the importance-weighted bound would
    take, since its error holds the noise of the draws. A model without latents has an exact log p(x), of which there is but
    one, and it is held against whatever bound the other has.

    Args:
        first, second: the runs.
        samples: k of the importance-weighted bound, measured for both or taken from what is kept; 1 is the ELBO. If left open,
            the tightest bound that is kept of each run: it must be the same. Where nothing is kept, 100.
        limit: of so many random test examples; of 1,000 if left open and ``samples`` is given.
        seed: of all draws.
        root: where named data lie.
        progress: told of what is done.

    Returns:
        The difference, and the numbers (N,) of the test examples.

    Raises:
        InputError: where the runs are unlike in data, support, binarisation, kind of likelihood, bound or k, naming which.
    """
    require_positive("limit", limit)
    if samples is None and limit is not None:
        raise InputError("limit", f"is {limit}, and what is kept is of examples that were chosen when it was measured",
                         "measure anew: say --samples K too")  # fmt: skip
    sides = [_Side(run.subject(None, seed, root)) for run in (first, second)]
    require_alike(*(side.subject.identity for side in sides))
    weighs = all(side.weighs for side in sides)
    if samples is None and None not in (kept := [side.tightest() for side in sides]):
        (one, _), (other, _) = kept
        k = max(one["k"], other["k"])
        # means of more draws and of fewer are of the same bound; and what is exact is of no number of draws
        any_k = ("k",) if not weighs or any(side.exact for side in sides) else ()
        require_alike(one, other, f"measure both alike: --samples {k}", any_k)
        found = [side.values(found, settings["k"], weighs) for side, (settings, found) in zip(sides, kept, strict=True)]
        return _paired(found), kept[0][1]["example"]
    samples = SAMPLES if samples is None else samples
    index = sides[0].subject.some(1000 if limit is None else limit)
    n, measured = len(index), []
    for i, side in enumerate(sides):
        k = 1 if side.exact else samples
        found = bounds(side.subject, k, index, lambda done, total, i=i: progress(i * n + done, 2 * n))
        if not found.proper:
            raise InputError("diff", f"the {('first', 'second')[i]} run has a point posterior, and so no bound of log p(x)",
                             "compare runs whose posteriors have densities")  # fmt: skip
        measured.append(side.values(vars(found), k, weighs))
    return _paired(measured), index


@dataclass(frozen=True)
class _Side:
    """One of the two.

    Args:
        subject: its model and examples.
    """

    subject: Subject

    @cached_property
    def weighs(self) -> bool:
        """Whether it has importance weights."""
        return glance(self.subject.vae).exactness == "exact"

    @property
    def exact(self) -> bool:
        """Whether its log p(x) is known, and no bound of it needed."""
        return self.weighs and not self.subject.vae.layers

    def tightest(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What is kept of the model as it is, of most samples; of the most examples among equals."""
        same = self.subject.identity.items()
        kept = [(settings, found) for settings, found in self.subject.ledger.kept("iw") if same <= settings.items()]
        kept = [(settings, found) for settings, found in kept if bool(found["proper"].all())]
        return max(kept, key=lambda item: (item[0]["k"], item[0]["n"]), default=None)

    def values(self, found: Mapping[str, Any], k: int, weighs: bool) -> tuple[Tensor, str]:
        """The bound of each example by what was measured of k samples, and what it is called."""
        if weighs and k > 1 and not self.exact:
            return found["importance"], f"IW-{k}"
        draws = "" if weighs else f" of {k:,} draw{'s'[: k != 1]}"
        return -found["distortion"] - found["rate"], "log p(x), exact" if self.exact else f"ELBO{draws}"


def _paired(sides: Sequence[tuple[Tensor, str]]) -> Paired:
    (first, one), (second, other) = sides
    return paired(first, second, one, other)
