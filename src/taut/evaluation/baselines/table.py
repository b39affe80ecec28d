"""A model beside simpler ones: one table, of the same draws of the same examples, in the same nats.

Rows of two kinds. Densities without deep latents are fitted to training examples (:mod:`taut.evaluation.baselines.densities`).
Inference without an encoder keeps the model's decoder and seeks q(z|x) for each example by itself from where the encoder would
say nothing (:mod:`taut.evaluation.inference`), by the gradient through z, or as black-box variational inference does by the
score function (Ranganath, Gerrish and Blei 2014), all with the same number of draws: the better the gradient, the further.

Each row holds its difference from the model's ELBO, example by example, with the error of that difference.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from taut.data import Batch, Dataset, Feed, Split, Support
from taut.distributions.exactness import in_words
from taut.errors import InputError
from taut.evaluation.baselines.densities import BINARY, CONTINUOUS, DISCRETE, Fit, boundless
from taut.evaluation.bounds import bounds
from taut.evaluation.coordinates import still
from taut.evaluation.inference import Local, climb, examples_at_once, require_local, weigh
from taut.evaluation.subject import Progress, Subject, Tick, require_positive, seed_of
from taut.model import VAE
from taut.objectives import RLOO, Estimator, Pathwise, Score
from taut.training import seeded, standard_error

__all__ = ["baselines"]

LEARNT = 10_000  # training examples that densities are fitted to, at most
ELEMENTS = 8_000_000  # numbers in them, at most
CHOSEN = 2_000  # validation examples that sizes are chosen by, at most
SAMPLES, STEPS, ROUNDS = 8, 100, 4  # draws of a step, steps of a round, and rounds of every climb
RATE = 0.1  # of its first round: of 0.02 to 0.2 the best for score functions, and as good as any for the path
OWN = 100  # draws by which the model's own bound of the few is found
WEIGHED = 200  # draws by which a climb is judged at its end

GRADIENTS: dict[str, Estimator] = {
    "through z": Pathwise(),
    "score function, RLOO": RLOO(),
    "score function, running mean": Score(),
    "score function alone": Score(baseline="none"),
}
"""By which each q is sought; the second half of the name of a row."""


def baselines(
    subject: Subject,
    data: Dataset,
    samples: int = 100,
    limit: int | None = None,
    few: int | None = 100,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """The model's own bounds, and those of simpler ways to the same examples.

    Args:
        subject: model and examples.
        data: with the training and validation examples that densities are fitted to.
        samples: draws an example of the model's own bounds.
        limit: use only the first so many examples.
        few: examples, at random, whose q is sought without the encoder; all if left open.
        progress: told how many rows are done, and how many there are.

    Returns:
        ``rows``, each with ``name``, ``value`` and ``stderr`` in nats, ``n``, ``difference`` from the model's ELBO on the same
        examples with ``difference_stderr``, ``seconds`` of a processor (None for the model's own bounds), and ``what`` the
        number is; where there is no number, ``what`` says why. JSON can hold it.

    Raises:
        InputError: for a limit, ``few`` or samples below one.
    """
    require_positive("samples", samples)
    everyone = subject.first(limit)
    some = subject.some(few, everyone)
    support = subject.reading.support
    named = DISCRETE if support.levels and support.levels <= 256 else {}
    named = named | (BINARY if support.kind == "binary" else {}) | CONTINUOUS
    gradients, why = _gradients(subject, some)
    total = 1 + len(named) + len(gradients)
    done = 0

    def told(share: float, of: int = 1) -> None:
        progress(done + share / of, total)

    elbo, rows = _own(subject, samples, everyone, told)
    done = 1
    pool = _Pool.of(subject, data, everyone)
    for name, fit in named.items():
        rows.append(_fitted(name, fit, pool, support, elbo))
        done += 1
        told(0)
    if gradients:
        reached, _ = _own(subject, max(samples, OWN), some, lambda share, of: None)
    for name, estimator in gradients.items():
        rows.append(_sought(name, estimator, subject, some, reached, told))
        done += 1
    if why:
        rows.append({"name": "q of each example", "value": None, "what": why})
    return {"rows": rows}


def _own(
    subject: Subject, samples: int, index: Tensor, progress: Progress
) -> tuple[Tensor | None, list[dict[str, Any]]]:
    """The model's ELBO of each example, and the rows of its bounds."""
    found = bounds(subject, samples, index, progress)
    if not found.proper:
        return None, [{"name": "this model, ELBO", "value": None, "what": "a point posterior has none"}]
    if not subject.vae.layers and found.exactness == "exact":
        return found.elbo, [_row("this model", found.elbo, found.elbo, None, "log p(x)")]
    text = "≤ log p(x)" + (", by the encoder's q" if subject.vae.layers else "")
    text += "" if found.exactness == "exact" else f", {in_words(found.exactness)}"
    rows = [_row("this model, ELBO", found.elbo, found.elbo, None, text)]
    if samples > 1 and found.importance is not None:
        text = "≤ log p(x), importance-weighted"
        rows.append(_row(f"this model, IW-{samples}", found.importance, found.elbo, None, text))
    return found.elbo, rows


class _Pool(NamedTuple):
    """Examples (N, D) in float64, as whole numbers where they are, and as real ones."""

    train: tuple[Tensor, Tensor]
    valid: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, subject: Subject, data: Dataset, index: Tensor) -> _Pool:
        most = min(LEARNT, ELEMENTS // math.prod(subject.reading.shape))
        with seeded(seed_of(subject.seed, "baselines")):
            train, valid = (_some(subject, *pair) for pair in ((data.seen, most), (data.valid, CHOSEN)))
            test = subject.batch(index).x.cpu()
            return cls(*(_views(x, subject.reading.support, noisy) for x, noisy in (
                (train, False), (valid, False), (test, subject.feed.dequantise))))  # fmt: skip


def _some(subject: Subject, split: Split, most: int) -> Tensor:
    """At most so many examples of a split, at random, as the model is given them but for dequantisation."""
    return Feed(split, subject.reading).batch(torch.randperm(len(split))[:most]).x


def _views(x: Tensor, support: Support, noisy: bool) -> tuple[Tensor, Tensor]:
    """Whole and real numbers of x (N, *shape), which may have been dequantised before."""
    x = x.flatten(1).double()
    if not support.discrete:
        return x, x
    if noisy:
        whole = x.floor()
        return whole if support.levels is None else whole.clamp_max(support.levels - 1), x
    return x, x + torch.rand_like(x)


def _fitted(name: str, fit: Fit, pool: _Pool, support: Support, elbo: Tensor | None) -> dict[str, Any]:
    """The row of a density that is fitted to training examples."""
    real = name in CONTINUOUS
    train, valid, test = (views[real] for views in pool)
    if real and not support.discrete and boundless(train):
        what = "has no limit: elements of x never vary, or others decide them"
        return {"name": name, "value": None, "what": what}
    began = time.process_time()
    density = fit(train, valid, support)
    log_p = density.log_prob(test)
    seconds = time.process_time() - began
    kind = "log p(x)" if not support.discrete else "≤ log P(x), of dequantised values" if real else "log P(x)"
    what = "; ".join(part for part in (kind, density.note, f"from {len(train):,} examples") if part)
    return _row(name, log_p, elbo, seconds, what)


def _gradients(subject: Subject, index: Tensor) -> tuple[dict[str, Estimator], str]:
    """The estimators by which a q of each example can be found; or none, and why."""
    vae = subject.vae
    try:
        require_local(vae, "baselines")
    except InputError as error:
        return {}, error.problem
    with still(vae), torch.no_grad():
        path = all(step.q.has_rsample for step in vae(subject.batch(index[:1])).steps)
    return {name: each for name, each in GRADIENTS.items() if path or not each.pathwise}, ""


def _sought(
    name: str, estimator: Estimator, subject: Subject, index: Tensor, elbo: Tensor, told: Callable[..., None]
) -> dict[str, Any]:
    """The row of a q for each example, found without the encoder."""
    asked = {"gradient": name, "samples": SAMPLES, "steps": STEPS, "rounds": ROUNDS, "rate": RATE, "k": WEIGHED}
    vae = subject.vae
    found = subject.measure(
        "unamortised",
        asked,
        lambda batch, tick: _climbed(vae, estimator, batch, tick),
        index,
        told,
        examples_at_once(vae),
    )
    what = f"≤ log p(x), this decoder, no encoder; {int(found['steps'].max()):,} steps of {SAMPLES} draws"
    return _row(f"q by gradient {name}" if estimator.pathwise else f"q by {name}", found["elbo"], elbo,
                float(found["seconds"].sum()), what)  # fmt: skip


def _climbed(vae: VAE, estimator: Estimator, batch: Batch, tick: Tick) -> dict[str, Tensor]:
    """What a climb from where the encoder would say nothing comes to, for each example of a batch."""
    began = time.process_time()
    with still(vae):
        with torch.no_grad():
            silent = [torch.zeros_like(e) for e in vae.evidence(batch)]
        local = Local(vae, silent, batch.condition)
        gradient = (estimator,) * len(vae.layers)
        climbed = climb(local, batch, gradient, RATE, SAMPLES, STEPS, ROUNDS, enough=0.0, tick=tick)
        elbo = weigh(vae, [local], batch, WEIGHED).elbo[0]
    seconds = time.process_time() - began
    return {"elbo": elbo, "steps": torch.tensor([climbed.steps]), "seconds": torch.tensor([seconds])}


def _row(name: str, values: Tensor, elbo: Tensor | None, seconds: float | None, what: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "n": len(values), "seconds": seconds, "what": what}
    row["value"], row["stderr"] = _mean(values)
    row["difference"], row["difference_stderr"] = (None, None) if elbo is None else _mean(values - elbo)
    return row


def _mean(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), standard_error(values)
