"""Questions about one example: its posterior, its bounds, its noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from taut.page.answers.base import Question, Reply, whole

if TYPE_CHECKING:
    from taut.explore.microscope import Growth
    from taut.page.desk import Desk

__all__ = ["Exact", "Examine", "Noise"]

MOST = 10_000_000  # examples


@dataclass(frozen=True)
class Examine(Question):
    """One test example, its posterior beside the prior, what it rebuilds, and its bounds."""

    kind: ClassVar[str] = "examine"

    example: int = whole(0, MOST)
    draws: int = whole(1, 64, 8)
    samples: int = whole(16, 20_000, 1000)
    seed: int = whole(0, 2**31, 0)

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.microscope import examine

        split = desk.test()
        found = examine(desk.run, self.example, self.draws, self.samples, self.seed)
        one = split.take(slice(self.example, self.example + 1))
        arrays = {
            "x": desk.pictures(desk.run.reading.restore(one.x)),
            "rebuilt": desk.pictures(found.rebuilt),
            "codes": found.codes,
        }
        for i, posterior in enumerate(found.posteriors):
            for name in ("mean", "std", "prior_mean", "prior_std", "kl"):
                arrays[f"{name}{i}"] = getattr(posterior, name)
        if found.log_weights is not None:
            arrays |= {"log_weights": found.log_weights, **_grown("iw", found.importance)}
        if found.prior is not None:
            arrays |= _grown("naive", found.prior)
        label = None if one.labels is None else int(one.labels[0])
        meta = {
            "example": self.example, "examples": len(split), "label": label, "why": found.why,
            "distortion": found.distortion, "rate": found.rate, "centre": desk.run.centre,
            "layers": [{"size": len(p.mean), "measured": p.measured} for p in found.posteriors],
            "spaces": [layer.posterior.space for layer in desk.run.experiment.model.layers],
            "limits": list(desk.limits),
        }  # fmt: skip
        return Reply(meta, arrays)


@dataclass(frozen=True)
class Exact(Question):
    """p(z|x) of one test example by quadrature, beside q and the prior."""

    kind: ClassVar[str] = "exact"

    example: int = whole(0, MOST)

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.microscope import exact_posterior

        log_p, peaks, grid = exact_posterior(desk.run, self.example)
        arrays = {f"axis{i}": axis for i, axis in enumerate(grid.axes)}
        arrays |= {"posterior": grid.posterior.astype(np.float32), "prior": grid.prior.astype(np.float32)}
        if grid.q is not None:
            arrays["q"] = grid.q.astype(np.float32)
        return Reply({"log_p": log_p, "peaks": peaks, "centre": grid.centre.tolist()}, arrays)


@dataclass(frozen=True)
class Noise(Question):
    """One draw z = μ + σ ε of a test example, and its gradient."""

    kind: ClassVar[str] = "noise"

    example: int = whole(0, MOST)
    seed: int = whole(0, 2**31, 0)

    def answer(self, desk: Desk) -> Reply:
        from taut.explore.microscope import noised

        found = noised(desk.run, self.example, seed=self.seed)
        names = ("mean", "std", "noise", "code", "by_code", "by_std", "kl")
        arrays = {name: getattr(found, name) for name in names}
        return Reply({"distortion": found.distortion}, arrays)


def _grown(name: str, found: Growth) -> dict[str, np.ndarray]:
    return {f"{name}_k": found.k, f"{name}_mean": found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
