"""Inference without an encoder: a q of its own for each example, found by gradient ascent while the model stands still.

All that a layer's q(z_l | z_<l, x) knows of x are the numbers e_l that the encoder gives for it, its evidence. So for each x
the family has as many members as there are e, and the best of them is

    e* = argmax_e L(e),   L(e) = E_q(z|e)[ log p(x, z) − log q(z|e) ]

Bounds of different examples have no number in common, and Adam treats each number by itself: many examples climb at once,
and no one matters to another. They climb in rounds. In each the step falls to zero, so that noise is averaged out; after
it the new q is kept for those examples alone for which it is better, by draws that no step has seen, and the next begins
with half the step. The climb is over when a round, the first aside, does not raise the mean by more than ``enough``.

The gradient is the path's without the score (STL), whose noise vanishes as q nears the posterior: of the two pathwise ones it
gets as far in a quarter of the steps. Where z has no path it is that of the score function (RLOO).

A family that is richer whatever the model's is: its members bent by maps with weights of their own
(:mod:`taut.networks.bend`). It begins at the members that it bends.

How good several q's are together. With K draws from each of J of them,

    log p̂(x) = log (1/JK) Σ_j Σ_k p(x, z_jk) / (1/J) Σ_i q_i(z_jk)

has a mean of at most log p(x) whatever the q's are, since p(x) is the mean of what the logarithm is taken of (the balance
heuristic: Veach and Guibas 1995). Nothing is chosen by its result, so that no choice can flatter it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut.data import Batch
from taut.distributions import Bent, drawn, fold
from taut.errors import InputError
from taut.evaluation.bounds import outputs, samples_at_once
from taut.evaluation.coordinates import glance, require_exact
from taut.evaluation.subject import Tick
from taut.layers.base import LayerModule
from taut.model import VAE, Pick, Site, Step, Trace, draw
from taut.networks import Bend
from taut.networks.base import Modules
from taut.objectives import ELBO, RLOO, STL, Estimator, Learner
from taut.training import seeded

__all__ = [
    "Bending",
    "Climb",
    "Local",
    "Weighed",
    "climb",
    "estimators",
    "examples_at_once",
    "has_local",
    "require_local",
    "weigh",
]

EXAMPLES = 64  # that climb at once, at most
ELEMENTS = 2**23  # of decoder output for one draw of each of them, at most
NUMBERS = 2**24  # of a flow for all of them, at most
JUDGED = 100  # draws an example by which a round is judged, where no other number is given


class Local(nn.Module):
    """q(z|x) of B examples, each told by numbers of its own what the encoder would have told it.

    It is called as the model is, and of the batch it asks nothing. Every parameter's leading axis is B.

    Args:
        vae: the model, which keeps its weights.
        evidence: what each layer is told at first, (B, width) one a layer.
        condition: what each example is conditioned on, (B, C).
    """

    evidence: nn.ParameterList
    layers: list[LayerModule]

    def __init__(self, vae: VAE, evidence: Sequence[Tensor], condition: Tensor | None = None) -> None:
        super().__init__()
        self.condition, self._make = condition, lambda *told: Local(vae, *told)
        self.evidence = nn.ParameterList(e.detach().clone() for e in evidence)
        self.layers, self._descend, self._root = list(vae.layers), vae.descend, vae.root  # its weights are not ours

    def __len__(self) -> int:
        return len(self.evidence[0])

    def at(self, site: Site, samples: int) -> Site:
        """A site of a walk with so many samples of each example, as these q's see it."""
        return replace(site, evidence=fold(self.evidence[site.index], samples))

    def forward(self, batch: Batch | None = None, samples: int = 1, pick: Pick = draw) -> Trace:
        """The pass with this q: K samples of each of the B examples."""
        nothing = [None] * len(self.layers)
        return self._descend(
            self._root(samples * len(self), self.condition), nothing, lambda site: pick(self.at(site, samples)), samples
        )

    def some(self, rows: Tensor) -> Local:
        """The q's of some of the examples, by their index (M,)."""
        return self._make([e[rows] for e in self.evidence], None if self.condition is None else self.condition[rows])

    def numbers(self) -> list[Tensor]:
        """All parameters as they are now."""
        return [parameter.detach().clone() for parameter in self.parameters()]

    @torch.no_grad()
    def put(self, numbers: Sequence[Tensor], rows: Tensor) -> None:
        """Take other parameters, those of some examples alone, (B,) of truth values."""
        for parameter, value in zip(self.parameters(), numbers, strict=True):
            parameter[rows] = value[rows]


