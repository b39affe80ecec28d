"""Which likelihood goes with which data, and the refusal of those that are none."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from taut.data import Support
from taut.errors import InputError
from taut.likelihoods.base import Likelihood
from taut.likelihoods.columns import Columns, LogNormal
from taut.likelihoods.continuous import ContinuousBernoulli, Gaussian
from taut.likelihoods.counts import NegativeBinomial
from taut.likelihoods.discrete import Bernoulli, Binomial, DiscretisedLogistic

__all__ = ["default_likelihood", "require_fit"]


def default_likelihood(support: Support) -> Likelihood:
    """The likelihood that a support asks for when the user names none.

    {0, 1}: Bernoulli. Few levels: binomial (categorical is the freer choice). Many levels, as in pictures: discretised
    logistic. Counts: negative binomial. Above 0: log-normal. Columns: each its own.
    [0, 1]: continuous Bernoulli. Any other numbers: Gaussian with learned
    variance, standardised.
    """
    if support.kind == "binary":
        return Bernoulli()
    if support.kind == "integers":
        return Binomial() if support.size <= 32 else DiscretisedLogistic()
    if support.kind == "counts":
        return NegativeBinomial()
    if support.kind == "positive":
        return LogNormal()
    if support.columns:
        return Columns()
    return ContinuousBernoulli() if support.kind == "unit" else Gaussian()


def require_fit(likelihood: Likelihood, support: Support, missing: bool = False) -> None:
    """Refuse a likelihood that is neither a probability nor a density of such data, some cells of which may be ``missing``.

    Raises:
        InputError: with the likelihoods that would fit, and what would make this one fit: to binarise, or to call
            integers counts.
    """
    fits = _fits(likelihood, support)
    if fits and not (missing and likelihood.entire):
        return
    for option, part in () if fits else likelihood.within.items():
        _require_within(likelihood, option, part, support)
    fitting = []
    for name, member in sorted(Likelihood.members.items()):
        if _fits(member(), support) and not (missing and member.entire):
            fitting.append(_named(name, support))
    if fits:
        why = f"is {likelihood.name}, a model of all elements together, and some cells of the data are missing"
        raise InputError("model.likelihood", why, f"fill them in, or choose {', '.join(fitting)}")
    mend = f"{support}{', some of them missing,' * missing} fit {', '.join(fitting)}"
    if isinstance(likelihood, Bernoulli) and support.kind in ("integers", "unit"):
        mend += "; or binarise with --data.binarize dynamic"
    if likelihood.fits(Support("counts")) and support.kind in ("binary", "integers"):
        mend += "; or call them counts, with no greatest value, by --data.support counts"
    raise InputError("model.likelihood", f"{likelihood.name} is no likelihood of {support}", mend)


def _fits(likelihood: Likelihood, support: Support) -> bool:
    """Whether it is a probability or density of all of x: no density is one of columns that have probabilities, too."""
    return likelihood.fits(support) and not (support.mixed and likelihood.density(support))


def _require_within(likelihood: Likelihood, option: str, part: Likelihood, support: Support) -> None:
    """Refuse a likelihood that was given to one that would fit but for it."""
    if not replace(likelihood, **{option: None}).fits(support):
        return
    fitting = []
    for name, member in sorted(Likelihood.members.items()):
        with contextlib.suppress(InputError):  # it may be one that no element has
            if replace(likelihood, **{option: member()}).fits(support):
                fitting.append(_named(name, support))
    mend = f"{support} fit {', '.join(fitting)}; or leave it out" if fitting else "leave it out"
    raise InputError(f"model.likelihood.{option}", f"{part.name} is no likelihood of {support}", mend)


def _named(name: str, support: Support) -> str:
    return f"Binomial({support.size - 1})" if name == "Binomial" else name
