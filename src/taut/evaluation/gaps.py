"""Where a bound loses: log p(x) − ELBO in two parts (Cremer, Li and Duvenaud 2018).

With q(z|x) as the encoder gives it, and q* the best of its family for each x by itself while the decoder stays as it is,

    log p(x) − L(q)  =  L(q*) − L(q)      amortisation: what one encoder for all examples costs
                     +  log p(x) − L(q*)  approximation: what the family costs, were each q its best

q* is found by gradient ascent from what the encoder says (:mod:`taut.evaluation.inference`), and so is a flow, q* bent by
maps of its own for each x. log p(x) is not known: the best lower bound stands for it, by importance weights of draws from
all three.

Every number is of the same examples and of draws that no choice was made by, and the parts are differences of single
examples: they add up, and their errors are those of pairs. A climb that ends too early makes the first part too small and
the second too large by as much; by how much the last round still rose is told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from taut.data import Batch
from taut.evaluation.coordinates import still
from taut.evaluation.inference import Bending, Local, climb, estimators, examples_at_once, require_local, weigh
from taut.evaluation.subject import Progress, Subject, Tick, require_positive
from taut.model import VAE
from taut.training import standard_error

__all__ = ["gaps", "in_words"]

PATH, SCORE, BENT = (0.05, 8, 100), (0.3, 16, 200), (0.01, 8, 200)
"""How a climb goes by the path and by the score function, and that of a flow: rate, draws of a step, steps of a round."""


def gaps(
    subject: Subject,
    limit: int | None = 200,
    samples: int = 1000,
    among: Tensor | None = None,
    others: Mapping[str, Tensor] | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """The two gaps of a model, mean over some of a subject's examples.

    Args:
        subject: model and examples.
        limit: how many, at random; all if left open.
        samples: draws from each q, from which all bounds are found.
        among: the numbers of the examples to choose from; all if left open.
        others: other lower bounds of log p(x) of ``subject.some(limit, among)``, by name, (N,) each: that of the greatest
            mean stands for log p(x), if it is above the importance-weighted one.
        progress: told the number of examples done and in all.

    Returns:
        ``elbo``, ``family``, ``flow`` (None where latents are no real numbers) and ``bound``: by the encoder's q, by the best
        of the family, by a flow, and the best of all. ``amortisation`` and ``approximation``: the gaps between the first,
        the second and the last; ``bending`` is the part of the latter that the flow makes good. Each has ``value`` and
        ``stderr`` in nats. ``n``, the bound's name as ``by``, ``ess`` of its draws, and ``rise``, nats by which the last
        round raised family and flow. JSON can hold it.

    Raises:
        InputError: for a limit or samples below one, and for a model in which no q can be found for an example.
    """
    require_positive("samples", samples)
    vae, index = subject.vae, subject.some(limit, among)
    require_local(vae, "gaps")
    found = subject.measure(
        "gaps",
        {"k": samples},
        lambda batch, tick: _of_batch(vae, batch, samples, tick),
        index,
        progress,
        examples_at_once(vae),
    )
    several = 3 if "flow" in found else 2
    by, bound = f"IW-{several * samples}", found["importance"]
    for name, other in (others or {}).items():
        if other.mean() > bound.mean():
            by, bound = name, other
    elbo, family, flow = found["elbo"], found["family"], found.get("flow")
    return {
        "n": len(index),
        "by": by,
        "ess": float(found["ess"].mean()),
        "elbo": _mean(elbo),
        "amortisation": _mean(family - elbo),
        "family": _mean(family),
        "approximation": _mean(bound - family),
        "bending": None if flow is None else _mean(flow - family),
        "flow": None if flow is None else _mean(flow),
        "bound": _mean(bound),
        "rise": {name: float(found[f"rise.{name}"].mean()) for name in ("family", "flow") if f"rise.{name}" in found},
    }


def _of_batch(vae: VAE, batch: Batch, samples: int, tick: Tick) -> dict[str, Tensor]:
    """The bounds of a batch by each q, (B,) nats."""
    with still(vae):
        with torch.no_grad():
            evidence, gradient = vae.evidence(batch), estimators(vae, batch)
        encoder, family = (Local(vae, evidence, batch.condition) for _ in range(2))
        pace = PATH if all(each.pathwise for each in gradient) else SCORE
        found = {"rise.family": climb(family, batch, gradient, *pace, tick=lambda share: tick(0.3 * share)).rise}
        chosen = [encoder, family]
        if all(layer.space == "real" for layer in vae.layers):
            flow = Bending(vae, family)
            found["rise.flow"] = climb(flow, batch, gradient, *BENT, tick=lambda share: tick(0.3 + 0.5 * share)).rise
            chosen.append(flow)
        weighed = weigh(vae, chosen, batch, samples, lambda share: tick(0.8 + 0.2 * share))
    found |= dict(zip(("elbo", "family", "flow"), weighed.elbo, strict=False))
    return found | {"importance": weighed.importance, "ess": weighed.ess}


def _mean(values: Tensor) -> dict[str, float]:
    return {"value": float(values.mean()), "stderr": standard_error(values)}


def in_words(found: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """What :func:`gaps` found, a row for each number: its name, value, standard error, unit, and what it says."""
    if not found:
        return []

    def row(name: str, sign: str, key: str, text: str) -> tuple[str, str, str, str, str]:
        value, error = found[key]["value"], found[key]["stderr"]
        shown = f"{value:{sign},.2f}".replace("-", "−")
        return name, shown, "" if math.isnan(error) else f"± {error:.2f}", "nats", text

    of = f"{found['n']:,} examples at random" if found["n"] > 1 else "1 example at random"
    risen = f"; the last round of the search raised it by {found['rise']['family']:.2f}"
    bent = (
        ""
        if found["bending"] is None
        else f"; of it {found['bending']['value']:.2f} made good by a flow of each example"
    )
    return [
        row("gaps: ELBO", "", "elbo", f"of {of}, by the encoder's q"),
        row("+ amortisation", "+", "amortisation", "L(q*) − ELBO: what one encoder for all examples costs"),
        row("= best q*", "", "family", f"of the family, one for each example{risen}"),
        row("+ approximation", "+", "approximation", f"to the best bound: what the family costs{bent}"),
        row("= best bound", "", "bound", f"≤ log p(x): {found['by']} (ESS {found['ess']:,.0f})"),
    ]
