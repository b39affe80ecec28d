"""Are the codes useful? What they tell of the labels and factors that data bring along.

Nothing here enters training: a model never sees a label or a factor. Whatever learns from codes learns from those of
training examples and is tested on those of the test split; MIG learns nothing and is measured on the test split alone.
Probe and DCI read the codes that a user is given, posterior means or what stands for them; MIG, which compares single
latents, reads draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from taut.data import Split
from taut.evaluation.disentanglement import BINS, dci, mig
from taut.evaluation.probe import linear_probe

__all__ = ["in_words", "quality"]

EXAMPLES = 10_000  # of the training split that the probe learns from, at most
WEIGHED = 10**8  # examples × dimensions × classes that a probe learns from, at most: some seconds on one core
GROWN = 600_000  # examples × dimensions × trees a round that DCI learns from, about: likewise

DCI = {
    "disentanglement": "each latent serves one factor alone",
    "completeness": "each factor lies in one latent alone",
    "informativeness": "the latents together tell the factors",
}

Encode = Callable[..., np.ndarray]


def quality(
    encode: Encode, test: Split, train: Split | None, names: tuple[str, ...] = (), why: str = ""
) -> dict[str, Any]:
    """The linear probe of the labels, and MIG and DCI of the factors; of what there is.

    Args:
        encode: called with a split of N examples, gives their posterior means (N, D), and with ``sample=True`` too a draw
            for each; always the same.
        test: examples with labels or factors that are asked of the codes; nothing is measured without.
        train: examples to learn from, with the same; None where they are not at hand.
        names: of the factors.
        why: the reason, where they are not at hand.

    Returns:
        ``probe`` where there are labels: as :func:`linear_probe`, and ``raw``, the accuracy from x itself, None where
        that would take long. ``mig`` and ``dci`` where there are factors: as the functions of these names. What could not
        be measured has None for its first number and the reason as ``why``. JSON can hold it all.
    """
    if test.labels is None and test.factors is None:
        return {}
    codes = encode(test)
    known = None if train is None else train.take(_some(len(train), EXAMPLES))
    learnt = None if known is None else encode(known)
    if not np.isfinite(codes).all() or not (learnt is None or np.isfinite(learnt).all()):
        codes, known, why = None, None, "codes are not all finite numbers"
    found: dict[str, Any] = {}
    if test.labels is not None:
        found["probe"] = _probe(known, learnt, test, codes, why)
    if test.factors is not None:
        factors = test.factors.numpy()
        found["mig"] = {"value": None, "why": why}
        if codes is not None:
            found["mig"] = _said(mig(encode(test, sample=True), factors, names))
        found["dci"] = {"disentanglement": None, "why": why}
        if known is not None:
            some = slice(_affordable(codes.shape[1], factors))
            found["dci"] = _said(dci(learnt[some], known.factors[some].numpy(), codes, factors, names))
    return found


def in_words(found: dict[str, Any], rate: float | None = None) -> list[tuple[str, str, str, str, str]]:
    """What :func:`quality` found, a row for each number: its name, value, standard error, unit, and what it says.

    A classifier is given means of q, however little they vary. Of a code of small ``rate`` it may read off more of the labels
    than a draw from q can tell, I(y; z) ≤ I(x; z) ≤ rate. Then the words say so.

    >>> in_words({"mig": {"value": None, "why": "no factor varies"}})
    [('MIG', '–', '', '', 'no factor varies')]
    """
    rows = []
    if probe := found.get("probe"):
        rows.append(("linear probe", *_probe_in_words(probe, rate)))
    if mig := found.get("mig"):
        value = mig["value"]
        text = "0 to 1: in how far one latent alone tells a factor"
        rows.append(("MIG", *(("–", "", "", mig["why"]) if value is None else (f"{value:.2f}", "", "", text))))
    if dci := found.get("dci"):
        if dci["disentanglement"] is None:
            rows.append(("DCI", "–", "", "", dci["why"]))
        else:
            rows += [(name, f"{dci[name]:.2f}", "", "", f"0 to 1: {text}") for name, text in DCI.items()]
    return rows


def _probe_in_words(probe: dict[str, Any], rate: float | None) -> tuple[str, str, str, str]:
    if probe["accuracy"] is None:
        return "–", "", "", probe["why"]
    raw = "" if probe["raw"] is None else f"x itself {probe['raw']:.1%}, "
    by = "told by the codes"
    if rate is not None and _least_told(probe) > rate:
        by = f"read off q's means, not off draws of z, which tell {max(0.0, rate):.2f} nats at most"
    text = f"{by} ({raw}majority {probe['majority']:.1%})"
    return f"{probe['accuracy']:.1%}", f"± {100 * probe['stderr']:.1f}", "of labels", text


def _least_told(probe: dict[str, Any]) -> float:
    """The least information, nats, that a guess so often right has of the labels: H(y) − h(e) − e log (C − 1), e the share of
    errors (Fano), and for H(y) the least that it can be."""
    e, kinds = 1 - probe["accuracy"], probe["classes"]
    entropy = min(math.log(kinds), -math.log(max(probe["majority"], 1 / kinds)))
    unsure = -sum(p * math.log(p) for p in (e, 1 - e) if p > 0)
    return entropy - unsure - e * math.log(kinds - 1)


def _probe(
    known: Split | None, learnt: np.ndarray | None, test: Split, codes: np.ndarray | None, why: str
) -> dict[str, Any]:
    if known is not None:
        some, others = known.labels >= 0, test.labels >= 0
        labels, unseen = known.labels[some].numpy(), test.labels[others].numpy()
        classes = len(np.unique(labels))
        why = (
            "labels are of fewer than two classes" if classes < 2 else "" if len(unseen) else "no label is a known one"
        )
    if why:
        return {"accuracy": None, "why": why}
    n = max(500, WEIGHED // (codes.shape[1] * classes))
    result = linear_probe(learnt[some.numpy()][:n], labels[:n], codes[others.numpy()], unseen)
    x, raw = known.x[some].flatten(1).numpy(), test.x[others].flatten(1).numpy()
    cheap = x.size * classes <= WEIGHED
    return {**result, "raw": linear_probe(x, labels, raw, unseen)["accuracy"] if cheap else None}


def _affordable(latents: int, factors: np.ndarray) -> int:
    """How many examples trees can learn from in seconds."""
    kinds = [len(np.unique(column)) for column in factors.T]
    trees = sum(k if 2 < k <= BINS else 1 for k in kinds)
    return max(500, GROWN // (latents * trees))


def _said(measured: dict[str, Any]) -> dict[str, Any]:
    """The same, with the reason where nothing could be measured."""
    return measured if next(iter(measured.values())) is not None else {**measured, "why": "no factor varies"}


def _some(count: int, at_most: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:at_most]
