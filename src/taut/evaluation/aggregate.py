"""What the rate is spent on: information about x, and the mismatch of the aggregate posterior with the prior.

The rate is what an average example's posterior costs beyond the prior. It comes apart in two (Hoffman and Johnson 2016):

    E_x KL( q(z|x) ‖ p(z) ) = I_q(x; z) + KL( q(z) ‖ p(z) ),        q(z) = E_x q(z|x)          nats

A model whose latents have collapsed has neither. The second half is what generation pays for: draws from the prior that no
example's posterior would give. How the first is held from two sides: :mod:`taut.training.information`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from taut.evaluation.subject import Subject, seed_of
from taut.model import draw
from taut.training import information, seeded

__all__ = ["aggregate"]

EXAMPLES = 10_000


def aggregate(subject: Subject, rate: float, index: Tensor | None = None) -> dict[str, Any]:
    """What is known of the aggregate posterior over a subject's examples.

    Args:
        subject: model and examples.
        rate: its mean rate over them, nats.
        index: which they are; all if left open. Of more than 10,000 only as many are used, evenly spread.

    Returns:
        ``information`` (``low``, ``high``, ``low_stderr``, ``n``, ``most``) and ``mismatch`` (``low``, ``high``), the two
        halves of the rate in nats; ``mean`` and ``std`` of each element of z under the aggregate. JSON can hold it. Empty
        for a model without latents; of a posterior without a density, mean and standard deviation alone.
    """
    vae = subject.vae
    if not vae.layers:
        return {}
    index = subject.first(None) if index is None else index
    index = index[torch.linspace(0, len(index) - 1, min(len(index), EXAMPLES)).round().long()]
    with seeded(seed_of(subject.seed, "aggregate"), subject.feed.x.device), torch.no_grad():
        batches = [subject.batch(part) for part in index.split(1024)]
        evidence = [torch.cat(layer) for layer in zip(*map(vae.evidence, batches), strict=True)]
        condition = torch.cat([batch.condition for batch in batches]) if vae.conditioned else None
        steps, _ = vae.walk(vae.root(len(evidence[0]), condition), evidence, draw)
        z = torch.cat([step.z.flatten(1).double() for step in steps], 1)
        found: dict[str, Any] = {"mean": z.mean(0).tolist(), "std": z.std(0, correction=0).tolist()}
        if not all(getattr(step.q, "proper", True) for step in steps):
            return found
        held = information(vae, evidence, rate, condition=condition)
    low, high = min(held.low, held.high), max(held.low, held.high)  # which noise may have put the other way round
    told = {"low": low, "high": high, "low_stderr": held.low_stderr, "n": held.n, "most": held.most}
    return found | {"information": told, "mismatch": {"low": rate - high, "high": rate - low}}
