"""Averages that stay on the device between log lines, and the run's live numbers."""

from __future__ import annotations

import torch

from taut.objectives.base import Outcome
from taut.training.company import Company

__all__ = ["Meter"]


class Meter:
    """Running sums of a step's scalars; reading them is the only time a number comes to the host.

    It also notes the first step at which a term was not finite, so that training can name it without looking each step, and
    ``skipped``, how many steps were left out since the training began.

    >>> meter = Meter("cpu")
    >>> meter.add(1, Outcome(torch.tensor(3.0), torch.tensor(2.0), torch.tensor(1.0)))
    >>> meter.read()
    {'loss': 3.0, 'distortion': 2.0, 'rate': 1.0}
    """

    sums: torch.Tensor
    broken: torch.Tensor
    count: int
    skipped: int

    def __init__(self, device: torch.device | str) -> None:
        self.sums = torch.zeros(len(Outcome._fields), device=device)
        self.broken = torch.zeros(len(Outcome._fields), dtype=torch.int64, device=device)
        self.count = self.skipped = 0
        self._steps: list[int] = []
        self._rows: list[torch.Tensor] = []

    def add(self, step: int, outcome: Outcome) -> None:
        """Count one step's scalars; steps are numbered from 1."""
        self._steps.append(step)
        self._rows.append(torch.stack(outcome).detach())

    def read(self, company: Company | None = None) -> dict[str, float]:
        """The means since the last reset, in nats per example, over all processes."""
        self._count()
        means = self.sums / max(1, self.count)
        values = (means if company is None else company.mean(means)).tolist()
        return dict(zip(Outcome._fields, values, strict=True))

    def first_broken(self, company: Company | None = None) -> tuple[int, str] | None:
        """The first step at which a term was not finite, and the term that broke first; the loss only if no other did."""
        broken = self._broken().tolist()
        if company is not None:
            broken = [company.most(step) for step in broken]
        steps = {name: step for name, step in zip(Outcome._fields, broken, strict=True) if step}
        if not steps:
            return None
        earliest = min(steps.values())
        names = [name for name in ("distortion", "rate", "loss") if steps.get(name) == earliest]
        return earliest, names[0]

    def reset(self) -> None:
        """Start the averages anew."""
        self._count()
        self.sums.zero_()
        self.count = 0

    def _count(self) -> None:
        """Take in what came since the last reading: in a step there is time for no more than to note it."""
        if self._rows:
            self.broken = self._broken()
            self.sums += torch.stack(self._rows).to(self.sums.dtype).sum(0)
            self.count += len(self._rows)
            self._steps, self._rows = [], []

    def _broken(self) -> torch.Tensor:
        """The first step at which each term was not finite, 0 if none."""
        if not self._rows:
            return self.broken
        rows, steps = torch.stack(self._rows), torch.tensor(self._steps, device=self.sums.device).unsqueeze(1)
        first = torch.where(rows.isfinite(), torch.iinfo(steps.dtype).max, steps).amin(0)
        return torch.where((self.broken == 0) & ~rows.isfinite().all(0), first, self.broken)

    def state_dict(self) -> dict[str, torch.Tensor]:
        # rows stay apart, so that sums are formed at the same steps whether or not the run was stopped between them
        rows = torch.stack(self._rows) if self._rows else self.sums.new_zeros(0, len(Outcome._fields))
        return {"sums": self.sums, "count": torch.tensor(self.count), "rows": rows, "steps": torch.tensor(self._steps),
                "skipped": torch.tensor(self.skipped)}  # fmt: skip

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.sums.copy_(state["sums"])
        self.count, self.skipped = int(state["count"]), int(state.get("skipped", 0))
        self._steps, self._rows = state["steps"].tolist(), list(state["rows"].unbind())
