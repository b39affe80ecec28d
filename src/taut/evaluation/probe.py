"""The linear probe: how much of the labels can be read off the codes by the simplest of classifiers.

Multinomial logistic regression on codes z (N, D), each dimension standardised by the training examples:

    p(y|z) = softmax(W z + b)_y        (W, b) = argmin  Σ_n −log p(y_n|z_n) + ‖W‖² / 2C

The accuracy on test examples is an estimate of a probability, so its standard error is √(a(1 − a)/n). The strength C of
the penalty is picked by a fifth of the training examples, which the fit for that does not see: codes of few dimensions want
a weak penalty and raw data a strong one, and without the choice the comparison of both would not be fair.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

__all__ = ["linear_probe"]

STRENGTHS = (1.0, 0.1, 0.01)


def linear_probe(
    codes: np.ndarray, labels: np.ndarray, test_codes: np.ndarray, test_labels: np.ndarray
) -> dict[str, float | int]:
    """The share of test labels that logistic regression gets right.

    Args:
        codes: (N, D), in an order that says nothing.
        labels: (N,), whole numbers of two kinds or more.
        test_codes: (M, D).
        test_labels: (M,); a kind that no code was learnt of counts as missed.

    Returns:
        ``accuracy`` and its ``stderr`` as shares of M; ``majority``, the accuracy of always saying the commonest label of
        the N; ``classes`` among the N; ``n_train``, N; ``n``, M.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=4000)
    >>> z = rng.normal(size=(4000, 3)) + 2 * y[:, None]
    >>> linear_probe(z[:2000], y[:2000], z[2000:], y[2000:])["accuracy"] > 0.94   # Φ(√3) = 0.958 is the best there is
    True
    """
    codes, test_codes = _standardised(codes, test_codes)
    right = _fit(codes, labels, _strength(codes, labels)).predict(test_codes) == test_labels
    kinds, counts = np.unique(labels, return_counts=True)
    accuracy, n = float(right.mean()), len(right)
    return {
        "accuracy": accuracy,
        "stderr": math.sqrt(accuracy * (1 - accuracy) / n),
        "majority": float((test_labels == kinds[counts.argmax()]).mean()),
        "classes": len(kinds),
        "n_train": len(labels),
        "n": n,
    }


def _standardised(codes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, D) with mean 0 and deviation 1, and others (M, D) by the same measure; what is constant becomes 0."""
    mean, spread = codes.mean(0, dtype=np.float64), codes.std(0, dtype=np.float64)
    spread = np.where(spread > 1e-7 * np.abs(mean), spread, np.inf)  # less is rounding
    return tuple(((some - mean) / spread).astype(np.float32) for some in (codes, others))


def _strength(codes: np.ndarray, labels: np.ndarray) -> float:
    """The C that does best on every fifth example when it has learnt from the others."""
    held = np.arange(len(labels)) % 5 == 0
    if len(np.unique(labels[~held])) < 2:
        return STRENGTHS[0]
    scores = [_fit(codes[~held], labels[~held], C).score(codes[held], labels[held]) for C in STRENGTHS]
    return STRENGTHS[int(np.argmax(scores))]


def _fit(codes: np.ndarray, labels: np.ndarray, strength: float) -> LogisticRegression:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is not at its end is a classifier all the same
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)  # the score will tell
        return LogisticRegression(C=strength, tol=1e-3, max_iter=500).fit(codes, labels)
