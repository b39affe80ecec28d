"""Two models on the same examples, compared in pairs: the difference of a bound, example by example.

    Δ_i = bound_A(x_i) − bound_B(x_i),       mean Δ ± std(Δ)/√N          nats

Examples differ much more among themselves than two models differ on one of them, so the error of the mean difference is a
fraction of the errors of the two means. It only means something if both bounds are of the same kind, of the same draws of the
same examples; what is unlike is refused by name. That a bound may be tighter for one model than for the other stays true, and
is why the tightest bound that both can be given is the one to compare.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from taut.errors import InputError
from taut.training import standard_error

__all__ = ["Paired", "paired", "require_alike"]

ALIKE = {
    "examples": "test examples",
    "support": "support",
    "binarisation": "binarisation",
    "density": "kind of likelihood",
    "measure": "bound",
    "k": "number of samples k",
    "n": "number of examples",
    "index": "choice of examples",
    "seed": "seed of the draws",
}
"""What must be equal, and what it is called."""


@dataclass(frozen=True)
class Paired:
    """The difference of two models in a bound.

    Attributes:
        differences: (N,), first minus second, nats.
        means: of the two bounds.
        bounds: what is known of each model, in words: a bound, or log p(x) itself.
    """

    differences: Tensor
    means: tuple[float, float]
    bounds: tuple[str, str]

    @property
    def what(self) -> str:
        """What is compared, in words."""
        return " and ".join(dict.fromkeys(self.bounds))

    @property
    def mean(self) -> float:
        """Nats by which the first is better."""
        return float(self.differences.mean())

    @property
    def stderr(self) -> float:
        """Of the mean."""
        return standard_error(self.differences)

    @property
    def wins(self) -> float:
        """The share of examples on which the first is better."""
        return float((self.differences > 0).double().mean())

    def verdict(self) -> str:
        """What the difference says, in words.

        >>> import torch
        >>> Paired(torch.tensor([1.0, 1.2, 0.8]), (-80.0, -81.0), ("ELBO", "ELBO")).verdict()
        'the first is better'
        """
        if not abs(self.mean) > 2 * self.stderr:
            return "no difference that the examples show: it is within two standard errors"
        return f"the {'first' if self.mean > 0 else 'second'} is better"

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as JSON can hold them."""
        return {
            "bound": self.what, "n": len(self.differences), "first": self.means[0], "second": self.means[1],
            "difference": self.mean, "stderr": self.stderr, "wins": self.wins, "verdict": self.verdict(),
        }  # fmt: skip


def require_alike(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    mend: str = "compare runs of the same data, read the same way",
    but: Collection[str] = (),
) -> None:
    """Refuse to compare results that are not of the same thing.

    Args:
        first, second: what each is a result of, as :attr:`taut.evaluation.Subject.identity` says it, with the settings of a
            measurement where there is one.
        mend: what to do about it.
        but: names of what may differ.

    Raises:
        InputError: naming what differs.
    """
    unlike = [name for name in ALIKE if name not in but and first.get(name) != second.get(name)]
    if unlike:
        name = unlike[0]
        sides = [_said(name, some) for some in (first, second)]
        shown = f": {sides[0]} and {sides[1]}" if sides[0] != sides[1] else ""
        raise InputError("diff", f"the two runs are unlike in their {ALIKE[name]}{shown}", mend)


def _said(name: str, some: Mapping[str, Any]) -> str:
    if name == "density":
        return "a density" if some.get(name) else "a probability"
    if name in ("examples", "index"):
        return str(some.get("data"))
    return str(some.get(name))


def paired(first: Tensor, second: Tensor, *bounds: str) -> Paired:
    """The difference of two bounds of the same examples, (N,) each, in nats, called by one name or each by its own."""
    return Paired(first - second, (float(first.mean()), float(second.mean())), (bounds[0], bounds[-1]))
