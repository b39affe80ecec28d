"""How the weight of the rate grows in the course of a run."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from taut.config import Part
from taut.errors import InputError

__all__ = ["Constant", "Cosine", "Cyclical", "Linear", "Schedule", "Sigmoid"]


class Schedule(Part, family=True):
    """A factor on β by step; every one is checked against the length of the run before it starts."""

    @abstractmethod
    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        """The factor at a step of a run of ``steps``, with ``per_epoch`` steps an epoch."""

    @abstractmethod
    def check(self, steps: int, per_epoch: int) -> None:
        """Refuse a run that is too short for the schedule.

        Raises:
            InputError: with the length that would do.
        """


@dataclass(frozen=True)
class Constant(Schedule):
    """β from the first step on."""

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        return 1.0

    def check(self, steps: int, per_epoch: int) -> None:
        pass


@dataclass(frozen=True)
class Linear(Schedule):
    """From 0 to β in a straight line, then β (Bowman et al. 2016, Sønderby et al. 2016).

    Args:
        share: how much of the run the rise takes, below 1.
        epochs: the same in epochs, instead of a share.
    """

    share: float = 0.1
    epochs: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise InputError("share", f"is {self.share:g}", "give a share of the run, from 0 up to but not including 1")
        if self.epochs is not None and self.epochs < 0:
            raise InputError("epochs", f"is {self.epochs:g}", "give 0 or more")

    def _rise(self, steps: int, per_epoch: int) -> float:
        return self.share * steps if self.epochs is None else self.epochs * per_epoch

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        rise = self._rise(steps, per_epoch)
        return min(1.0, step / rise) if rise > 0 else 1.0

    def check(self, steps: int, per_epoch: int) -> None:
        if self._rise(steps, per_epoch) >= steps:
            raise InputError(
                "objective.schedule.epochs",
                f"is {self.epochs:g}, but the run has {steps / per_epoch:.3g} epochs: β would never reach its value",
                f"train longer, or say --objective.schedule.epochs {0.2 * steps / per_epoch:.2g}",
            )


@dataclass(frozen=True)
class Cosine(Linear):
    """From 0 to β along half a cosine, slow at both ends; a monotone rise like :class:`Linear`."""

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        return 0.5 * (1 - math.cos(math.pi * super().factor(step, steps, per_epoch)))


@dataclass(frozen=True)
class Sigmoid(Linear):
    """From 0 to β along a logistic curve, a monotone rise that is steep in its middle (Bowman et al. 2016).

    Args:
        share: how much of the run the rise takes, below 1.
        epochs: the same in epochs, instead of a share.
        steepness: s; the rise is that of the logistic function from −s to s, brought to 0 and 1 at its ends.
    """

    steepness: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.steepness < math.inf:
            raise InputError("steepness", f"is {self.steepness:g}", "give a number above 0, such as 6")

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        half = self.steepness / 2  # σ(x) = ½ (1 + tanh(x/2)), and the halves fall away
        return 0.5 * (1 + math.tanh(half * (2 * super().factor(step, steps, per_epoch) - 1)) / math.tanh(half))


@dataclass(frozen=True)
class Cyclical(Schedule):
    """Several rises from 0 to β, each followed by a stretch at β, so that a code that died may be found again
    (Fu et al. 2019).

    Args:
        cycles: how many; the last one ends at β.
        share: of each cycle that the rise takes.
    """

    cycles: int = 4
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.cycles < 1:
            raise InputError("cycles", f"is {self.cycles}", "give 1 or more")
        if not 0 <= self.share < 1:
            raise InputError("share", f"is {self.share:g}", "give a share of a cycle, from 0 up to but not including 1")

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        place = step * self.cycles / steps % 1
        return min(1.0, place / self.share) if self.share else 1.0

    def check(self, steps: int, per_epoch: int) -> None:
        if steps < 10 * self.cycles:
            problem = f"is {self.cycles}, but the run has {steps:,} steps, fewer than ten for each"
            raise InputError("objective.schedule.cycles", problem, f"train longer, or give {max(1, steps // 10)}")
