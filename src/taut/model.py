"""The model: one ordered list of stochastic layers, one walk down it, one trace left behind.

A generative model is a list of stochastic layers, top first, threaded by a state h and ending in a likelihood:

    h₀ → z₁ ~ p(z₁|h₀) → h₁ → z₂ ~ p(z₂|h₁) → … → p(x|h_L)

Training, generation, reconstruction, coding and annealing are the same walk, :meth:`VAE.descend`; they differ only in
``pick``, which says how a z is chosen. What the walk leaves behind is a :class:`Trace`, and everything after the model
reads traces and never asks which model made them. With K samples of B examples,

    distortion   −log p(x | z)                          (K, B) nats
    rate         Σ_l KL( q(z_l | z_<l, x) ‖ p(z_l | z_<l) )   (K, B) nats
    log_weight   log p(x, z) − log q(z | x)             (K, B) nats

    ELBO = E[ −distortion − rate ] = E[ log_weight ] ≤ log p(x)

Inside the walk the batch axis is K·B, sample-major; only the trace unfolds it.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut.data import Batch, Statistics, Support
from taut.distributions import (
    Chain,
    Columnwise,
    Diffusion,
    Divergence,
    Exactness,
    Factorised,
    central,
    divergence,
    fold,
    once,
    sampled,
    taken,
    tempered,
    worst,
)
from taut.distributions.factorised import scaled
from taut.errors import InputError
from taut.layers import Layer, Plain, default_prior
from taut.layers.base import Features, LayerModule
from taut.likelihoods import Likelihood, default_likelihood, require_fit
from taut.likelihoods.base import HeadModule
from taut.networks import MLP, Conv, Network, Pyramid, Tower, by_depth, entry
from taut.networks.base import Modules
from taut.networks.entry import Standardised
from taut.posteriors import DiagonalNormal, Posterior
from taut.priors import EncoderPrior, Prior
from taut.spans import span

__all__ = ["VAE", "Model", "Pick", "Site", "Step", "Trace", "UpwardVAE", "centre", "draw", "follow", "pick_prior"]


@dataclass(frozen=True)
class Site:
    """Where a value is to be picked: one layer in the course of a pass, over N = K·B samples.

    Attributes:
        index: which layer, 0 at the top.
        layer: the layer.
        h: what the layers above hand down, (N, state).
        evidence: what the encoder tells the layer, (N, …); ``None`` where there is none.
        p: p(z_l | z_<l).
    """

    index: int
    layer: LayerModule
    h: Tensor
    evidence: Tensor | None
    p: Distribution

    @once
    def q(self) -> Distribution:
        """q(z_l | z_<l, x); the prior itself where there is no evidence."""
        return self.posterior(self.h)

    def posterior(self, h: Tensor) -> Distribution:
        """q as the state h would have it."""
        return self.p if self.evidence is None else self.layer.posterior(h, self.evidence, self._placed(h))

    def _placed(self, h: Tensor) -> Distribution:
        """p as the state h would have it, where q is placed by p."""
        return self.layer.prior(h) if self.layer.reads_prior and h is not self.h else self.p

    @contextlib.contextmanager
    def stopped(self) -> Iterator[Distribution]:
        """q with its parameters stopped: gradients pass through it to z and h, and reach no weight of inference.

        What is asked of it must be asked inside the context.
        """
        weights = [weight for weight in self.layer.parameters() if weight.requires_grad]
        for weight in weights:
            weight.requires_grad_(False)
        try:
            p = self.layer.prior(self.h) if self.layer.reads_prior else self.p
            yield p if self.evidence is None else self.layer.posterior(self.h, self.evidence.detach(), p)
        finally:
            for weight in weights:
                weight.requires_grad_(True)


@dataclass(frozen=True)
class Step:
    """What was picked at a site.

    Attributes:
        q: q(z_l | z_<l, x); the prior itself where there was no evidence.
        p: p(z_l | z_<l).
        z: the value picked, (N, *event).
        told: log q(z), (N,) nats, where it came with the draw: a flow cannot cheaply invert.
        density: the density to take log q(z) from instead of q's, its parameters stopped, where an estimator asks for it;
            the divergence is then sampled.
        drawn: z as far as it depends on the parameters of q, for estimators that weigh that path; else ``None``.
    """

    q: Distribution
    p: Distribution
    z: Tensor
    told: Tensor | None = None
    density: Distribution | None = None
    drawn: Tensor | None = None

    @once
    def kl(self) -> Divergence:
        """KL(q ‖ p) of this layer, its parts (N, G) nats."""
        if self.density is not None:
            return sampled(self.density, self.p, self.z, lambda: self.log_q, lambda: self.log_p)
        return divergence(self.q, self.p, self.z, lambda: self.log_q, lambda: self.log_p)

    @once
    def log_q(self) -> Tensor:
        """log q(z_l | z_<l, x), (N,) nats; not asked for where a divergence has a closed form."""
        return self.q.log_prob(self.z) if self.told is None else self.told

    @once
    def log_p(self) -> Tensor:
        """log p(z_l | z_<l), (N,) nats."""
        return self.p.log_prob(self.z)

    @property
    def extras(self) -> dict[str, Tensor]:
        """Named terms (N,) that the posterior adds to the loss and that are part of no bound."""
        return getattr(self.q, "extras", {})


Pick = Callable[[Site], Step]

Decoded: TypeAlias = Factorised | Columnwise | Chain | Diffusion
"""What a decoder gives: densities of x that can be told which elements were observed."""


@dataclass(frozen=True)
class Trace:
    """What one pass leaves behind: K samples of B examples.

    Attributes:
        steps: one a layer, top first.
        likelihood: p(x|z), batch shape (K·B,); its ``log_prob`` takes x (B, *shape), each example for all its K draws.
        samples: K.
        zero: (K·B,) zeros, what a sum over no layers is.
    """

    steps: Sequence[Step]
    likelihood: Decoded
    samples: int
    zero: Tensor | float = 0.0

    def unfold(self, values: Tensor) -> Tensor:
        """(K·B, …) → (K, B, …)."""
        return values.view(self.samples, -1, *values.shape[1:])

    def log_likelihood(self, batch: Batch) -> Tensor:
        """log p(x|z) of the observed elements, (K, B) nats."""
        return self.unfold(self.given(batch).log_prob(batch.x, batch.mask))

    def given(self, batch: Batch) -> Decoded:
        """p(x|z) with what is known of the scale of each example."""
        return self.likelihood if batch.offset is None else scaled(self.likelihood, fold(batch.offset, self.samples))

    def distortion(self, batch: Batch) -> Tensor:
        """−log p(x|z), (K, B) nats."""
        return -self.log_likelihood(batch)

    def rate(self) -> Tensor:
        """Σ_l KL(q_l ‖ p_l), (K, B) nats; closed form where one exists. Zero for a model without latents."""
        return self._sum([step.kl.total for step in self.steps])

    def log_prior(self) -> Tensor:
        """log p(z), (K, B) nats."""
        return self._sum([step.log_p for step in self.steps])

    def log_posterior(self) -> Tensor:
        """log q(z|x), (K, B) nats."""
        return self._sum([step.log_q for step in self.steps])

    def _sum(self, terms: Sequence[Tensor]) -> Tensor:
        return self.unfold(torch.as_tensor(sum(terms, self.zero)))

    def log_weight(self, batch: Batch) -> Tensor:
        """log p(x, z) − log q(z|x), (K, B) nats."""
        return self.log_likelihood(batch) + self.log_prior() - self.log_posterior()

    @property
    def proper(self) -> bool:
        """Whether every posterior has a density, so that an evidence lower bound exists."""
        return all(getattr(step.q, "proper", True) for step in self.steps)

    @property
    def exactness(self) -> Exactness:
        """What the weights are: the worst of what its densities are."""
        return worst(self.likelihood, *(density for step in self.steps for density in (step.q, step.p)))


def draw(site: Site) -> Step:
    """Pick a draw from q, reparameterised where q knows how: what bounds use, and training by the pathwise estimator."""
    return Step(site.q, site.p, *taken(site.q))


def centre(site: Site) -> Step:
    """Pick q's mean, or where that is no value of z the one that stands for it: deterministic codes."""
    z = central(site.q)
    return Step(site.q, site.p, z)


