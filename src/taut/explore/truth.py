"""What is known of log p(x) of a run's test examples: every bound that was measured, in one ladder.

    ELBO ≤ IW-k ≤ AIS ≤ log p(x)

Numbers are read from what evaluations kept (:mod:`taut.evaluation.ledger`), only those of the run's present weights and of its
test split. A bound that was taken on some of the examples stands as the ELBO of all plus its mean gain over the ELBO on those
few, as the evaluation itself has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taut.errors import InputError
from taut.evaluation.coordinates import require_real
from taut.evaluation.exact import require_small
from taut.evaluation.inference import require_local
from taut.evaluation.ledger import Ledger, digest_of
from taut.model import VAE
from taut.training import standard_error
from taut.training.checkpoint import WEIGHTS, read_tensors

__all__ = ["Rung", "comparable", "ladder", "refusals"]

Kept = Sequence[tuple[dict[str, Any], dict[str, Tensor]]]


@dataclass(frozen=True)
class Rung:
    """One number about log p(x), in nats.

    Attributes:
        name: what it is called.
        value, stderr: mean over the examples.
        n: of how many examples it is known, or its gain over the ELBO.
        gain, gain_stderr: above the ELBO of the same examples.
        words: what it says.
    """

    name: str
    value: float
    stderr: float
    n: int
    gain: float
    gain_stderr: float
    words: str


def ladder(summary: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """All that was measured of a finished run.

    Args:
        summary: the run's.
        folder: the run's.

    Returns:
        ``rungs``, from below; ``sandwich`` with ``lower``, ``upper`` and ``gap`` of examples that the model made, or None;
        ``gaps`` with ``amortisation`` and ``approximation``, or None; ``missing``, names of measures that the ledger lacks.
        JSON can hold it.
    """
    found: dict[str, Any] = {"rungs": [], "sandwich": None, "gaps": None, "missing": []}
    if summary.get("elbo") is None:
        return found
    ledger = Ledger(folder / "evaluations")
    weights = digest_of(read_tensors(folder / WEIGHTS)[0])

    def kept(name: str) -> Kept:
        return [(s, t) for s, t in ledger.kept(name) if s.get("weights") == weights and s.get("split") == "test"]

    weighed = kept("iw")
    elbo, error = float(summary["elbo"]), float(summary["elbo_stderr"])
    rungs = [Rung("ELBO", elbo, error, int(summary["n"]), 0.0, 0.0, "what training maximised, at β = 1")]
    if tight := _tightest(weighed):
        k, gain = tight
        rungs.append(_rung(f"IW-{k}", elbo, error, gain, "by importance weights of draws from q"))
    elif (summary.get("iw") or {}).get("value") is not None:
        iw = summary["iw"]
        words, beyond = "by importance weights of draws from q", float(iw["value"]) - elbo
        gain_error = float(iw.get("gain_stderr") or math.nan)
        rungs.append(Rung(f"IW-{iw['k']}", iw["value"], iw["stderr"], int(iw["n"]), beyond, gain_error, words))
    for name, measure, words in (
        ("AIS", "ais", "by annealing from q to the posterior"),
        ("exact", "exact", "log p(x) itself, by quadrature"),
    ):
        if chosen := _longest(kept(measure)):
            settings, tensors = chosen
            gain = _gain(tensors["log_p"], tensors["example"], weighed)
            if gain is not None:
                rungs.append(_rung(name, elbo, error, gain, words + _of_chains(settings)))
        else:
            found["missing"].append(measure)
    found["rungs"] = [asdict(rung) for rung in rungs]
    for name, say in (("bdmc", _sandwich), ("gaps", _gaps)):
        if chosen := _longest(kept(name)):
            found["sandwich" if name == "bdmc" else name] = say(*chosen)
        else:
            found["missing"].append(name)
    return found


def refusals(vae: VAE) -> dict[str, str]:
    """Which measures a model refuses, and why."""
    tried = {
        "ais": lambda: require_real(vae, "ais"),
        "bdmc": lambda: require_real(vae, "bdmc"),
        "exact": lambda: require_small(vae),
        "gaps": lambda: require_local(vae, "gaps"),
    }
    found = {}
    for name, try_it in tried.items():
        try:
            try_it()
        except InputError as error:
            found[name] = str(error)
    return found


def comparable(facts: Mapping[str, Any], summary: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why each other run's numbers cannot stand in one column with this run's; empty where they can.

    Args:
        facts: of this run's data (``hash``).
        summary: of this run.
        others: of each other run, ``facts`` and ``summary``.
    """
    reasons = []
    for other in others:
        theirs = other["summary"]
        if other["facts"].get("hash") != facts.get("hash"):
            reasons.append("other data, or other splits")
        elif summary.get("elbo") is None:
            reasons.append("this run has no bound")
        elif theirs.get("elbo") is None:
            reasons.append("a point posterior has no bound")
        elif theirs.get("support") != summary.get("support") or _kind(theirs) != _kind(summary):
            reasons.append("a density and a probability do not compare")
        else:
            reasons.append("")
    return reasons


