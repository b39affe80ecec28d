"""One object that says how good a model is on a split, and what each number is a bound of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from taut.data import Feed, Reading, Split
from taut.errors import InputError
from taut.evaluation.bounds import Bounds, bounds
from taut.model import VAE
from taut.training import active_units

__all__ = ["evaluate"]

POINT = "a point posterior has no density, so no evidence lower bound exists"
DENSITY = "the likelihood is a density of real numbers, which has no code length"


def evaluate(
    vae: VAE,
    split: Split,
    reading: Reading,
    name: str = "test",
    samples: int = 100,
    limit: int | None = None,
    iw_limit: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Lower bounds of log p(x), mean over a split, in nats per example; without latents there is nothing to bound, and what
    stands for the ELBO is log p(x) itself.

    Args:
        vae: the model.
        split: the examples.
        reading: how they were read.
        name: what the split is called.
        samples: K of the importance-weighted bound; the ELBO averages over the same samples.
        limit: use only the first so many examples.
        iw_limit: take the importance-weighted bound on so many random examples only. Its value is then the ELBO of all
            of them plus the mean gain IW − ELBO on those few: the gain varies much less than the bounds do.
        seed: of all draws, dynamic binarisation included.
        progress: called with the number of examples done and in all.

    Raises:
        InputError: for samples or limits below one.
    """
    for field, value in (("samples", samples), ("limit", limit), ("iw_limit", iw_limit)):
        if value is not None and value < 1:
            raise InputError(field, f"is {value}", "give 1 or more")
    samples = samples if vae.layers else 1
    feed = Feed(split, reading, vae.dequantise, vae.shift.device)
    n = min(len(feed), limit or len(feed))
    everyone = torch.arange(n)
    result: dict[str, Any] = {
        "data": reading.name,
        "split": name,
        "n": n,
        "likelihood": likelihood_name(vae),
        "support": str(reading.support),
    }
    few = iw_limit is not None and iw_limit < n and samples > 1
    if few:
        chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:iw_limit].sort().values
        full = bounds(vae, feed, 1, everyone, seed, lambda done, total: progress(done, total + iw_limit))
        part = bounds(vae, feed, samples, chosen, seed + 1, lambda done, total: progress(n + done, n + total))
    else:
        full = part = bounds(vae, feed, samples, everyone, seed, progress)
    result |= _numbers(full, part, samples, few)
    size = math.prod(reading.shape)
    if result["elbo"] is None:
        result["bits_per_dim"], result["why"] = None, POINT
    elif reading.support.discrete:
        result["bits_per_dim"] = -result["elbo"] / (size * math.log(2))
    else:
        result["bits_per_dim"], result["why"] = None, DENSITY
    result["active_units"] = active_units(vae, full.means)
    result["latent_dim"] = sum(
        mean.shape[1] // layer.q.block for mean, layer in zip(full.means, vae.layers, strict=True)
    )
    result["kl_per_dim"] = [value for part in full.kl for value in part.tolist()]
    return result


def _numbers(full: Bounds, part: Bounds, samples: int, few: bool) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "elbo": None,
        "elbo_stderr": None,
        "distortion": float(full.distortion.mean()),
        "rate": float(full.rate.mean()),
        "iw": {"k": samples, "value": None, "stderr": None, "ess": None, "n": len(part.importance)},
    }
    if not full.proper:
        numbers["rate"] = None
        return numbers
    elbo = -full.distortion - full.rate
    numbers["elbo"], numbers["elbo_stderr"] = float(elbo.mean()), _stderr(elbo)
    numbers["iw"]["ess"] = float(part.ess.mean())
    if few:
        gain = part.importance + part.distortion + part.rate
        numbers["iw"]["value"] = float(elbo.mean() + gain.mean())
        numbers["iw"]["stderr"] = math.hypot(_stderr(elbo), _stderr(gain))
        numbers["iw"]["gain_stderr"] = _stderr(gain)
    else:
        numbers["iw"]["value"], numbers["iw"]["stderr"] = float(part.importance.mean()), _stderr(part.importance)
    return numbers


def _stderr(values: torch.Tensor) -> float:
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan


def likelihood_name(vae: VAE) -> str:
    """The likelihood in words: its name, and that whole numbers are dequantised for it."""
    name = type(vae.decoder.head.spec).__name__
    return f"{name} of dequantised values" if vae.dequantise else name
