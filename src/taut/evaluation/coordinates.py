"""log p(x, z) of given x, in coordinates to walk in and to sum over.

A layer whose density r(z_l | z_<l) knows the noise behind a value, z_l = T(ε_l) with ε_l ~ N(0, I), has that for coordinates;
any other has z_l itself. With u the coordinates of all layers side by side, a vector of R^D,

    r(u) = Π_l N(ε_l; 0, I) or r(z_l | z_<l),   w(u) = p(x, z)/r(z),   r(u) w(u) du = p(x, z) dz

so that ∫ r w du = p(x), and the density of u given x is r w/p(x). For r there are two choices:

    prior        r = p(z),     w = p(x|z)
    posterior    r = q(z|x),   w = p(x, z)/q(z|x)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.data import Batch
from taut.distributions import NonCentred, fold, worst
from taut.distributions.exactness import in_words
from taut.errors import InputError
from taut.model import VAE, Pick, Site, Step, Trace
from taut.training import seeded

__all__ = ["Coordinates", "Start", "glance", "require_exact", "require_real", "still"]

Start: TypeAlias = Literal["prior", "posterior"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Coordinates:
    """The coordinates of M = K·B samples, K of each of B examples.

    Args:
        vae: the model, its weights not learning.
        batch: the examples, (M, *shape).
        evidence: for r = q(z|x) what the encoder tells each layer, (M, …); else none of it.
    """

    vae: VAE
    batch: Batch
    evidence: Sequence[Tensor | None]

    @classmethod
    def of(cls, vae: VAE, batch: Batch, samples: int, start: Start) -> Coordinates:
        """K samples of each example of a batch, sample-major."""
        many = Batch(*(None if field is None else fold(field, samples) for field in batch))
        if start == "prior":
            return cls(vae, many, [None] * len(vae.layers))
        with torch.no_grad():
            return cls(vae, many, [fold(e, samples) for e in vae.evidence(batch)])

    @property
    def sizes(self) -> list[int]:
        """How many coordinates each layer has."""
        return [math.prod(layer.event) for layer in self.vae.layers]

    @torch.no_grad()
    def drawn(self) -> Tensor:
        """u ~ r, (M, D)."""
        found: dict[int, Tensor] = {}

        def pick(site: Site) -> Step:
            r = site.q
            if isinstance(r, NonCentred):
                u = torch.randn((len(site.h), *r.event_shape), dtype=site.h.dtype, device=site.h.device)
                z, log_r = r.from_noise(u)
            else:
                u = z = r.sample()
                log_r = r.log_prob(z)
            found[site.index] = u.flatten(1)
            return Step(r, site.p, z, log_r)

        self._descend(pick)
        return _side_by_side(found)

    @torch.no_grad()
    def of_values(self, values: Sequence[Tensor]) -> Tensor:
        """The u (M, D) of values z of each layer, (M, *event)."""
        found: dict[int, Tensor] = {}

        def pick(site: Site) -> Step:
            r, z = site.q, values[site.index]
            found[site.index] = (r.to_noise(z) if isinstance(r, NonCentred) else z).flatten(1)
            return Step(r, site.p, z, z.new_zeros(len(z)))

        self._descend(pick)
        return _side_by_side(found)

    def trace(self, u: Tensor) -> tuple[Trace, Tensor]:
        """What the walk through u (M, D) leaves behind, and log r(u), (M,) nats."""
        parts, log_base = u.split(self.sizes, 1), []

        def pick(site: Site) -> Step:
            r, part = site.q, parts[site.index]
            if isinstance(r, NonCentred):
                z, log_r = r.from_noise(part.view(-1, *r.event_shape))
                log_base.append(-0.5 * (part.square().sum(1) + part.shape[1] * _LOG_2PI))
            else:
                z = part.view(-1, *r.event_shape)
                log_r = r.log_prob(z)
                log_base.append(log_r)
            return Step(r, site.p, z, log_r)

        trace = self._descend(pick)
        return trace, sum(log_base)

    def __call__(self, u: Tensor) -> Tensor:
        """log r(u) and log w(u), (2, M) nats, for u (M, D)."""
        trace, log_base = self.trace(u)
        log_weight = trace.log_likelihood(self.batch)[0]
        for step in trace.steps:
            if step.q is not step.p:
                log_weight = log_weight + step.log_p - step.log_q
        return torch.stack([log_base, log_weight])

    def _descend(self, pick: Pick) -> Trace:
        return self.vae.descend(self.vae.root(len(self.batch.x), self.batch.condition), self.evidence, pick)


def _side_by_side(found: dict[int, Tensor]) -> Tensor:
    """What was found of each layer, top first, in whichever order the walk came by them: some walk from the data up."""
    return torch.cat([found[i] for i in sorted(found)], 1)


@contextlib.contextmanager
def still(vae: VAE) -> Iterator[VAE]:
    """The model in evaluation with weights that want no gradient, so that only coordinates have one."""
    learning = [weight for weight in vae.parameters() if weight.requires_grad]
    was_training = vae.training
    vae.eval()
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield vae
    finally:
        for weight in learning:
            weight.requires_grad_(True)
        vae.train(was_training)


def require_real(vae: VAE, what: str, start: Start = "prior") -> None:
    """Refuse a model whose latents cannot be walked through or whose densities are not exact.

    Args:
        what: the option that asks for it.

    Raises:
        InputError: with what serves instead.
    """
    instead = "take the importance-weighted bound: --samples 5000"
    trace = glance(vae)
    for density in (trace.likelihood, *(step.p for step in trace.steps)):
        require_exact(density, what)
    if not vae.layers:
        raise InputError(what, "integrates over latents, and the model has none", "leave it out: its ELBO is exact")
    for layer in vae.layers:
        if layer.space != "real":
            kind = {"sphere": "points of a sphere", "categories": "categories", "bits": "zeros and ones"}[layer.space]
            raise InputError(what, f"needs latents that are real numbers, and the model's are {kind}", instead)
    if start == "posterior" and not trace.proper:
        raise InputError(
            "start", "is posterior, and a point posterior has no density", "start from the prior (--start prior)"
        )


def glance(vae: VAE) -> Trace:
    """The pass of one example, the mean of the data, to see of what kind the densities are."""
    with still(vae), seeded(0, vae.shift.device), torch.no_grad():
        return vae(Batch(vae.shift.unsqueeze(0), condition=vae.shift.new_zeros(1, vae.conditioned)))


def require_exact(density: Distribution, what: str) -> None:
    """Refuse a density that is itself an estimate.

    Raises:
        InputError: with what serves instead.
    """
    if (kind := worst(density)) != "exact":
        raise InputError(
            what, f"needs exact densities, and {type(density).__name__} is {in_words(kind)}", "read its ELBO"
        )
