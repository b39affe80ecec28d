"""Are draws from a model new, true to the data, and varied? Held against examples, and against what unseen examples reach.

In a space of features, each example of a set has a ball that reaches to its k-th nearest fellow; the balls together stand
for where the distribution lies. Of as many draws as examples,

    precision   the share of draws that lie in some example's ball       (Kynkäänniemi et al. 2019)
    recall      the share of examples that lie in some draw's ball
    density     in how many examples' balls a draw lies, over k           (Naeem et al. 2020)
    coverage    the share of examples in whose ball some draw lies

Finite sets of the same distribution do not reach 1, so each number stands beside that of test examples in place of draws.

A draw is a copy of a training example if it equals it, or lies less than half as far from it as that example's own
nearest fellow does. Test examples are no copies, whatever this rule says of them: how many it calls so is its false alarm.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from taut.evaluation.neighbours import nearest

__all__ = ["Judgement", "Principal", "in_words", "judge"]

NEIGHBOURS = 5
COMPONENTS = 50
NEAR = 0.5  # of the distance to the nearest fellow


@dataclass(frozen=True)
class Principal:
    """The space of the first principal components of a set: distances in it are those along which the data vary.

    Attributes:
        mean: (D,)
        axes: (D, C), orthonormal.
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    def of(cls, points: Tensor, components: int = COMPONENTS) -> Principal:
        """Of points (N, D); fewer components where there are fewer dimensions or points.

        >>> torch.manual_seed(0) and None
        >>> space = Principal.of(torch.randn(100, 3) * torch.tensor([9.0, 1.0, 0.1]), 2)
        >>> space.name, space(torch.zeros(4, 3)).shape
        ('2 principal components', torch.Size([4, 2]))
        """
        mean = points.double().mean(0)
        centred = points.double() - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / max(1, len(points) - 1))
        count = min(components, len(points), points.shape[1])
        return cls(mean, vectors[:, values.argsort(descending=True)[:count]])

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.axes.shape[1]} principal component{'s'[: self.axes.shape[1] != 1]}"

    def __call__(self, points: Tensor) -> Tensor:
        """(N, D) → (N, C)."""
        return ((points.double() - self.mean) @ self.axes).float()


@dataclass(frozen=True)
class Judgement:
    """What is found of one set of draws.

    Attributes:
        precision, recall, density, coverage: as above; None where examples are too few to have neighbours.
        copies: how many draws are copies, those that equal an example among them.
        equal: how many equal a training example.
        distance: the median distance of a draw to the nearest training example, in units of the values.
    """

    precision: float | None
    recall: float | None
    density: float | None
    coverage: float | None
    copies: int
    equal: int
    distance: float


def judge(draws: Tensor, test: Tensor, train: Tensor) -> dict[str, Any]:
    """Draws from a model beside test examples.

    Args:
        draws: (M, D), points in a space where distances mean something.
        test: (≥ M, D), examples that the model has not seen; where there are fewer, fewer draws are compared.
        train: (N, D), training examples in random order: copies are sought among all, the first M are what draws are held
            against.

    Returns:
        ``n``, ``space``, ``neighbours``; ``precision``, ``recall``, ``density``, ``coverage``, ``copies``, ``equal``,
        ``distance`` of the draws, and under ``reference`` the same of as many test examples. JSON can hold it.
    """
    n = min(len(draws), len(test), len(train))
    space = Principal.of(train)
    features = space(train[:n])
    fellows = nearest(train, train, exclude_self=True)[1] if len(train) > 1 else torch.zeros(len(train))
    sides = [_judged(some[:n], train, fellows, space(some[:n]), features) for some in (draws, test)]
    return {
        "n": n,
        "space": space.name,
        "neighbours": NEIGHBOURS,
        **asdict(sides[0]),
        "reference": asdict(sides[1]),
    }


def _judged(points: Tensor, train: Tensor, fellows: Tensor, features: Tensor, real: Tensor) -> Judgement:
    where, distance = nearest(points, train)
    equal = (points == train[where]).flatten(1).all(1)
    near = equal | (distance < NEAR * fellows[where])
    k = min(NEIGHBOURS, len(real) - 1, len(features) - 1)
    if k < 1:
        return Judgement(*[None] * 4, int(near.sum()), int(equal.sum()), float(distance.median()))
    apart = torch.cdist(features, real)
    inside = apart <= _radius(real, k)
    covered = apart <= _radius(features, k)[:, None]
    return Judgement(
        precision=float(inside.any(1).float().mean()),
        recall=float(covered.any(0).float().mean()),
        density=float(inside.sum(1).float().mean()) / k,
        coverage=float(inside.any(0).float().mean()),
        copies=int(near.sum()),
        equal=int(equal.sum()),
        distance=float(distance.median()),
    )


def _radius(points: Tensor, k: int) -> Tensor:
    """The distance of each point to its k-th nearest fellow, (N,)."""
    return torch.cdist(points, points).fill_diagonal_(math.inf).kthvalue(k, 1).values


def in_words(found: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """What :func:`judge` found, a row for each number: its name, value, standard error, unit, and what it says."""
    if not found:
        return []
    n, real = found["n"], found["reference"]

    def share(name: str, text: str) -> tuple[str, str, str, str, str]:
        p = found[name]
        if p is None:
            return name, "–", "", "", "examples are too few to have neighbours"
        error = f"± {100 * math.sqrt(max(0.0, p * (1 - p)) / n):.1f}"
        unit = "of draws" if name == "precision" else "of data"
        return name, f"{p:.1%}", error, unit, f"{text} (test data {real[name]:.1%})"

    rows = [
        share("precision", f"lie among the data, in {found['space']}"),
        share("coverage", "have a draw near them"),
        share("recall", "lie among the draws"),
    ]
    text = f"of {n:,} draws nearly equal a training example (test data {real['copies']:,})"
    return [*rows, ("copies", f"{found['copies']:,}", "", "draws", text)]
