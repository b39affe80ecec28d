"""Do single latents stand for single factors? MIG and DCI, of codes z (N, D) and the factors v (N, F) that made the data.

**Mutual information gap** (Chen et al. 2018). With I(z_j; v_k) in nats and H(v_k) the entropy of a factor,

    MIG = (1/F) Σ_k ( I(z_j(k); v_k) − max_{j≠j(k)} I(z_j; v_k) ) / H(v_k)        j(k) = argmax_j I(z_j; v_k)

is 1 if each factor lies wholly in one latent and no other tells of it, and 0 if a second latent tells as much as the
first. z is a draw from q(z|x), as in the definition: the mean of a latent that has collapsed to the prior still moves
with x by a hair, and would seem to tell what no draw of it does. It is cut into 20 bins of equal width between its
least and greatest value, as Locatello et al. (2019) cut means, and so are factors of more than 20 values. Entropies of
few examples come out too low, by about (m − 1)/2N nats for m occupied cells; that much is put back (Miller 1955), so
that in 1,000 examples an independent pair of 20 values each seems to share 0.04 nats and not 0.18.

**Disentanglement, completeness, informativeness** (Eastwood and Williams 2018). Each factor is predicted from the code,
here the posterior mean, and R_jk ≥ 0 says how much the prediction of v_k owes to z_j, with Σ_j R_jk = 1. With P_jk =
R_jk / Σ_k R_jk,

    D_j = 1 − H(P_j·) / log F      does the latent serve one factor?        their mean, weighted by Σ_k R_jk
    C_k = 1 − H(R_·k) / log D      does the factor lie in one latent?       their mean
    I_k = 1 − error / error of the best constant guess, on test examples    their mean; R² of quantities

Predictions are by gradient-boosted trees, as in Locatello et al.: 50 trees of depth 3, each on half the examples. R is the
share of the decrease in impurity. Factors of at most 20 values are kinds and classified (error: share missed); any others
are quantities and regressed (error: mean square).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["BINS", "binned", "concentration", "dci", "entropy", "information", "mig"]

BINS = 20
TREES, RATE, DEPTH = 50, 0.2, 3


def binned(values: np.ndarray) -> np.ndarray:
    """Values (N,) as whole numbers from 0: each its own if they are at most 20, else by 20 bins of equal width.

    >>> binned(np.array([7.0, 0.5, 7.0])).tolist(), np.bincount(binned(np.linspace(0, 1, 100))).tolist() == [5] * 20
    ([1, 0, 1], True)
    """
    kinds, codes = np.unique(values, return_inverse=True)
    if len(kinds) <= BINS:
        return codes
    edges = np.linspace(kinds[0], kinds[-1], BINS + 1)
    return np.digitize(values, edges[1:-1])


def entropy(codes: np.ndarray) -> float:
    """The entropy in nats of whole numbers (N,) from 0, corrected for how few they are."""
    counts = np.bincount(codes)
    p = counts[counts > 0] / len(codes)
    return float(-(p * np.log(p)).sum()) + (len(p) - 1) / (2 * len(codes))


def information(codes: np.ndarray, others: np.ndarray) -> float:
    """Mutual information in nats of whole numbers (N,) and (N,) from 0."""
    both = codes.astype(np.int64) * (others.max() + 1) + others
    return max(0.0, entropy(codes) + entropy(others) - entropy(both))


def mig(codes: np.ndarray, factors: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """The mutual information gap of codes (N, D) and factors (N, F) with F names; a factor that does not vary has none.

    Returns:
        ``value``, the mean over factors, None if none varies; ``factors``, the gap of each by name; ``shares``,
        I(z_j; v_k)/H(v_k) of each by name, D numbers from 0 to 1; ``n``, N.
    """
    columns = [binned(column) for column in codes.T]
    gaps: dict[str, float | None] = {}
    shares: dict[str, list[float]] = {}
    for name, factor in zip(names, factors.T, strict=True):
        known = binned(factor)
        whole = entropy(known)
        share = [information(column, known) / whole if whole > 0 else 0.0 for column in columns]
        second, first = sorted([0.0, *share])[-2:]
        shares[name], gaps[name] = share, first - second if whole > 0 else None
    there = [gap for gap in gaps.values() if gap is not None]
    return {
        "value": float(np.mean(there)) if there else None,
        "factors": gaps,
        "shares": shares,
        "n": len(codes),
    }


def dci(
    codes: np.ndarray, factors: np.ndarray, test_codes: np.ndarray, test_factors: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Disentanglement, completeness and informativeness of codes, each from 0 to 1.

    Args:
        codes, factors: (N, D) and (N, F), to learn from.
        test_codes, test_factors: (M, D) and (M, F), to test on.
        names: of the F factors; those that do not vary in both are left out.

    Returns:
        the three, None if no factor varies; ``factors``, the informativeness of each by name; ``importance``, R of each by
        name, D numbers that sum to 1, or to 0 where nothing served; ``n_train``, N; ``n``, M.
    """
    importance: dict[str, list[float]] = {}
    informed: dict[str, float] = {}
    for name, known, unseen in zip(names, factors.T, test_factors.T, strict=True):
        if np.ptp(known) > 0 and np.ptp(unseen) > 0:
            model, kept = _predict(codes, known, test_codes, unseen)
            importance[name], informed[name] = model.tolist(), kept
    found: dict[str, Any] = dict.fromkeys(("disentanglement", "completeness", "informativeness"))
    if informed:
        R = np.array(list(importance.values())).T
        found["disentanglement"] = float(np.average(concentration(R), weights=R.sum(1))) if R.any() else 0.0
        found["completeness"] = float(concentration(R.T).mean())
        found["informativeness"] = float(np.mean(list(informed.values())))
    return {**found, "factors": informed, "importance": importance, "n_train": len(codes), "n": len(test_codes)}


def _predict(
    codes: np.ndarray, known: np.ndarray, test_codes: np.ndarray, unseen: np.ndarray
) -> tuple[np.ndarray, float]:
    """The importance (D,) of latents for a factor, and its informativeness."""
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    options = {"n_estimators": TREES, "learning_rate": RATE, "max_depth": DEPTH, "subsample": 0.5, "random_state": 0}
    kinds, both = np.unique(np.concatenate([known, unseen]), return_inverse=True)
    if len(kinds) <= BINS:
        known, unseen = both[: len(known)], both[len(known) :]
        model = GradientBoostingClassifier(**options).fit(codes, known)
        errors = model.predict(test_codes) != unseen, np.bincount(known).argmax() != unseen
    else:
        model = GradientBoostingRegressor(**options).fit(codes, known)
        errors = (model.predict(test_codes) - unseen) ** 2, (known.mean() - unseen) ** 2
    error, blind = (float(np.mean(each)) for each in errors)
    return model.feature_importances_, max(0.0, 1 - error / blind)


def concentration(R: np.ndarray) -> np.ndarray:
    """1 − H / log n of each row of R (m, n), normalised to sum to 1: 1 where one entry has all, 0 where all have the same.

    A row of zeros has 0, and one of a single entry 1.
    """
    total = R.sum(1, keepdims=True)
    P = R / np.where(total > 0, total, 1)
    H = -(P * np.log(np.where(P > 0, P, 1))).sum(1)
    return np.where(total[:, 0] > 0, 1 - H / math.log(max(2, R.shape[1])), 0.0)
