"""The evidence lower bound and the importance-weighted bound of each example.

With z_1 … z_K ~ q(z|x) and log w_k = log p(x, z_k) − log q(z_k|x),

    ELBO   = (1/K) Σ_k ( log p(x|z_k) − KL(q ‖ p) )       the KL in closed form where one exists
    IW-K   = log (1/K) Σ_k w_k                            E[IW-K] rises to log p(x) with K  (Burda et al. 2016)
    ESS    = (Σ w_k)² / Σ w_k²                            effective number of the K samples

Where a density is noisy or itself a bound there is no importance-weighted bound: the mean of exponentials of noise is
too large. Its ELBO is a mean, and its standard error over examples holds what the noise adds.

Samples are taken a few at a time and folded into running sums, so memory does not grow with K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from taut.data import Batch
from taut.distributions import Exactness, fold
from taut.evaluation.coordinates import glance
from taut.evaluation.subject import Progress, Subject, Tick, require_positive
from taut.model import VAE, draw
from taut.training import shift

__all__ = ["Bounds", "bounds", "outputs", "samples_at_once"]

ELEMENTS = 2**20  # of decoder output at once: about what a processor's cache holds
ROWS = 4096  # samples at once, at most


@dataclass(frozen=True)
class Bounds:
    """Per example, in the order asked for, on the host; nats.

    Attributes:
        distortion: (N,) mean over the samples.
        rate: (N,) likewise.
        proper: whether the ELBO exists.
        exactness: what the weights are.
        kl: a (G_l,) mean divergence per latent dimension for each layer, over examples; one group where it does not
            come apart.
        variance: a (D_l,) variance of the shift of q from p over examples and samples, for each layer: which latents are
            active (:func:`taut.training.active_units`).
        importance: (N,) the IW-K bound; ``None`` where weights are not exact.
        ess: (N,) effective sample size, 1 to K; likewise.
    """

    distortion: Tensor
    rate: Tensor
    proper: bool
    exactness: Exactness
    kl: list[Tensor]
    variance: list[Tensor]
    importance: Tensor | None
    ess: Tensor | None

    @property
    def elbo(self) -> Tensor:
        """(N,)"""
        return -self.distortion - self.rate


@torch.no_grad()
def bounds(
    subject: Subject,
    samples: int,
    index: Tensor | None = None,
    progress: Progress = lambda done, total: None,
) -> Bounds:
    """The bounds of the examples of a subject.

    Args:
        subject: model and examples.
        samples: K ≥ 1.
        index: which examples, in order; all if left open.
        progress: told the number of examples done and in all.
    """
    require_positive("samples", samples)
    index = subject.first(None) if index is None else index
    vae = subject.vae
    found = subject.measure("iw", {"k": samples}, partial(_weigh, vae, samples), index, progress)
    layers = range(len(vae.layers))
    n = len(index)
    mean = [found[f"mean.{i}"].sum(0) / n for i in layers]
    square = [found[f"square.{i}"].sum(0) / n for i in layers]
    variance = [(s - m.square()) * n / max(1, n - 1) for s, m in zip(square, mean, strict=True)]
    return Bounds(
        found["distortion"],
        found["rate"],
        proper=bool(found["proper"].all()),
        exactness=glance(vae).exactness,
        kl=[found[f"kl.{i}"].sum(0) / n for i in layers],
        variance=variance,
        importance=found.get("importance"),
        ess=found.get("ess"),
    )


def _weigh(vae: VAE, samples: int, batch: Batch, tick: Tick) -> dict[str, Tensor]:
    """The bounds of one batch; divergences and shifts summed over its examples, (1, …)."""
    n = len(batch.x)
    at_once = samples_at_once(vae, n)
    evidence = vae.evidence(batch)
    first = second = torch.full((n,), -math.inf, device=batch.x.device, dtype=torch.float64)
    sums: dict[str, Tensor] = {}
    done, proper, exact = 0, True, True
    while done < samples:
        k = min(at_once, samples - done)
        trace = vae.descend(vae.root(k * n, batch.condition), [fold(e, k) for e in evidence], draw, k)
        log_likelihood = trace.log_likelihood(batch).double()
        log_weight = log_likelihood
        if trace.steps:
            log_weight = log_likelihood + (trace.log_prior() - trace.log_posterior()).double()
        first = torch.logaddexp(first, log_weight.logsumexp(0))
        second = torch.logaddexp(second, (2 * log_weight).logsumexp(0))
        here = {"distortion": -log_likelihood.sum(0), "rate": trace.rate().double().sum(0)}
        for i, step in enumerate(trace.steps):
            here[f"kl.{i}"] = trace.unfold(step.kl.parts).double().sum((0, 1))[None]
            moved = shift(vae.layers[i], step).double()
            here[f"mean.{i}"], here[f"square.{i}"] = moved.sum(0)[None], moved.square().sum(0)[None]
        sums = {key: sums[key] + value if sums else value for key, value in here.items()}
        proper, exact = proper and trace.proper, exact and trace.exactness == "exact"
        done += k
        tick(done / samples)
    found = {key: value / samples for key, value in sums.items()}
    if exact:
        found["importance"], found["ess"] = first - math.log(samples), (2 * first - second).exp()
    return found | {"proper": torch.full((n,), proper)}


def outputs(vae: VAE) -> int:
    """How many numbers the decoder gives for an example."""
    return vae.shift.numel() * getattr(vae.decoder.head, "outputs", 1)


def samples_at_once(vae: VAE, examples: int) -> int:
    """How many samples of each of so many examples go through the decoder together."""
    return max(1, min(ROWS, ELEMENTS // outputs(vae)) // examples)
