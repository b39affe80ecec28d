"""The processes that train one model together: one a device, each with its part of every batch and of the validation data.

lightning-fabric starts them (``training.devices`` on one machine), or torchrun or SLURM do, and it averages their gradients, so
that a step is that of the whole batch. What else they must agree on is asked here; of a process alone each question
is answered without a word on the wire.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

__all__ = ["Company", "leads"]


def leads() -> bool:
    """Whether this process is the one that writes and speaks, told before the others are met: by what started it."""
    return not any(int(os.environ.get(name, 0)) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))


class Company:
    """This process among others.

    Args:
        fabric: launched.
    """

    rank: int
    size: int
    alone: bool
    lead: bool

    def __init__(self, fabric: Any) -> None:
        self.fabric = fabric
        self.rank, self.size = fabric.global_rank, fabric.world_size
        self.alone, self.lead = self.size == 1, self.rank == 0

    def part(self, index: Tensor) -> Tensor:
        """Of an index (N,), what falls to this process: every so-many-th."""
        return index[self.rank :: self.size]

    def total(self, values: Tensor) -> Tensor:
        """The sum over processes of values of any shape."""
        return values if self.alone else self.fabric.all_reduce(values.contiguous(), reduce_op="sum")

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes."""
        return self.total(values) / self.size

    def most(self, value: int) -> int:
        """The largest of a number over processes: what one of them was told, all are."""
        if self.alone:
            return value
        return int(self.fabric.all_reduce(torch.tensor(value, device=self.fabric.device), reduce_op="max"))

    def told(self, value: Any) -> Any:
        """What the first process says."""
        return value if self.alone else self.fabric.broadcast(value)

    def gathered(self, values: Tensor) -> list[Tensor]:
        """A tensor of the same shape from each process, in their order."""
        if self.alone:
            return [values]
        table = torch.zeros(self.size, *values.shape, dtype=values.dtype, device=self.fabric.device)
        table[self.rank] = values
        return list(self.total(table).cpu().unbind())