def pick_prior(temperature: float | Sequence[float] = 1.0) -> Pick:
    """Pick a draw from the prior at a temperature, one or one a layer: generation."""
    each = [temperature] if isinstance(temperature, Real) else temperature

    def pick(site: Site) -> Step:
        z = tempered(site.p, each[site.index] if len(each) > 1 else each[0]).sample()
        return Step(site.q, site.p, z, site.p.log_prob(z))

    return pick


def follow(values: Sequence[Tensor], below: Pick | None = None) -> Pick:
    """Pick the given values, one (N, *event) a layer, top first: decoding and editing. Where they are of the first layers
    alone, ``below`` picks the others: so a picture is drawn anew with its top kept."""

    def pick(site: Site) -> Step:
        if site.index >= len(values) and below is not None:
            return below(site)
        if site.index >= len(values):
            raise InputError("values", f"are of {len(values)} layers, and the model has more", "give one a layer")
        return Step(site.q, site.p, values[site.index])

    return pick


class VAE(nn.Module):
    """Encoder, stochastic layers and decoder; :meth:`forward` is the pass with evidence, :meth:`generate` the one without.

    Args:
        encoder: (B, *shape) → (B, features), its input standardised.
        layers: modules with the four questions of :mod:`taut.layers.base`, top first.
        decoder: (N, state) → a distribution of x.
        statistics: mean and standard deviation that standardise the encoder's input.
        bounds: the smallest and the largest value that x can take; none for real numbers.
        entry: x with what is known of it → the encoder's input; x in standard units if left open.
        conditioned: C, how many numbers each example is conditioned on.
    """

    entry: nn.Module
    encoder: nn.Module
    layers: Modules[LayerModule]
    decoder: nn.Module
    shift: Tensor
    scale: Tensor
    prior_first: ClassVar[bool] = True  # whether each z is picked where its p is known

    def __init__(
        self,
        encoder: nn.Module,
        layers: Sequence[LayerModule],
        decoder: nn.Module,
        statistics: Statistics,
        bounds: tuple[float, float] | None = None,
        entry: nn.Module | None = None,
        conditioned: int = 0,
    ) -> None:
        super().__init__()
        self.conditioned = conditioned
        self.entry = entry or Standardised(statistics.mean.shape)
        self.encoder, self.layers, self.decoder = encoder, Modules(layers), decoder
        self.register_buffer("shift", statistics.mean.clone())
        self.register_buffer("scale", statistics.std.clone())
        for module in list(self.layers.modules()):
            if isinstance(module, EncoderPrior):
                module.bind(self.infer, self.stamp, statistics, bounds)

    @property
    def dequantise(self) -> bool:
        """Whether x must be given as whole numbers plus uniform noise: a density of data that have a probability."""
        return getattr(self.decoder, "dequantise", False)

    def evidence(self, batch: Batch) -> list[Tensor]:
        """What the encoder tells each layer; once per example, (B, …) each."""
        if not self.layers:
            return []
        condition = self.told(batch.condition)
        with span("encoder"):
            features = self.encoder(self.entry(batch.x, batch.mask, condition, self.shift, self.scale))
            return [layer.evidence(features) for layer in self.layers]

    def infer(self, x: Tensor) -> Distribution:
        """q(z|x) of the top layer for x (N, *shape) in the data's units; no prior has a say in it."""
        top = self.layers[0]
        features = self.encoder(self.entry(x, None, None, self.shift, self.scale))
        return top.posterior(top.enter(self.root(len(x))), top.evidence(features), None)

    def learn(self, which: Literal["all", "prior", "codes", "inference"]) -> None:
        """Let everything learn, the priors of the layers alone, all but them, or of these what makes q alone.

        Raises:
            InputError: where nothing would learn.
        """
        everything = set(self.parameters())
        priors = {weight for layer in self.layers for weight in layer.p.parameters()}
        learning = {
            "all": everything,
            "prior": priors,
            "codes": everything - priors,
            "inference": everything - priors - set(self.decoder.parameters()),
        }[which]
        if not learning:
            raise InputError("training.stages", f"has one that learns the {which} alone, and there is nothing in it to learn",
                             "choose a prior with weights, such as Mixture, or leave the stage out")  # fmt: skip
        for weight in everything:
            weight.requires_grad_(weight in learning)

    def stamp(self) -> Hashable | None:
        """A value that changes when a weight is set, averaged or loaded: for what is kept between passes of evaluation.

        None while weights are learning: fused optimisers leave no mark on what they change.
        """
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in self.parameters()):
            return None
        return tuple((tensor.data_ptr(), tensor._version) for tensor in (*self.parameters(), *self.buffers()))

    def root(self, n: int, condition: Tensor | None = None) -> Tensor:
        """h₀, (n, C): it carries batch size, device, dtype and what the model is conditioned on.

        Args:
            n: rows.
            condition: (B, C), each for n/B rows, sample-major; of a model without conditions it is none.

        Raises:
            InputError: where the model is conditioned on something and is not told what.
        """
        condition = self.told(condition)
        return self.shift.new_zeros(n, 0) if condition is None else fold(condition, n // len(condition))

    def told(self, condition: Tensor | None) -> Tensor | None:
        """The condition in the model's own type; none of a model without one, whatever the data bring.

        Raises:
            InputError: where the model is conditioned on something and is not told what.
        """
        if not self.conditioned:
            return None
        if condition is None:
            raise InputError("condition", "is not given, and the model is conditioned on one", "say --condition VALUE, or "
                             "give data that have it")  # fmt: skip
        return condition.to(self.shift)

    def descend(self, h: Tensor, evidence: Sequence[Tensor | None], pick: Pick, samples: int = 1) -> Trace:
        """Walk down the layers, threading h; where a layer has no evidence its posterior is its prior.

        Args:
            h: the root state, (K·B, …).
            evidence: one item a layer, (K·B, …) or ``None``.
            pick: chooses the value at a site.
            samples: K, by which the trace unfolds.
        """
        zero = h.new_zeros(len(h))
        with span("latents"):
            steps, h = self.walk(h, evidence, pick)
        with span("decoder"):
            return Trace(steps, self.decoder(h), samples, zero)

    def walk(self, h: Tensor, evidence: Sequence[Tensor | None], pick: Pick) -> tuple[list[Step], Tensor]:
        """The same as far as the decoder: the steps, and the state that it would be given."""
        steps = []
        for i, (layer, e) in enumerate(zip(self.layers, evidence, strict=True)):
            h = layer.enter(h)
            steps.append(pick(Site(i, layer, h, e, layer.prior(h))))
            h = layer.merge(h, steps[-1].z)
        return steps, h

    def forward(self, batch: Batch, samples: int = 1, pick: Pick = draw) -> Trace:
        """The pass with evidence: K samples of each of B examples."""
        evidence = self.evidence(batch)
        if samples > 1:
            evidence = [fold(e, samples) for e in evidence]
        return self.descend(self.root(samples * len(batch.x), batch.condition), evidence, pick, samples)

    def generate(self, n: int, pick: Pick, condition: Tensor | None = None) -> Trace:
        """The pass without evidence: n draws from the model, or the decodings of given latents, given a condition (n, C)."""
        return self.descend(self.root(n, condition), [None] * len(self.layers), pick)


class UpwardVAE(VAE):
    """q(z|x) = q(z_L|x) Π_l q(z_l | z_{l+1}), of layers that are ``Upward``: another producer of the one trace.

    With evidence, z is picked from the lowest layer up, and only then is each p(z_l | z_{l−1}) known; without it the walk is
    every model's, from the top down.
    """

    prior_first = False

    def __init__(self, encoder: nn.Module, layers: Sequence[Any], *others: Any) -> None:
        for above, below in zip(layers, layers[1:], strict=False):
            above.join(below)
        super().__init__(encoder, layers, *others)

    def walk(self, h: Tensor, evidence: Sequence[Tensor | None], pick: Pick) -> tuple[list[Step], Tensor]:
        if all(e is None for e in evidence):
            return super().walk(h, evidence, pick)
        if any(e is None for e in evidence):
            raise InputError("layers", "are each told by the one below: none can be left out", "give evidence of all")
        steps: list[Step] = []
        below = h
        for i in reversed(range(len(self.layers))):
            layer = self.layers[i]
            # what z is expected to be is known once the z above is
            steps.insert(0, pick(Site(i, layer, below, evidence[i], None)))  # pyright: ignore[reportArgumentType]
            below = layer.q.told(steps[0].z).flatten(1)
        for i, layer in enumerate(self.layers):
            h = layer.enter(h)
            # p(z_l | z_{l−1}) is of a draw that depends on z_l: no expectation over z_l alone can be taken, but at the top
            density = steps[i].density if i == 0 else steps[i].density or steps[i].q
            steps[i] = replace(steps[i], p=layer.prior(h), density=density)
            h = layer.merge(h, steps[i].z)
        return steps, h


def _features(network: Network, encoder: nn.Module) -> Features:
    """What an encoder says that it gives.

    Raises:
        InputError: where it says nothing.
    """
    given: Features | None = getattr(encoder, "features", None)
    if given is None:
        raise InputError("model.network", f"{type(network).__name__} makes an encoder that says no width",
                         "give the module the attribute features")  # fmt: skip
    return given


class _Decoder(nn.Module):
    def __init__(self, body: nn.Module, head: HeadModule) -> None:
        super().__init__()
        self.body, self.head = body, head

    @property
    def dequantise(self) -> bool:
        return self.head.dequantise

    def forward(self, h: Tensor) -> Distribution:
        return self.head(self.body(h))


@dataclass(frozen=True)
class Model:
    """The model section of a configuration: each part chosen on its own.

    Args:
        latents: how many latent dimensions a layer has; by the data's size if left open.
        prior: p(z) of the top layer; by the posterior's space if left open, N(0, I) where that is of real numbers.
        posterior: the family of q(z|x).
        likelihood: p(x|z); by the data's support if left open.
        network: the bodies of encoder and decoder; by the data's shape if left open.
        layers: the stochastic layers, top first.
    """

    latents: int | None = None
    prior: Prior | None = None
    posterior: Posterior = DiagonalNormal()
    likelihood: Likelihood | None = None
    network: Network | None = None
    layers: tuple[Layer, ...] = (Plain(),)

    def __post_init__(self) -> None:
        if self.latents is not None and self.latents < 1:
            raise InputError("latents", f"is {self.latents}", "give 1 or more")

    def resolved(self, shape: tuple[int, ...], support: Support, conditioned: int = 0) -> Model:
        """This model with everything that was left open decided by the data, each of whose examples is ``conditioned`` on so
        many numbers.

        Raises:
            InputError: where the likelihood does not fit the support.
        """
        likelihood = self.likelihood or default_likelihood(support)
        require_fit(likelihood, support)
        self._require_use()
        size = support.numbers or torch.Size(shape).numel()
        latents = self.latents or max(1, min(size // 2, 40 if size < 2000 else 64))
        network = self.network or default_network(shape, any(layer.maps for layer in self.layers))
        layers = spread(self.layers, network)
        if conditioned and any(layer.upwards for layer in layers):
            raise InputError("data.condition", "is given, and layers that are Upward hand down z alone, so that p(x|z) would "
                             "not be told", "choose layers that are Plain or Spatial")  # fmt: skip
        # with a condition there is something above the top layer too
        first = default_prior(layers[0].posterior or self.posterior, top=False) if conditioned and layers else None
        layers = tuple(layer.filled(latents, self.prior or first, self.posterior, top=i == 0)
                       for i, layer in enumerate(layers))  # fmt: skip
        if layers:  # what the model says is what its top layer has
            latents, prior, posterior = layers[0].latents, layers[0].prior, layers[0].posterior
            return replace(self, latents=latents, prior=prior, posterior=posterior, likelihood=likelihood, network=network,
                           layers=layers)  # fmt: skip
        return replace(self, likelihood=likelihood, network=network)

    @property
    def chosen(self) -> tuple[Likelihood, Network]:
        """The likelihood and the network of a model that is resolved.

        Raises:
            InputError: where it is not.
        """
        if self.likelihood is None or self.network is None:
            raise InputError(
                "model", "leaves its likelihood or its network open", "resolve it by the data first: resolved(…)"
            )
        return self.likelihood, self.network

    @property
    def exactness(self) -> Exactness:
        """What its log-weights are, and without layers its log p(x): the worst of what its parts say of theirs."""
        return worst(self.likelihood, *(part for layer in self.layers for part in (layer.prior, layer.posterior)))

    def _require_use(self) -> None:
        """Refuse latents or a posterior of the model where every layer names another of its own, and so a prior at the top."""
        top = self.layers[0].prior if self.layers else None
        if top is not None and self.prior not in (None, top):
            raise InputError("model.prior", "is given, and the top layer of model.layers has its own",
                             "leave it out, or change it in the layer")  # fmt: skip
        for field, blank in (("latents", None), ("posterior", DiagonalNormal())):
            given, own = getattr(self, field), [getattr(layer, field, None) for layer in self.layers]
            if given != blank and own and None not in own and given not in own:
                raise InputError(f"model.{field}", "is given, and every layer of model.layers has its own",
                                 "leave it out, or change it in the layers")  # fmt: skip

    def build(self, shape: tuple[int, ...], support: Support, statistics: Statistics, conditioned: int = 0) -> VAE:
        """The module; random initial weights come from torch's default generator."""
        spec = self.resolved(shape, support, conditioned)
        likelihood, network = spec.chosen
        head = likelihood.build(shape, support, statistics)
        read = entry(shape, support, statistics, conditioned)
        encoder = network.encoder(read.shape) if spec.layers else nn.Identity()
        by_depth([encoder])
        layers, state = [], conditioned
        for layer in spec.layers:
            layers.append(layer.build(_features(network, encoder), state))
            state = layers[-1].state
        by_depth(layers)
        with warnings.catch_warnings():  # without layers nothing comes in, and the first map is its bias alone
            warnings.filterwarnings("ignore", "Initializing zero-element tensors", UserWarning)
            body = network.decoder(state, getattr(head, "shape", shape), head.outputs)
        kind = UpwardVAE if any(layer.upwards for layer in spec.layers) else VAE
        return kind(encoder, layers, _Decoder(body, head), statistics, support.bounds, read, conditioned)


def spread(layers: Sequence[Layer], network: Network) -> tuple[Layer, ...]:
    """All layers of a model one by one, top first.

    Raises:
        InputError: where they and the network do not fit, or a scale lies above a coarser one.
    """
    name = type(network).__name__
    for layer in layers:
        if layer.maps and not network.maps:
            part, able = type(layer).__name__, [n for n, m in sorted(Network.members.items()) if m.maps]
            raise InputError("model.layers", f"has {part}, which reads maps, and the network {name} gives one vector",
                             f"choose one of the networks {', '.join(able)}")  # fmt: skip
    every = tuple(one for layer in layers for one in layer.spread(network.scales))
    if len({layer.upwards for layer in every}) > 1:
        parts = ", ".join(dict.fromkeys(type(layer).__name__ for layer in every))
        raise InputError(
            "model.layers", f"are {parts}: of some q is told from below, of others from above", "choose one way"
        )
    scales = [layer.scale for layer in every if layer.maps]
    if scales != sorted(scales, reverse=True):
        raise InputError("model.layers", f"have the scales {', '.join(map(str, scales))} from the top down",
                         "put coarser ones, of larger numbers, first")  # fmt: skip
    return every


def default_network(shape: tuple[int, ...], maps: bool = False) -> Network:
    """Bodies that do well without tuning: convolutions for images of 16 pixels a side or more, else perceptrons."""
    if maps:
        return Pyramid() if len(shape) == 3 and min(shape[1:]) >= 8 else Tower()
    if len(shape) == 3 and shape[1] == 1 and shape[2] >= 16:  # a signal: halved until 32 places or fewer are left
        return Conv((32, *[64] * max(1, math.ceil(math.log2(shape[2] / 32)) - 1)))
    if len(shape) == 3 and min(shape[1:]) >= 16:
        return Conv()
    return MLP()