class Bending(Local):
    """Another such q, bent in each layer by a map of each example's own; at first it is that q.

    Args:
        vae: the model, whose latents are real numbers.
        plain: what is bent.
        couplings: of each map.
        hidden: width of the networks in them.
    """

    bends: Modules[Bend]

    def __init__(self, vae: VAE, plain: Local, couplings: int = 4, hidden: int = 32) -> None:
        super().__init__(vae, plain.evidence, plain.condition)
        with torch.no_grad():
            trace = plain(samples=JUDGED)
        h, bends = vae.root(JUDGED * len(plain), plain.condition), []
        for layer, step in zip(vae.layers, trace.steps, strict=True):
            h = layer.enter(h)
            (centre, spread), above = (_moments(values, JUDGED) for values in (step.z, h))
            bends.append(Bend(centre, spread, above, couplings, hidden))
            h = layer.merge(h, step.z)
        self.bends = Modules(bends)

    def at(self, site: Site, samples: int) -> Site:
        site = super().at(site, samples)
        return replace(site, layer=_BentLayer(site.layer, self.bends[site.index]))


class _BentLayer(LayerModule):
    def __init__(self, layer: LayerModule, bend: Bend) -> None:
        super().__init__()
        self.layer, self.bend, self.reads_prior = layer, bend, layer.reads_prior

    def prior(self, h: Tensor) -> Distribution:
        return self.layer.prior(h)

    def posterior(self, h: Tensor, e: Tensor, p: Distribution | None) -> Bent:
        return Bent(self.layer.posterior(h, e, p), self.bend, h.flatten(1))


