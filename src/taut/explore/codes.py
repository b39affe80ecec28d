"""Where a code is: how far from the prior's centre, and which examples are near."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from taut.runs import Run

__all__ = ["nearest", "standard_prior", "usual_norm"]


def nearest(codes: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of some codes (M, D) the nearest row of others (N, D), (M,), and how far it is, (M,), Euclidean.

    >>> nearest(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 3.0]]))
    (array([1]), array([1.]))
    """
    codes, z = np.asarray(codes), np.asarray(z)
    index = np.empty(len(z), dtype=np.int64)
    distance = np.empty(len(z))
    for row, code in enumerate(z):
        squares = np.square(codes - code).sum(axis=1)
        index[row] = np.argmin(squares)
        distance[row] = math.sqrt(float(squares[index[row]]))
    return index, distance


def standard_prior(run: Run, layer: int = 0) -> bool:
    """Whether the prior of a layer is N(0, I): its density is, at a few points, and neither a layer above nor a condition
    moves it."""
    if layer or not run.vae.layers:
        return False
    top, told = run.vae.layers[0], run.vae.conditioned
    generator = torch.Generator().manual_seed(0)
    points = 1.5 * torch.randn(5, *top.event, generator=generator)
    condition = torch.randn(5, told, generator=generator) if told else None
    with torch.no_grad():
        try:
            found = top.prior(top.enter(run.vae.root(len(points), condition))).log_prob(points)
        except (ValueError, NotImplementedError):
            return False  # a density of other values than vectors
    size = points[0].numel()
    normal = -0.5 * (points.flatten(1).square().sum(1) + size * math.log(2 * math.pi))
    return found.shape == normal.shape and bool(torch.allclose(found, normal, rtol=1e-4, atol=1e-3))


def usual_norm(size: int) -> float:
    """E|z| under N(0, I) in so many dimensions: √2 Γ((D + 1)/2) / Γ(D/2), close to √D; no draw is near the centre.

    >>> round(usual_norm(2), 4), round(usual_norm(100), 4)
    (1.2533, 9.975)
    """
    return math.sqrt(2) * math.exp(math.lgamma((size + 1) / 2) - math.lgamma(size / 2)) if size else 0.0
