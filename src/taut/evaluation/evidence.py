"""log p(x) of a subject's examples: annealed, held from both sides, or exact; beside the bounds of the same draws.

An estimate for a few examples is one for a whole split too: their mean gain over the ELBO, which varies much less than log p(x)
does, added to the ELBO of all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from taut.data import Batch
from taut.evaluation.annealing import Annealing, ais, bdmc
from taut.evaluation.bounds import bounds
from taut.evaluation.coordinates import require_real
from taut.evaluation.exact import Grid, Integrator, modes, require_small
from taut.evaluation.subject import Progress, Subject, Tick

__all__ = ["annealed", "bracketed", "exact", "grids", "in_words"]

ROWS = 256  # chains at once: what a processor's cache holds of a small decoder
TOLERANCE = 1e-3  # nats, of quadrature, which single precision serves
POINTS = 81  # along each axis of a plane in which peaks are counted; their square on a line


def annealed(
    subject: Subject,
    how: Annealing | None = None,
    limit: int | None = 100,
    samples: int = 100,
    whole: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """log p(x) from below, by annealed importance sampling.

    Args:
        subject: model and examples.
        how: the settings; the usual ones if left open.
        limit: of so many random examples.
        samples: K of the importance-weighted bound to set it beside.
        whole: what :func:`taut.evaluation.evaluate` says of all the examples that these are some of.
        progress: told the number of examples done and in all.

    Returns:
        ``value`` and ``stderr``, nats, of ``whole``, or of the examples themselves; ``n``, how many these are; ``error``, what
        of the standard error is owed to the chains; ``ess``, effective number of chains, and ``acceptance`` of trajectories,
        means; ``gain`` over the ELBO of the same examples, with its error; ``iw``, by how much the importance-weighted bound of
        the same examples lies below (``difference``) and the error of that; and the settings. JSON can hold it.

    Raises:
        InputError: where the model cannot be annealed, saying what serves instead.
    """
    how = how or Annealing()
    require_real(subject.vae, "ais", how.start)
    index = _some(subject, limit, whole)
    compute = partial(ais, subject.vae, how)
    found = subject.measure("ais", asdict(how), compute, index, progress, max(1, ROWS // how.chains))
    return {
        **_beside(subject, index, found["log_p"], samples, whole),
        "error": float(found["error"].square().sum().sqrt() / len(index)),
        "ess": float(found["ess"].mean()),
        "acceptance": float(found["acceptance"].mean()),
        **asdict(how),
    }


def bracketed(
    subject: Subject,
    how: Annealing | None = None,
    limit: int | None = 100,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """log p(x) from both sides, by bidirectional Monte Carlo, of examples that the model makes.

    Args:
        subject: the model; of its examples at most as many are made.
        how: the settings; the usual ones if left open.
        limit: how many examples.
        progress: told the number of examples done and in all.

    Returns:
        ``lower`` and ``upper``, means over the examples in nats with their standard errors; ``gap``, upper − lower, likewise;
        ``n``, ``ess``, ``acceptance`` and the settings. JSON can hold it.
    """
    how = how or Annealing()
    require_real(subject.vae, "bdmc", how.start)

    def compute(batch: Batch, tick: Tick) -> dict[str, Tensor]:
        return bdmc(subject.vae, how, len(batch.x), tick)

    found = subject.measure("bdmc", asdict(how), compute, subject.some(limit), progress, max(1, ROWS // how.chains))
    gap = found["upper"] - found["lower"]
    return {
        **{name: float(values.mean()) for name, values in (*found.items(), ("gap", gap)) if name != "example"},
        **{f"{name}_stderr": _stderr(values) for name, values in (("gap", gap), *found.items()) if name in SIDES},
        "n": len(gap),
        **asdict(how),
    }


SIDES = ("lower", "upper", "gap")


def exact(
    subject: Subject,
    limit: int | None = 100,
    samples: int = 100,
    whole: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """log p(x) by quadrature, of a model with one or two latents.

    Args and returns are those of :func:`annealed`, without what chains have; ``error`` is the greatest of the quadrature;
    ``gain`` is then KL(q(z|x) ‖ p(z|x)); ``multimodal`` says how many of the ``n`` posteriors have more than one peak.
    """
    require_small(subject.vae)
    index = _some(subject, limit, whole)
    found = _quadrature(subject, index, progress)
    return {
        **_beside(subject, index, found["log_p"], samples, whole),
        "error": float(found["error"].max()),
        "multimodal": int((found["peaks"] > 1).sum()),
    }


def grids(
    subject: Subject, limit: int | None, shown: int, progress: Progress = lambda done, total: None
) -> list[tuple[int, int, Grid]]:
    """Exact posteriors to look at, of so many random examples those with the most peaks first.

    Returns:
        For each the number of the example, how many peaks its posterior has, and the densities.
    """
    require_small(subject.vae)
    index = subject.some(limit)
    found = _quadrature(subject, index, progress)
    integrator = Integrator(subject.vae, torch.float32)
    points = POINTS if sum(integrator.sizes) > 1 else POINTS**2
    chosen = torch.argsort(found["peaks"], descending=True, stable=True)[:shown].tolist()
    return [
        (
            int(index[i]),
            int(found["peaks"][i]),
            integrator.grid(
                subject.batch(index[i : i + 1]), float(found["log_p"][i]), found["both"][i].tolist(), points
            ),
        )
        for i in chosen
    ]


def _quadrature(subject: Subject, index: Tensor, progress: Progress) -> dict[str, Tensor]:
    """Of each example ``log_p``, ``error``, the number of ``peaks``, and from where to where in each latent ``both`` p(z|x)
    and q(z|x) lie, (N, D, 2)."""
    integrator = Integrator(subject.vae, torch.float32)
    points = POINTS if sum(integrator.sizes) > 1 else POINTS**2

    def compute(batch: Batch, tick: Tick) -> dict[str, Tensor]:
        found = integrator.quadrature(batch, TOLERANCE)
        own, guessed = _spans(found.draws), _spans(integrator.guesses(batch))
        peaks = []
        for i, log_p in enumerate(found.log_p.tolist()):
            one = Batch(*(None if field is None else field[i : i + 1] for field in batch))
            peaks.append(modes(integrator.grid(one, log_p, own[i].tolist(), points).posterior))
            tick((i + 1) / len(own))
        return {"log_p": found.log_p, "error": found.error, "peaks": torch.tensor(peaks), "both": _around(own, guessed)}

    return subject.measure("exact", {"tolerance": TOLERANCE}, compute, index, progress, 8)


def _spans(draws: Tensor) -> Tensor:
    """Where nearly all of draws (B, S, D) lie, and a little beyond: (B, D, 2)."""
    low, high = draws.quantile(0.002, 1), draws.quantile(0.998, 1)
    margin = 0.2 * (high - low)
    return torch.stack([low - margin, high + margin], 2)


def _around(own: Tensor, other: Tensor) -> Tensor:
    """Spans that hold both, but reach beyond the first by no more than twice its width."""
    width = 2 * (own[..., 1] - own[..., 0])
    low = torch.minimum(own[..., 0], torch.maximum(other[..., 0], own[..., 0] - width))
    high = torch.maximum(own[..., 1], torch.minimum(other[..., 1], own[..., 1] + width))
    return torch.stack([low, high], 2)


def _some(subject: Subject, limit: int | None, whole: Mapping[str, Any] | None) -> Tensor:
    return subject.some(limit, None if whole is None else subject.first(whole["n"]))


def _beside(
    subject: Subject, index: Tensor, log_p: Tensor, samples: int, whole: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A value of log p(x) of some examples beside their bounds, and, where all are known by their ELBO, of all."""
    found: dict[str, Any] = {"value": float(log_p.mean()), "stderr": _stderr(log_p), "n": len(log_p)}
    below = bounds(subject, samples, index)
    if not below.proper:
        return found
    gain, above = log_p - below.elbo, log_p - below.importance
    if whole is not None and whole["n"] > len(log_p):
        found["value"] = whole["elbo"] + float(gain.mean())
        found["stderr"] = math.hypot(whole["elbo_stderr"], _stderr(gain))
    found |= {"gain": float(gain.mean()), "gain_stderr": _stderr(gain)}
    return found | {"iw": {"k": samples, "difference": float(above.mean()), "stderr": _stderr(above)}}


