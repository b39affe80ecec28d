"""How the weight of the rate grows in the course of a run."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from taut.config import Part
from taut.errors import InputError

__all__ = ["Constant", "Linear", "Schedule"]


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