def _moments(values: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the samples of each example, (K·B, …) → (B, D) each; the deviation is never 0."""
    apart = values.flatten(1).unflatten(0, (samples, len(values) // samples))
    mean = apart.mean(0)
    deviation = (apart - mean).square().mean(0).sqrt()
    return mean, torch.where(deviation > 0, deviation, 1.0)


class Climb(NamedTuple):
    """What a climb tells.

    Attributes:
        steps: how many were taken.
        rise: by how much the last round raised the bound of each example, (B,) nats.
    """

    steps: int
    rise: Tensor


def climb(
    local: Local,
    batch: Batch,
    gradient: Sequence[Estimator],
    rate: float = 0.05,
    samples: int = 8,
    steps: int = 100,
    rounds: int = 4,
    enough: float = 0.01,
    judged: int = JUDGED,
    tick: Tick = lambda share: None,
) -> Climb:
    """Raise the bounds of a batch by gradient ascent, in place, while the model stands still.

    Args:
        local: where it starts.
        batch: the B examples.
        gradient: its estimator in each layer.
        rate: step size of Adam at the start of the first round; that of each next begins at half of the one before.
        samples: draws an example and step.
        steps: in a round.
        rounds: at most.
        enough: nats; a round after the first that raises the mean over the batch by no more is the last.
        judged: draws an example by which a round is judged.
        tick: told the share of the most that may be done.
    """
    learner = Learner(local, ELBO(samples=samples, estimator=tuple(gradient)))
    for done in range(rounds):
        before, seed = local.numbers(), int(torch.randint(2**62, ()))
        level = _judged(local, batch, judged, samples, seed)
        optimiser = torch.optim.Adam(local.parameters(), betas=(0.9, 0.99))
        for i in range(steps):
            falling = 0.5 * (1 + math.cos(math.pi * i / steps))
            optimiser.param_groups[0]["lr"] = rate * 0.5**done * falling
            optimiser.zero_grad()
            learner(batch, 1.0).loss.backward()
            optimiser.step()
            tick((done * steps + i + 1) / (rounds * steps))
        rise = _judged(local, batch, judged, samples, seed) - level
        local.put(before, ~(rise > 0))  # what is no number is no rise
        rise = rise.nan_to_num().clamp_min(0)
        if done and rise.mean() <= enough:  # the first may have failed by too long a step alone
            break
    return Climb((done + 1) * steps, rise)


@torch.no_grad()
def _judged(local: Local, batch: Batch, draws: int, at_once: int, seed: int) -> Tensor:
    """L of each example, (B,) nats, by draws of a seed: the same noise for whatever is compared."""
    with seeded(seed, batch.x.device):
        pieces = [local(batch, k).log_weight(batch).double() for k in _parts(draws, at_once)]
    return torch.cat(pieces).mean(0)


class Weighed(NamedTuple):
    """What several q's are worth, by the same draws; on the host, nats.

    Attributes:
        elbo: (J, B) the bound L of each.
        importance: (B,) log p̂(x), by all of them together.
        ess: (B,) effective number of the J·K draws.
    """

    elbo: Tensor
    importance: Tensor
    ess: Tensor


@torch.no_grad()
def weigh(vae: VAE, locals: Sequence[Local], batch: Batch, samples: int, tick: Tick = lambda share: None) -> Weighed:
    """What the q's of the examples of a batch are worth, by K draws from each.

    Args:
        vae: the model.
        locals: J q's of the batch.
        batch: the examples.
        samples: K.
        tick: told the share that is done.
    """
    first = second = torch.full((len(batch.x),), -math.inf, dtype=torch.float64, device=batch.x.device)
    parts, bounds = _parts(samples, samples_at_once(vae, len(batch.x))), []
    for j in range(len(locals)):
        total = 0.0
        for i, k in enumerate(parts):
            log_joint, log_q = _walk(vae, locals, j, batch, k)
            total = total + (log_joint - log_q[j]).sum(0)
            log_weight = log_joint - log_q.logsumexp(0) + math.log(len(locals))
            first = torch.logaddexp(first, log_weight.logsumexp(0))
            second = torch.logaddexp(second, (2 * log_weight).logsumexp(0))
            tick((j + (i + 1) / len(parts)) / len(locals))
        bounds.append(total / samples)
    importance = first - math.log(len(locals) * samples)
    return Weighed(torch.stack(bounds).cpu(), importance.cpu(), (2 * first - second).exp().cpu())


def _walk(vae: VAE, locals: Sequence[Local], j: int, batch: Batch, samples: int) -> tuple[Tensor, Tensor]:
    """log p(x, z), (K, B), and log q_i(z), (J, K, B), for draws of the j-th."""
    densities: list[Tensor] = []

    def pick(site: Site) -> Step:
        q = [local.at(site, samples).q for local in locals]
        z, log_q = drawn(q[j])
        densities.append(torch.stack([log_q if i == j else each.log_prob(z) for i, each in enumerate(q)]).double())
        return Step(q[j], site.p, z, log_q)

    trace = vae.descend(vae.root(samples * len(batch.x), batch.condition), [None] * len(vae.layers), pick, samples)
    log_joint = trace.log_likelihood(batch).double() + trace.log_prior().double()
    return log_joint, sum(densities).view(len(locals), samples, -1)


def _parts(samples: int, at_once: int) -> list[int]:
    """K in parts of so many."""
    return [min(at_once, samples - done) for done in range(0, samples, at_once)]


def examples_at_once(vae: VAE) -> int:
    """How many examples may climb together."""
    flow = sum(size * (size + 256) for size in (math.prod(layer.event) for layer in vae.layers))
    return max(1, min(EXAMPLES, ELEMENTS // outputs(vae), NUMBERS // flow))


def estimators(vae: VAE, batch: Batch) -> tuple[Estimator, ...]:
    """The gradient that each layer's q can be found by."""
    return tuple(STL() if step.q.has_rsample else RLOO() for step in vae(batch).steps)


def is_point(vae: VAE) -> bool:
    """Whether some layer's q has all of its mass on one value."""
    steps = zip(vae.layers, glance(vae).steps, strict=True)
    return any(not getattr(step.q, "proper", True) or (layer.q.values is not None and step.q.has_rsample)
               for layer, step in steps)  # fmt: skip


def has_local(vae: VAE) -> bool:
    """Whether a q can be found for an example."""
    try:
        require_local(vae, "")
    except InputError:
        return False
    return True


def require_local(vae: VAE, what: str) -> None:
    """Refuse a model in which no q can be found for an example, or whose importance weights would be none.

    Args:
        vae: the model.
        what: the option that asks for it.

    Raises:
        InputError: with the reason.
    """
    trace = glance(vae)
    for density in (trace.likelihood, *(each for step in trace.steps for each in (step.p, step.q))):
        require_exact(density, what)
    if not vae.layers:
        raise InputError(what, "needs latents, and the model has none", "leave it out: its ELBO is log p(x) itself")
    if not vae.prior_first:
        raise InputError(what, "finds what each layer is told of an example, and Upward layers are told by one another",
                         "leave it out, or train layers that are Plain")  # fmt: skip
    for layer, step in zip(vae.layers, trace.steps, strict=True):
        if not getattr(step.q, "proper", True):
            raise InputError(what, "needs a q with a density, and the model's is a point", "train another posterior")
        if layer.q.values is not None and step.q.has_rsample:
            name = type(step.q).__name__
            raise InputError(what, f"needs a q with a spread, and all mass of {name} is on one value of z",
                             "leave it out: the ELBO is exact for that value")  # fmt: skip
