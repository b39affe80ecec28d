"""How noise comes in: γ(t), the logarithm of the noise-to-signal ratio of a diffusion, rising over t from 0 to 1.

    γ(t) = γ_0 + (γ_1 − γ_0) u(t),   u(0) = 0,  u(1) = 1,  u' > 0

    linear     through given values at equal distances in time, straight in between; with two of them, one line
    cosine     γ = 2 log tan(π τ/2), τ running evenly between the times of the ends         (Nichol and Dhariwal 2021)
    learned    u of B straight pieces, whose rises are u_b = (1 − δ) softmax(w)_b + δ/B      and γ_0, γ_1 too

The third is any rising function as B grows, and rises whatever its weights are; Kingma et al. (2021) have a network of
positive weights in its place. It begins as the straight line.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from taut.errors import InputError

__all__ = ["Noise"]

MOST = 20.0  # |γ|: beyond it single precision tells signal or noise from nothing
LEAST = 0.1  # δ: what of the straight line stays in a learned one


@dataclass(frozen=True)
class Noise:
    """The course of the noise of a diffusion.

    Args:
        course: ``linear`` or ``cosine``, which stay as they are; or ``learned``, that makes the bound tight by its ends
            and its estimate less noisy in between.
        gamma: log σ²/α² at equal distances in time, rising; two numbers are its ends, where a learned one begins. By
            the data if left open.
        pieces: B, of a learned one.

    >>> course = Noise(gamma=(-8.0, 0.0, 4.0)).build()
    >>> course.between(torch.tensor([0.0, 0.25, 0.75, 1.0]))[0] * 12 - 8
    tensor([-8., -4.,  2.,  4.])
    """

    course: Literal["linear", "cosine", "learned"] = "linear"
    gamma: tuple[float, ...] = ()
    pieces: int = 32

    def __post_init__(self) -> None:
        if self.pieces < 1:
            raise InputError("pieces", f"is {self.pieces}", "give 1 or more")
        if not self.gamma:
            return
        shown, example = ", ".join(f"{value:g}" for value in self.gamma), "such as -10,6"
        if len(self.gamma) < 2:
            raise InputError("gamma", f"is {shown} alone", f"give it at the start and at the end, {example}")
        if not all(abs(value) <= MOST for value in self.gamma):
            raise InputError("gamma", f"is {shown}, and beyond ±{MOST:g} signal or noise is nothing",
                             f"give logarithms of σ²/α², {example}")  # fmt: skip
        if not all(before < after for before, after in itertools.pairwise(self.gamma)):
            raise InputError(
                "gamma", f"is {shown}, and noise must grow at every time", f"give rising numbers, {example}"
            )
        if self.course != "linear" and len(self.gamma) > 2:
            raise InputError("gamma", f"is {shown}, and a {self.course} course only has ends",
                             f"give two, {example}, or say linear")  # fmt: skip

    def build(self, ends: tuple[float, float] = (-10.0, 6.0)) -> nn.Module:
        """The module: a :class:`taut.distributions.NoiseCourse`, with these ends where none are given."""
        gamma = self.gamma or ends
        if self.course == "cosine":
            return _Cosine(*gamma)
        return _Learned(*gamma, self.pieces) if self.course == "learned" else _Linear(gamma)


class _Fixed(nn.Module):
    ends: Tensor

    def __init__(self, first: float, last: float) -> None:
        super().__init__()
        self.register_buffer("ends", torch.tensor([first, last]), persistent=False)


class _Linear(_Fixed):
    rises: Tensor

    def __init__(self, gamma: tuple[float, ...]) -> None:
        super().__init__(gamma[0], gamma[-1])
        values = torch.tensor(gamma, dtype=torch.float64)
        self.register_buffer("rises", (values.diff() / (values[-1] - values[0])).float(), persistent=False)

    def between(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return _pieces(self.rises.to(t.dtype), t)


class _Cosine(_Fixed):
    def __init__(self, first: float, last: float) -> None:
        super().__init__(first, last)
        # τ and 1 − τ at both ends, each found without a difference
        self.low, self.high = (
            [math.atan(math.exp(sign * end / 2)) * 2 / math.pi for end in (first, last)] for sign in (1, -1)
        )

    def between(self, t: Tensor) -> tuple[Tensor, Tensor]:
        first, last = self.ends.to(t.dtype)
        x, y = (0.5 * math.pi * (side[0] * (1 - t) + side[1] * t) for side in (self.low, self.high))
        gamma = 2 * (x.sin().log() - y.sin().log())
        slope = math.pi * (self.low[1] - self.low[0]) / (x.sin() * y.sin())
        return (gamma - first) / (last - first), slope / (last - first)


class _Learned(nn.Module):
    def __init__(self, first: float, last: float, pieces: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor(first))
        self.log_width = nn.Parameter(torch.tensor(last - first).log())
        self.weights = nn.Parameter(torch.zeros(pieces))

    @property
    def ends(self) -> Tensor:
        first = self.first.clamp(-MOST, MOST - 1)
        return torch.stack([first, (first + self.log_width.exp()).clamp(max=MOST)])

    def between(self, t: Tensor) -> tuple[Tensor, Tensor]:
        rises = (1 - LEAST) * self.weights.softmax(0) + LEAST / len(self.weights)
        return _pieces(rises.to(t.dtype), t)


def _pieces(rises: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """u and u' of t (M,), straight in pieces of equal length that rise by so much, (B,)."""
    count = len(rises)
    place = (t * count).floor().clamp(0, count - 1)
    index = place.long()
    before = rises.cumsum(0) - rises
    return before[index] + rises[index] * (t * count - place), count * rises[index]