def _kind(summary: Mapping[str, Any]) -> bool:
    return summary.get("bits_per_dim") is None


def _rung(name: str, elbo: float, error: float, gain: Tensor, words: str) -> Rung:
    beyond, wide = float(gain.mean()), standard_error(gain)
    return Rung(name, elbo + beyond, math.hypot(error, wide), len(gain), beyond, wide, words)


def _tightest(weighed: Kept) -> tuple[int, Tensor] | None:
    """K and the gains (N,) of the importance-weighted bound of the most samples, of them the most examples."""
    with_bound = [(s, t) for s, t in weighed if "importance" in t and s["k"] > 1]
    if not with_bound:
        return None
    settings, tensors = max(with_bound, key=lambda item: (item[0]["k"], len(item[1]["importance"])))
    return int(settings["k"]), tensors["importance"] + tensors["distortion"] + tensors["rate"]


def _gain(log_p: Tensor, example: Tensor, weighed: Kept) -> Tensor | None:
    """log p(x) above the ELBO (N,), by the ELBO of the most samples that is known of all these examples."""
    for _, tensors in sorted(weighed, key=lambda item: -item[0]["k"]):
        place = {int(i): row for row, i in enumerate(tensors["example"])}
        if all(int(i) in place for i in example):
            rows = torch.tensor([place[int(i)] for i in example])
            return log_p + tensors["distortion"][rows] + tensors["rate"][rows]
    return None


def _longest(found: Kept) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What took the most chains and degrees, or the most draws."""

    def effort(item: tuple[dict[str, Any], dict[str, Tensor]]) -> tuple[float, int]:
        settings = item[0]
        return settings.get("chains", 1) * settings.get("temperatures", 1) * settings.get("k", 1), settings.get("n", 0)

    return max(found, key=effort, default=None)


def _of_chains(settings: Mapping[str, Any]) -> str:
    if "chains" not in settings:
        return ""
    return f", {settings['chains']} chains of {settings['temperatures']:,} degrees"


def _sandwich(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    sides = {"lower": tensors["lower"], "upper": tensors["upper"], "gap": tensors["upper"] - tensors["lower"]}
    numbers = {name: {"value": float(v.mean()), "stderr": standard_error(v)} for name, v in sides.items()}
    return {**numbers, "n": len(tensors["lower"]), "words": _of_chains(settings).removeprefix(", ")}


def _gaps(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    parts = {
        "amortisation": tensors["family"] - tensors["elbo"],
        "approximation": tensors["importance"] - tensors["family"],
    }
    return {
        **{name: {"value": float(v.mean()), "stderr": standard_error(v)} for name, v in parts.items()},
        "n": len(tensors["elbo"]),
    }
