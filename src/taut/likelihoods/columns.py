"""A likelihood made of a part for each column of a table."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch import distributions as td

from taut import distributions
from taut.data import Statistics, Support
from taut.distributions import Affine, Columnwise, Factorised, LogScaled
from taut.errors import InputError
from taut.likelihoods.base import LARGEST, Head, HeadModule, Likelihood, bounded
from taut.likelihoods.continuous import Gaussian
from taut.likelihoods.counts import ZeroInflatedNegativeBinomial
from taut.likelihoods.discrete import Bernoulli, Categorical
from taut.networks.base import Modules

__all__ = ["Columns", "LogNormal", "Rounded"]


@dataclass(frozen=True)
class LogNormal(Likelihood):
    """log x ~ N(μ, σ²), for x > 0: what is multiplied together, such as incomes and sizes.

    Args:
        floor: the smallest σ, in units of the standard deviation of log x over the data.
    """

    continuous: ClassVar[bool] = True

    floor: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.floor < math.inf:
            raise InputError("floor", f"is {self.floor:g}", "give a number above 0")

    def fits(self, support: Support) -> bool:
        return support.kind == "positive"

    def outputs(self, support: Support) -> int:
        return 2

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return torch.zeros(2, *statistics.mean.shape)

    def units(self, support: Support, statistics: Statistics) -> tuple[Tensor, Tensor]:
        if statistics.logs is None:  # as good as is known: those of a log-normal with this mean and deviation
            variance = (1 + (statistics.std / statistics.mean).square()).log().nan_to_num(1.0, 1.0).clamp_min(1e-6)
            return statistics.mean.clamp_min(1e-30).log() - variance / 2, variance.sqrt()
        return statistics.logs[0], statistics.logs[1]

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        mean, raw = params.unbind(1)
        return td.Normal(mean, bounded(raw, math.log(self.floor), LARGEST).exp(), validate_args=False)

    def build(self, shape: tuple[int, ...], support: Support, statistics: Statistics) -> HeadModule:
        return _LogHead(self, support, statistics)


class _LogHead(Head):
    def forward(self, out: Tensor) -> Factorised:
        base = self.spec.elementwise(self.params(out), self.shared, self.support)
        return Factorised(LogScaled(Affine(base, self.shift, self.scale)))


@dataclass(frozen=True)
class Rounded(Likelihood):
    """A logistic variable rounded to whole numbers, of any sign and without an end: a probability, so nothing is dequantised.

    Args:
        floor: the smallest scale s, in whole numbers.
    """

    floor: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.floor < math.inf:
            raise InputError("floor", f"is {self.floor:g}", "give a number above 0")

    def fits(self, support: Support) -> bool:
        return support.kind == "real" and support.whole

    def outputs(self, support: Support) -> int:
        return 2

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return torch.zeros(2, *statistics.mean.shape)

    def units(self, support: Support, statistics: Statistics) -> tuple[Tensor, Tensor]:
        return statistics.mean, statistics.std

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return distributions.Rounded(*params.unbind(1))

    def build(self, shape: tuple[int, ...], support: Support, statistics: Statistics) -> HeadModule:
        return _RoundedHead(self, support, statistics)


class _RoundedHead(Head):
    """μ and log s in units of the column's mean and deviation: those of a logistic variable are π s / √3."""

    shift: Tensor
    scale: Tensor

    spec: Rounded

    def __init__(self, spec: Rounded, support: Support, statistics: Statistics) -> None:
        super().__init__(spec, support, statistics)
        shift, scale = spec.units(support, statistics)
        self.register_buffer("shift", shift.clone())
        self.register_buffer("scale", scale.clone())

    def forward(self, out: Tensor) -> Factorised:
        location, raw = self.params(out).unbind(1)
        unit = (self.scale * math.sqrt(3) / math.pi).log()
        low = math.log(self.spec.floor) - unit
        params = torch.stack([self.shift + self.scale * location, unit + bounded(raw, low, LARGEST)], 1)
        return Factorised(self.spec.elementwise(params, self.shared, self.support))


@dataclass(frozen=True)
class Columns(Likelihood):
    """For each column of a table the likelihood of its kind: log p(x|z) is the sum over the cells that are known.

    Columns are independent given z, so what is left to each must hold its shape: zeros apart from other counts, as of gains
    that few make, and of few levels a chance each, as of years of school that end with a degree.

    Args:
        real: of real numbers.
        positive: of numbers above 0.
        whole: of whole numbers of any size.
        counts: of whole numbers from 0.
        ordinal: of few whole numbers, which have an order.
        binary: of zeros and ones.
        categories: of names, which have none.
    """

    real: Likelihood = Gaussian()
    positive: Likelihood = LogNormal()
    whole: Likelihood = Rounded()
    counts: Likelihood = ZeroInflatedNegativeBinomial()
    ordinal: Likelihood = Categorical()
    binary: Likelihood = Bernoulli()
    categories: Likelihood = Categorical()

    joint: ClassVar[bool] = True

    def fits(self, support: Support) -> bool:
        return bool(support.columns)

    def outputs(self, support: Support) -> int:
        return 1

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        raise NotImplementedError("a column at a time has its own")

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return torch.zeros(1, *statistics.mean.shape)

    def part(self, column: Support) -> Likelihood:
        """The likelihood of a column.

        Raises:
            InputError: where the one that was given for the kind is none of it.
        """
        part = getattr(self, column.word)
        if part.joint or not part.fits(column) or (part.density(column) and column.discrete):
            problem = f"is {part.name}, which is no likelihood of a column of {column}"
            raise InputError(f"model.likelihood.{column.word}", problem, "choose another, or leave it out")
        return part

    def in_words(self, support: Support) -> str:
        names = Counter(self.part(column).name for column in support.columns)
        return ", ".join(f"{name} for {n}" for name, n in names.items())

    def build(self, shape: tuple[int, ...], support: Support, statistics: Statistics) -> HeadModule:
        return _Columns(self, support, statistics)


class _Columns(HeadModule):
    """(N, 1, T) → p(x|z), T the sum of what the columns ask for; ``shape`` is what the decoder's body writes."""

    dequantise = False

    def __init__(self, spec: Columns, support: Support, statistics: Statistics) -> None:
        super().__init__()
        self.spec, self.support, self.outputs = spec, support, 1
        self.width = len(support.columns)
        groups: dict[tuple[Likelihood, Support], list[int]] = {}
        for i, column in enumerate(support.columns):
            groups.setdefault((spec.part(column), column), []).append(i)
        self.index = list(groups.values())
        self.heads = Modules(
            part.build((len(index),), column, _started(statistics.of(index)))
            for (part, column), index in groups.items()
        )
        for head, (_, column), index in zip(self.heads, groups, self.index, strict=True):
            if column.kind == "categories" and statistics.shares is not None:
                with torch.no_grad():
                    head.offset.copy_(torch.stack([statistics.shares[i] for i in index], 1).log())
        self.sizes = [head.outputs * len(index) for head, index in zip(self.heads, self.index, strict=True)]
        self.shape = (sum(self.sizes),)

    def forward(self, out: Tensor) -> Columnwise:
        groups = [
            (head(some.unflatten(1, (head.outputs, -1))), index)
            for head, index, some in zip(self.heads, self.index, out[:, 0].split(self.sizes, 1), strict=True)
        ]
        return Columnwise(groups, self.width)


def _started(statistics: Statistics) -> Statistics:
    return Statistics(statistics.mean, statistics.std, statistics.logs)
