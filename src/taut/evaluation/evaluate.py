"""One object that says how good a model is on a split, and what each number is a bound of."""

from __future__ import annotations

import math
from typing import Any

from taut.distributions.exactness import in_words
from taut.evaluation.aggregate import aggregate
from taut.evaluation.bounds import Bounds, bounds
from taut.evaluation.coordinates import glance
from taut.evaluation.subject import Progress, Subject, require_positive
from taut.model import VAE
from taut.training import active_units, standard_error

__all__ = ["evaluate"]

POINT = "a point posterior has no density, so no evidence lower bound exists"
NOISY = "importance weights exponentiate log p, and the model's is {}: their mean would be too large"
DENSITY = "the likelihood is a density of real numbers, which has no code length"


def evaluate(
    subject: Subject,
    samples: int = 100,
    limit: int | None = None,
    iw_limit: int | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Lower bounds of log p(x), mean over a split, in nats per example; without latents there is nothing to bound, and
    what stands for the ELBO is log p(x) itself. Where a density is noisy (see :mod:`taut.distributions.exactness`)
    there is no importance-weighted bound, ``iw`` says why, and the standard error of the ELBO holds that of the noise.

    Args:
        subject: model and examples.
        samples: K of the importance-weighted bound; the ELBO averages over the same samples.
        limit: use only the first so many examples.
        iw_limit: take the importance-weighted bound on so many random examples only. Its value is then the ELBO of all
            of them plus the mean gain IW − ELBO on those few: the gain varies much less than the bounds do.
        progress: told the number of examples done and in all.

    Raises:
        InputError: for samples or limits below one.
    """
    require_positive("samples", samples)
    require_positive("iw_limit", iw_limit)
    everyone = subject.first(limit)
    vae, reading, n = subject.vae, subject.reading, len(everyone)
    exactness = glance(vae).exactness
    samples = samples if vae.layers or exactness == "noisy" else 1
    result: dict[str, Any] = {
        "data": reading.name,
        "split": subject.name,
        "n": n,
        "likelihood": likelihood_name(vae),
        "support": str(reading.support),
        "exactness": exactness,
        "density": reading.density,
    }
    few = iw_limit is not None and iw_limit < n and samples > 1
    if few and exactness != "exact":  # the ELBO of all, by a draw of each
        full = part = bounds(subject, 1, everyone, progress)
    elif few:
        chosen = subject.some(iw_limit, everyone)
        full = bounds(subject, 1, everyone, lambda done, total: progress(done, total + iw_limit))
        part = bounds(subject, samples, chosen, lambda done, total: progress(n + done, n + total))
    else:
        full = part = bounds(subject, samples, everyone, progress)
    result |= _numbers(full, part, samples, few)
    size = math.prod(reading.shape)
    if result["elbo"] is None:
        result["bits_per_dim"], result["why"] = None, POINT
    elif reading.support.discrete:
        result["bits_per_dim"] = -result["elbo"] / (size * math.log(2))
    else:
        result["bits_per_dim"], result["why"] = None, DENSITY
    active = active_units(vae, full.variance)
    result["active_units"], result["latent_dim"], result["active_per_dim"] = sum(active), len(active), active
    result["kl_per_dim"] = [value for part in full.kl for value in part.tolist()]
    result["kl_per_layer"] = [float(part.sum()) for part in full.kl]
    if full.proper:
        result["aggregate"] = aggregate(subject, result["rate"], everyone)
    return result


def _numbers(full: Bounds, part: Bounds, samples: int, few: bool) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "elbo": None,
        "elbo_stderr": None,
        "distortion": float(full.distortion.mean()),
        "rate": float(full.rate.mean()),
        "iw": {"k": samples, "value": None, "stderr": None, "ess": None, "n": len(part.distortion)},
    }
    if not full.proper:
        numbers["rate"] = None
        return numbers
    elbo = full.elbo
    numbers["elbo"], numbers["elbo_stderr"] = float(elbo.mean()), standard_error(elbo)
    if part.importance is None:
        numbers["iw"] |= {"k": 1 if few else samples, "why": NOISY.format(in_words(full.exactness))}
        return numbers
    numbers["iw"]["ess"] = float(part.ess.mean())
    if few:
        gain = part.importance - part.elbo
        numbers["iw"]["value"] = float(elbo.mean() + gain.mean())
        numbers["iw"]["stderr"] = math.hypot(standard_error(elbo), standard_error(gain))
        numbers["iw"]["gain_stderr"] = standard_error(gain)
    else:
        numbers["iw"]["value"], numbers["iw"]["stderr"] = float(part.importance.mean()), standard_error(part.importance)
    return numbers


def likelihood_name(vae: VAE) -> str:
    """The likelihood in words: its name, and that whole numbers are dequantised for it."""
    name = type(vae.decoder.head.spec).__name__
    return f"{name} of dequantised values" if vae.dequantise else name
