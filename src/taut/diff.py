"""Two runs compared honestly: the same bound of the same draws of the same test examples, in pairs, or not at all."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from taut.distributions.exactness import in_words
from taut.errors import InputError
from taut.evaluation import Progress, Subject, bounds
from taut.evaluation.coordinates import glance
from taut.evaluation.pairs import Paired, paired, require_alike
from taut.evaluation.subject import require_positive
from taut.runs import Run

__all__ = ["difference"]


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

    Args:
        first, second: the runs.
        samples: k of the importance-weighted bound, measured for both or taken from what is kept; 1 is the ELBO. If left open,
            the tightest bound that is kept of each run: it must be the same.
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
    subjects = [run.subject(None, seed, root) for run in (first, second)]
    require_alike(*(subject.identity for subject in subjects))
    for which, subject in zip(("first", "second"), subjects, strict=True):
        if (samples or 1) > 1 and (kind := glance(subject.vae).exactness) != "exact":
            why = f"is {samples}, and the weights of the {which} run are {in_words(kind)}, so that it has no such bound"
            raise InputError("--samples", why, "compare ELBOs: --samples 1")
    if samples is None:
        kept = [_tightest(subject) for subject in subjects]
        if None in kept:
            samples = 100 if all(glance(subject.vae).exactness == "exact" for subject in subjects) else 1
        else:
            k = max(settings["k"] for settings, _ in kept)
            require_alike(*(settings for settings, _ in kept), mend=f"measure both alike: --samples {k}")
            k = k if all("importance" in found for _, found in kept) else 1  # what is noisy has its ELBO alone
            return paired(*(_values(k, found) for _, found in kept), _name(k)), kept[0][1]["example"]
    index = subjects[0].some(1000 if limit is None else limit)
    n, sides = len(index), []
    for i, subject in enumerate(subjects):
        found = bounds(subject, samples, index, lambda done, total, i=i: progress(i * n + done, 2 * n))
        if not found.proper:
            raise InputError("diff", f"the {('first', 'second')[i]} run has a point posterior, and so no bound of log p(x)",
                             "compare runs whose posteriors have densities")  # fmt: skip
        sides.append(found.importance if samples > 1 else found.elbo)
    return paired(*sides, _name(samples)), index


def _tightest(subject: Subject) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What is kept of the model as it is, of most samples; of the most examples among equals."""
    same = subject.identity.items()
    kept = [(settings, found) for settings, found in subject.ledger.kept("iw") if same <= settings.items()]
    kept = [(settings, found) for settings, found in kept if bool(found["proper"].all())]
    return max(kept, key=lambda item: (item[0]["k"], item[0]["n"]), default=None)


def _values(k: int, found: dict[str, Tensor]) -> Tensor:
    return found["importance"] if k > 1 else -found["distortion"] - found["rate"]


def _name(k: int) -> str:
    return f"IW-{k}" if k > 1 else "ELBO"
