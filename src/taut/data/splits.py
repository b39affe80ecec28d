"""Who trains, who validates, who tests: seeded, and the same for ever."""

from __future__ import annotations

import numpy as np

from taut.errors import InputError

__all__ = ["carve"]


def carve(n: int, shares: dict[str, float], seed: int, field: str = "data") -> dict[str, np.ndarray]:
    """Splits n examples at random: the named shares (at least one example each), and ``train``, which has the rest.

    The shares are cut from the front of one permutation in the order given, so that the first of them does not change
    with the others. Each value is an array of indices.

    >>> {name: index.tolist() for name, index in carve(6, {"test": 0.2, "valid": 0.2}, seed=0).items()}
    {'test': [5], 'valid': [2], 'train': [1, 3, 0, 4]}
    >>> carve(3, {"test": 0.2, "valid": 0.2}, seed=0)
    Traceback (most recent call last):
        ...
    taut.errors.InputError: data: 3 examples are too few examples for a split (1 test, 1 valid, 1 train); \
give at least 4, and 2 to train on
    """
    counts = {name: max(1, round(n * share)) for name, share in shares.items()}
    train = n - sum(counts.values())
    if train < 2:
        parts = ", ".join(f"{c} {name}" for name, c in {**counts, "train": max(0, train)}.items())
        problem = f"{n} example{'s are' if n != 1 else ' is'} too few examples for a split ({parts})"
        raise InputError(field, problem, f"give at least {len(counts) + 2}, and 2 to train on")
    # RandomState's stream is frozen by numpy's own promise; that of the newer generators may change between versions.
    order = np.random.RandomState(seed).permutation(n)
    split, start = {}, 0
    for name, count in {**counts, "train": train}.items():
        split[name], start = order[start : start + count], start + count
    return split
