"""Averages that stay on the device between log lines, and the run's live numbers."""

from __future__ import annotations

import torch

from taut.objectives.base import Outcome

__all__ = ["Meter"]


class Meter:
    """Running sums of a step's scalars; reading them is the only time a number comes to the host.

    It also notes the first step at which a term was not finite, so that training can name it without looking each step.

    >>> meter = Meter("cpu")
    >>> meter.add(1, Outcome(torch.tensor(3.0), torch.tensor(2.0), torch.tensor(1.0)))
    >>> meter.read()
    {'loss': 3.0, 'distortion': 2.0, 'rate': 1.0}
    """

    def __init__(self, device: torch.device | str) -> None:
        self.sums = torch.zeros(len(Outcome._fields), device=device)
        self.broken = torch.zeros(len(Outcome._fields), dtype=torch.int64, device=device)
        self.count = 0

    def add(self, step: int, outcome: Outcome) -> None:
        """Count one step's scalars; steps are numbered from 1."""
        values = torch.stack(outcome).detach().to(self.sums.dtype)
        self.sums += values
        first = (self.broken == 0) & ~values.isfinite()
        self.broken += first * step
        self.count += 1

    def read(self) -> dict[str, float]:
        """The means since the last reset, in nats per example."""
        values = (self.sums / max(1, self.count)).tolist()
        return dict(zip(Outcome._fields, values, strict=True))

    def first_broken(self) -> tuple[int, str] | None:
        """The first step at which a term was not finite, and the term that broke first; the loss only if no other did."""
        steps = {name: step for name, step in zip(Outcome._fields, self.broken.tolist(), strict=True) if step}
        if not steps:
            return None
        earliest = min(steps.values())
        names = [name for name in ("distortion", "rate", "loss") if steps.get(name) == earliest]
        return earliest, names[0]

    def reset(self) -> None:
        """Start the averages anew."""
        self.sums.zero_()
        self.count = 0

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"sums": self.sums, "count": torch.tensor(self.count)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.sums.copy_(state["sums"])
        self.count = int(state["count"])
