"""One model in one look: where its codes lie, what the plane they lie in decodes to, what it rebuilds and draws.

Models of one sweep are given the same examples and, for their size, the same noise, so that what changes is the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taut.data import Split
from taut.explore.conditions import named
from taut.explore.maps import plane
from taut.runs import Run

__all__ = ["Portrait", "portrait"]


@dataclass(frozen=True)
class Portrait:
    """Arrays of one model.

    Attributes:
        plane: which plane the codes are seen in, in words.
        codes: (N, 2) in it.
        reach: how far the grid goes, on either side of 0.
        grid: (A·A, *raw shape), decoded, the first coordinate outermost.
        rebuilt, samples: (S, *raw shape).
    """

    plane: str
    codes: np.ndarray
    reach: float
    grid: np.ndarray
    rebuilt: np.ndarray
    samples: np.ndarray


def portrait(run: Run, codes: np.ndarray, few: Split, across: int = 9, seed: int = 0) -> Portrait:
    """A model's portrait.

    Args:
        run: the model.
        codes: (N, latents), posterior centres.
        few: examples to rebuild; as many are drawn.
        across: decodings along each side of the plane.
        seed: of the draws.

    Raises:
        InputError: for a model without latents.
    """
    seen = plane(codes, run.summary.get("kl_per_dim"))
    # where most codes lie, if the prior's three standard deviations are not where they are
    far = float(np.quantile(np.abs(seen.coordinates), 0.995)) * 1.05 if len(codes) else 0.0
    reach = max(3.0, far) if run.real else 1.0
    axis = np.linspace(-reach, reach, across)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    told = named(run.reading.conditions, ())
    grid = run.decode(run.place(seen.lift(places).astype(np.float32)), told)
    samples = run.sample(len(few), seed=seed, means=True, condition=told)
    return Portrait(seen.description, seen.coordinates, reach, grid, run.reconstruct(few), samples)