def _stderr(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan


def in_words(result: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """What was found, a row for each number: its name, value, standard error, unit, and what it says."""
    rows = []
    if found := result.get("ais"):
        text = f"≤ log p(x) on average: {_chains(found)}{_gain(found, result)}"
        rows.append(("AIS", _number(found["value"]), f"± {_number(found['stderr'])}", "nats", text))
        rows += _above(found)
    if found := result.get("bdmc"):
        text = f"hold log p(x) of {found['n']:,} examples that the model made: {_chains(found)}"
        value = f"{_number(found['lower'])} to {_number(found['upper'])}"
        rows.append(("BDMC", value, "", "nats", text))
        text = "upper − lower: what AIS can be wrong by on such data"
        rows.append(("", _number(found["gap"]), f"± {_number(found['gap_stderr'])}", "nats", text))
    if found := result.get("exact"):
        several = f"; {found['multimodal']} of {found['n']:,} posteriors have several peaks"
        text = f"log p(x) by quadrature{_gain(found, result)}{several}"
        rows.append(("exact", _number(found["value"]), f"± {_number(found['stderr'])}", "nats", text))
        if "gain" in found:
            text = "KL(q(z|x) ‖ p(z|x)): what the ELBO falls short by"
            rows.append(("", _number(found["gain"]), f"± {_number(found['gain_stderr'])}", "nats", text))
        rows += _above(found)
    return rows


def _chains(found: Mapping[str, Any]) -> str:
    return f"{found['chains']:,} chains × {found['temperatures']:,} from the {found['start']} (ESS {found['ess']:.1f})"


def _gain(found: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return "" if found["n"] == result["n"] else f", gain on {found['n']:,}"


def _above(found: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    if "iw" not in found or found["iw"]["k"] < 2:
        return []
    above = found["iw"]
    text = f"above IW-{above['k']} of the same {found['n']:,} examples"
    return [("", _number(above["difference"]), f"± {_number(above['stderr'])}", "nats", text)]


def _number(value: float) -> str:
    return f"{value:,.2f}".replace("-", "−") if math.isfinite(value) else "–"
