"""What an encoder is given of x: numbers about 1 wide, each beside a word on whether it is known.

    real, whole, binary, ordinal   (x − mean)/deviation
    positive                       the same of log x
    counts                         log(1 + x) − log(1 + mean)
    categories                     one number for each, 1 at x and 0 elsewhere: max(0, 1 − |x − k|), so that what lies between
                                   two of them, as a learned pseudo-input may, is a little of both

A cell that is not known is 0 in all its numbers, and in the one more that says so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taut.data import Statistics, Support

__all__ = ["Columns", "Standardised", "entry"]


def entry(shape: tuple[int, ...], support: Support, statistics: Statistics, condition: int = 0) -> Entry:
    """The module for data of a support.

    Args:
        shape: of x.
        support: of x.
        statistics: of the training data.
        condition: how many numbers an example is conditioned on.
    """
    if support.columns:
        return Columns(support, statistics, condition)
    return (Counted if support.kind == "counts" else Standardised)(shape, condition)


class Entry(nn.Module):
    """What is known of x → the encoder's input, of this ``shape``."""

    shape: tuple[int, ...]


class Standardised(Entry):
    """x in standard units, zero where it is not known; a condition as further channels, the same at each place."""

    def __init__(self, shape: tuple[int, ...], condition: int = 0) -> None:
        super().__init__()
        self.shape: tuple[int, ...] = (shape[0] + condition, *shape[1:])

    def forward(self, x: Tensor, mask: Tensor | None, condition: Tensor | None, shift: Tensor, scale: Tensor) -> Tensor:
        x = (x - shift) / scale
        if mask is not None:
            x = torch.where(mask, x, 0.0)  # what is not observed tells nothing: the mean stands in for it
        return x if condition is None else torch.cat([x, _spread(condition, x)], 1)


class Counted(Standardised):
    """The same of counts: log(1 + x) − log(1 + mean), as they range over orders of magnitude."""

    def forward(self, x: Tensor, mask: Tensor | None, condition: Tensor | None, shift: Tensor, scale: Tensor) -> Tensor:
        return super().forward(x.log1p(), mask, condition, shift.log1p(), torch.ones_like(scale))


def _spread(condition: Tensor, x: Tensor) -> Tensor:
    return condition.view(*condition.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])


class Columns(Entry):
    """The numbers of columns, each by its kind, with the mask; a condition beside them."""

    numbers: list[int]
    levels: dict[int, int]
    log: Tensor
    count: Tensor
    logs: Tensor

    def __init__(self, support: Support, statistics: Statistics, condition: int = 0) -> None:
        super().__init__()
        kinds = [column.kind for column in support.columns]
        self.numbers = [i for i, kind in enumerate(kinds) if kind != "categories"]
        self.levels = {i: support.columns[i].size for i, kind in enumerate(kinds) if kind == "categories"}
        logs = torch.zeros(2, len(kinds)) if statistics.logs is None else statistics.logs
        self.register_buffer(
            "log", torch.tensor([kind == "positive" for kind in kinds])[self.numbers], persistent=False
        )
        self.register_buffer(
            "count", torch.tensor([kind == "counts" for kind in kinds])[self.numbers], persistent=False
        )
        self.register_buffer("logs", logs[:, self.numbers].clone())
        self.shape: tuple[int, ...] = (len(self.numbers) + sum(self.levels.values()) + len(kinds) + condition,)

    def forward(self, x: Tensor, mask: Tensor | None, condition: Tensor | None, shift: Tensor, scale: Tensor) -> Tensor:
        mask = torch.ones_like(x) if mask is None else mask.to(x.dtype)
        found, shift, scale = x[:, self.numbers], shift[self.numbers], scale[self.numbers]
        log = (found.clamp_min(torch.finfo(x.dtype).tiny).log() - self.logs[0]) / self.logs[1]
        count = found.clamp_min(0).log1p() - shift.clamp_min(0).log1p()
        plain = (found - shift) / scale
        parts = [torch.where(self.log, log, torch.where(self.count, count, plain)) * mask[:, self.numbers]]
        for i, levels in self.levels.items():
            places = torch.arange(levels, dtype=x.dtype, device=x.device)
            parts.append((1 - (x[:, i : i + 1] - places).abs()).clamp_min(0) * mask[:, i : i + 1])
        parts.append(1 - mask)
        return torch.cat(parts if condition is None else [*parts, condition], 1)
