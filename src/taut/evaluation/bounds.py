"""The evidence lower bound and the importance-weighted bound of each example.

With z_1 … z_K ~ q(z|x) and log w_k = log p(x, z_k) − log q(z_k|x),

    ELBO   = (1/K) Σ_k ( log p(x|z_k) − KL(q ‖ p) )       the KL in closed form where one exists
    IW-K   = log (1/K) Σ_k w_k                            E[IW-K] rises to log p(x) with K  (Burda et al. 2016)
    ESS    = (Σ w_k)² / Σ w_k²                            effective number of the K samples

Samples are taken a few at a time and folded into running sums, so memory does not grow with K.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from taut.data import Batch, Feed
from taut.model import VAE, draw, fold
from taut.training import seeded

__all__ = ["Bounds", "bounds"]

EXAMPLES = 64  # that share one pass of the encoder
ELEMENTS = 2**20  # of decoder output at once: about what a processor's cache holds
ROWS = 4096  # samples at once, at most


class Bounds(NamedTuple):
    """Per example, in the order asked for, on the host; nats.

    Attributes:
        distortion: (N,) mean over the samples.
        rate: (N,) likewise.
        importance: (N,) the IW-K bound.
        ess: (N,) effective sample size, 1 to K.
        kl: a (D_l,) mean divergence per latent dimension for each layer, over examples.
        means: (N, D_l) posterior means of each layer.
        proper: whether the ELBO exists.
    """

    distortion: Tensor
    rate: Tensor
    importance: Tensor
    ess: Tensor
    kl: list[Tensor]
    means: list[Tensor]
    proper: bool


@torch.no_grad()
def bounds(
    vae: VAE,
    feed: Feed,
    samples: int,
    index: Tensor | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bounds:
    """The bounds of the examples of a feed.

    Args:
        vae: the model.
        feed: the examples.
        samples: K ≥ 1.
        index: which examples; all if left open.
        seed: of the draws, of dynamic binarisation and of dequantisation too.
        progress: called with the number of examples done and in all.
    """
    device = feed.x.device
    index = torch.arange(len(feed), device=device) if index is None else index
    size = feed.x[0].numel() * getattr(vae.decoder.head, "outputs", 1)
    at_once = max(1, min(ROWS, ELEMENTS // size) // EXAMPLES)
    weighed: list[Bounds] = []
    done = 0
    was_training = vae.training
    vae.eval()
    with seeded(seed, device):
        chunks = index.split(EXAMPLES)
        # a seed of its own for the data of each chunk: the same binarisation whatever K
        seeds = torch.randint(2**62, (len(chunks), 2)).tolist()
        for chunk, (data_seed, sample_seed) in zip(chunks, seeds, strict=True):
            torch.manual_seed(data_seed)
            batch = feed.batch(chunk)
            torch.manual_seed(sample_seed)
            weighed.append(_weigh(vae, batch, samples, at_once))
            done += len(chunk)
            progress(done, len(index))
    vae.train(was_training)
    columns = list(zip(*weighed, strict=True))
    per_example = [torch.cat(column).double().cpu() for column in columns[:4]]
    kl = [torch.stack(layer).sum(0).cpu() / len(index) for layer in zip(*columns[4], strict=True)]
    means = [torch.cat(layer).cpu() for layer in zip(*columns[5], strict=True)]
    return Bounds(*per_example, kl, means, all(columns[6]))


def _weigh(vae: VAE, batch: Batch, samples: int, at_once: int) -> Bounds:
    """The bounds of one batch, with ``kl`` summed over its examples."""
    evidence = vae.evidence(batch)
    n = len(batch.x)
    first = second = torch.full((n,), -math.inf, device=batch.x.device, dtype=torch.float64)
    sums: list[Tensor] | None = None
    done, proper = 0, True
    while done < samples:
        k = min(at_once, samples - done)
        trace = vae.descend(vae.root(k * n), [fold(e, k) for e in evidence], draw, k)
        log_likelihood = trace.log_likelihood(batch).double()
        log_weight = log_likelihood
        if trace.steps:
            log_weight = log_likelihood + (trace.log_prior() - trace.log_posterior()).double()
        first = torch.logaddexp(first, log_weight.logsumexp(0))
        second = torch.logaddexp(second, (2 * log_weight).logsumexp(0))
        here = [-log_likelihood.sum(0), trace.rate().double().sum(0)]
        here += [trace.unfold(step.kl.parts).double().sum((0, 1)) for step in trace.steps]
        here += [trace.unfold(step.q.mean.flatten(1)).sum(0) for step in trace.steps]
        sums = here if sums is None else [a + b for a, b in zip(sums, here, strict=True)]
        proper = proper and trace.proper
        done += k
    distortion, rate, *layers = (total / samples for total in sums)
    depth = len(layers) // 2
    importance, ess = first - math.log(samples), (2 * first - second).exp()
    return Bounds(distortion, rate, importance, ess, layers[:depth], layers[depth:], proper)
