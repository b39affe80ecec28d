"""What can be coded, and the refusal of what cannot."""

from __future__ import annotations

from taut.config import Part
from taut.data import Support
from taut.errors import InputError
from taut.layers import fits
from taut.likelihoods import Likelihood
from taut.model import Model
from taut.posteriors import Posterior
from taut.priors import Prior

__all__ = ["require_codable"]

MOST_LEVELS = 2**27  # probabilities of one example


def require_codable(model: Model, support: Support, size: int, conditioned: int = 0) -> None:
    """Refuse a model that has a part without one-dimensional conditionals to code by.

    Args:
        model: as the data resolved it.
        support: the values that an element of x can take.
        size: how many elements x has.
        conditioned: how many numbers the model is conditioned on.

    Raises:
        InputError: naming the part, the reason, and the parts that could.
    """
    if conditioned:
        raise InputError("data.condition", "is what x is coded given, and would have to be sent beside it",
                         "compress with a model without conditions")  # fmt: skip
    for i, layer in enumerate(model.layers):
        if layer.upwards:
            raise InputError("model.layers", "are Upward, and bits-back coding asks for each prior before its z is picked",
                             "compress with layers that are Plain or Spatial")  # fmt: skip
        beside = [name for name in _codable(Posterior) if fits(layer.prior, Posterior.members[name]())]
        _require(layer.posterior, "model.posterior", _why_not(layer.posterior), beside or _codable(Posterior))
        beside = [name for name in _codable(Prior) if fits(Prior.members[name](), layer.posterior)]
        beside = [name for name in beside if i or Prior.members[name].alone]
        _require(layer.prior, "model.prior", _why_not(layer.prior), beside)
    why = "it has no probabilities of one element after the other"
    if support.kind == "counts":
        why = f"{support} have no greatest value"
    elif support.kind == "columns":
        why = "columns of a table are not coded yet"
    elif support.levels is None or model.likelihood.continuous:
        why = "real numbers have no finite code"
    fitting = [name for name in _codable(Likelihood) if Likelihood.members[name]().fits(support)]
    _require(model.likelihood, "model.likelihood", why, fitting)
    if size * (support.levels or 1) > MOST_LEVELS:
        problem = f"of {size:,} elements with {support.levels:,} levels each have too many probabilities to code by"
        raise InputError("data", problem, "give data of fewer levels, or smaller ones")


def _codable(family: type[Part]) -> list[str]:
    return [name for name, member in sorted(family.members.items()) if member.codable]


def _require(part: Part, field: str, why: str, could: list[str]) -> None:
    if not part.codable:
        mend = f"those that can are {', '.join(could)}" if could else "no likelihood of such data can"
        raise InputError(field, f"is {type(part).__name__}, which cannot be coded: {why}", mend)


def _why_not(part: Prior | Posterior) -> str:
    if not getattr(part, "proper", True):
        return "a point has no density, so that its bits cannot be had back"
    if part.space == "sphere":
        return "directions have no bins of one number after the other"
    if part.heavy:
        return "it has no variance to lay bins by"
    return "it has no density of one latent after the other"
