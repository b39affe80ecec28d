"""One contract for every member of every family, read from the registries: a part that joins a family is tested here
without a line being added."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from taut.config import options, parse, to_tree
from taut.data import Batch, Statistics, Support
from taut.distributions import DiagonalNormal as Normal
from taut.distributions import Sampling, central, divergence, drawn, worst
from taut.errors import InputError
from taut.layers import Layer, default_prior, fits
from taut.likelihoods import Bernoulli, Likelihood
from taut.model import Model
from taut.networks import MLP, Conv, Denoiser, Network, Noise
from taut.objectives import Estimator, Learner, Objective, Penalty, Schedule
from taut.posteriors import DiagonalNormal, Posterior
from taut.priors import EncoderPrior, Prior, StandardNormal
from taut.training import Optimiser

torch.set_num_threads(1)

FAMILIES = (Prior, Posterior, Likelihood, Network, Denoiser, Layer, Objective, Estimator, Penalty, Schedule, Optimiser)
MEMBERS = [(family, name) for family in FAMILIES for name in sorted(family.members)]
SHAPES = ((5,), (1, 9, 7), (3, 8, 8))
SUPPORTS = (
    Support("binary", 2),
    Support("integers", 5),
    Support("integers", 256),
    Support("counts"),
    Support("unit"),
    Support("positive"),
    Support("real"),
    Support("real", whole=True),
)


def members(family: type) -> Any:
    specs = [family.members[name]() for name in sorted(family.members)]
    return pytest.mark.parametrize("spec", specs, ids=lambda spec: type(spec).__name__)


def seeded(make, seed: int = 0):
    torch.manual_seed(seed)
    return make()


def shaken(module: nn.Module) -> nn.Module:
    """Out of its start, where some weights are zero and hold back the gradient of others."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return module


def reached(value: torch.Tensor, module: nn.Module) -> None:
    """The gradient of a scalar reaches every parameter."""
    parameters = dict(module.named_parameters())
    if not parameters:
        return
    gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    for name, gradient in zip(parameters, gradients, strict=True):
        assert gradient is not None, f"{name} gets no gradient"
        assert torch.isfinite(gradient).all(), f"{name} gets a gradient that is not finite"
        assert gradient.any(), f"{name} gets a gradient of zeros"


def same(one: nn.Module, two: nn.Module) -> None:
    for (name, a), (other, b) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b), name


def takes(network: Network, shape: tuple[int, ...]) -> bool:
    try:
        network.encoder(shape)
    except InputError:
        return False
    return True


@pytest.mark.parametrize(("family", "name"), MEMBERS, ids=lambda v: getattr(v, "__name__", v))
class TestEveryPart:
    def test_is_a_frozen_dataclass_with_defaults(self, family, name):
        member = family.members[name]
        assert dataclasses.is_dataclass(member)
        assert issubclass(member, family)
        assert member.__name__ == name
        assert member() == member()
        assert hash(member()) == hash(member())
        for field in dataclasses.fields(member):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(member(), field.name, None)

    def test_explains_itself(self, family, name):
        member = family.members[name]
        assert member.__doc__
        assert not re.match(rf"{name}\((\w+: |\))", member.__doc__), "the docstring is the one that dataclass writes"
        for option in options(member):
            assert option.help, f"{name}.{option.name} is not explained"
            assert option.kind

    def test_round_trips_through_a_configuration(self, family, name):
        spec = family.members[name]()
        tree = to_tree(spec)
        assert tree["part"] == name
        assert parse(family, tree) == spec
        assert parse(family, name) == spec
        assert to_tree(parse(family, tree)) == tree

    def test_every_option_is_read_and_a_wrong_one_refused(self, family, name):
        member = family.members[name]
        for field in dataclasses.fields(member):
            with pytest.raises(InputError, match=rf"^here\.{field.name}[.:]"):
                parse(family, {"part": name, field.name: {"no": "such"}}, "here")
        with pytest.raises(InputError, match=r"^here\.nonsense: .* has no such option"):
            parse(family, {"part": name, "nonsense": 1}, "here")


class StubEncoder(nn.Module):
    """What a model lends to a prior that reads the encoder."""

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event, self.weight = event, nn.Parameter(torch.randn(5, 2 * math.prod(event)))

    def infer(self, x: torch.Tensor) -> Normal:
        return Normal(*(x @ self.weight).tanh().view(len(x), 2, *self.event).unbind(1))

    def stamp(self) -> int:
        return self.weight._version


def placed(spec: Prior, event: tuple[int, ...], state: int) -> nn.Module | None:
    """The prior's module, or none where it refuses the place."""
    try:
        module = spec.build(event, state)
    except InputError as error:
        assert error.field == "model.prior"
        return None
    if isinstance(module, EncoderPrior):
        stub = StubEncoder(event)
        module.bind(stub.infer, stub.stamp, Statistics(torch.zeros(5), torch.ones(5)), None)
    assert isinstance(module, EncoderPrior) == spec.reads_encoder
    return module


@members(Prior)
def test_every_prior_has_a_place(spec):
    assert any(placed(spec, EVENTS[spec.space or "real"][0], state) for state in (0, 4))
    spec.check(10_000)


EVENTS = {"real": ((3,), (2, 3, 4)), "sphere": ((3,),), "categories": ((3, 4),), "bits": ((3,),)}


def inside(z: torch.Tensor, space: str) -> bool:
    """Whether values (N, *event) lie in a space of latents."""
    if space == "sphere":
        return bool(((z.norm(dim=-1) - 1).abs() < 1e-5).all())
    if space == "categories":
        return bool(((z == 0) | (z == 1)).all() and (z.sum(-1) == 1).all())
    return bool(((z == 0) | (z == 1)).all()) if space == "bits" else bool(z.isfinite().all())


PLACES = [
    pytest.param(spec, event, state, id=f"{type(spec).__name__}-{event}-{state}")
    for spec in (Prior.members[name]() for name in sorted(Prior.members))
    for event in EVENTS[spec.space or "real"]
    for state in (0, 4)
]


@pytest.mark.parametrize(("spec", "event", "state"), PLACES)
def test_priors(spec, event, state):
    module = seeded(lambda: placed(spec, event, state))
    if module is None:
        return
    shaken(module)
    same(module, shaken(seeded(lambda: placed(spec, event, state))))
    p = module(torch.randn(6, state, generator=torch.Generator().manual_seed(0)))
    assert (p.batch_shape, p.event_shape) == ((6,), event)
    assert worst(p) == spec.exactness
    z = p.sample()
    assert z.shape == (6, *event)
    assert inside(z, spec.space or "real")
    log_prob = p.log_prob(z)
    assert log_prob.shape == (6,)
    assert torch.isfinite(log_prob).all()
    assert p.sample((2,)).shape == (2, 6, *event)
    assert p.log_prob(p.sample((2,))).shape == (2, 6)
    assert not z.requires_grad
    with contextlib.suppress(NotImplementedError):  # flows know no mean
        assert p.mean.shape == (6, *event)
    if hasattr(p, "log_prob_parts"):
        torch.testing.assert_close(p.log_prob_parts(z).sum(1), log_prob)
    if list(module.parameters()):
        reached(log_prob.sum(), module)


FAMILY = [
    pytest.param(spec, event, id=f"{type(spec).__name__}-{event}")
    for spec in (Posterior.members[name]() for name in sorted(Posterior.members))
    for event in ((spec.event(3), (2, 3, 4)) if spec.event(3) == (3,) and spec.space == "real" else (spec.event(3),))
]


@pytest.mark.parametrize(("spec", "event"), FAMILY)
def test_posteriors(spec, event):
    module = shaken(seeded(lambda: spec.build(event)))
    params = torch.randn(6, module.width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    q = module(params)
    assert (q.batch_shape, q.event_shape) == ((6,), module.event)
    assert worst(q) == "exact", "bounds weigh by log q(z)"
    z, log_q = seeded(lambda: drawn(q))
    assert z.shape == q.mean.shape == central(q).shape == (6, *module.event)
    assert log_q.shape == (6,)
    assert torch.isfinite(log_q).all()
    assert torch.isfinite(q.mean).all()
    if spec.varied and not spec.heavy:
        assert q.variance.shape == q.mean.shape
        assert (q.variance >= 0).all()
    if spec.weighable:
        torch.testing.assert_close(q.log_prob(z.detach()), log_q, rtol=1e-4, atol=1e-3)
    if hasattr(q, "log_prob_parts"):
        torch.testing.assert_close(q.log_prob_parts(z).sum(1), q.log_prob(z))
    # everything that the encoder says reaches what is drawn, or its density, or a divergence
    rate = divergence(q, module.over(prior_for(spec, event)), z, log_q).parts.sum()
    told = (z * torch.arange(1.0, 1 + z.numel()).view_as(z)).sum() + log_q.sum() + rate
    (gradient,) = torch.autograd.grad(told, params)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).any(0).all(), "some number of the encoder does nothing"
    wild = module(torch.full((2, module.width), 1e4))
    assert torch.isfinite(drawn(wild)[0]).all(), "an encoder that says 10,000 breaks it"
    assert torch.equal(seeded(lambda: drawn(q)[0]), z)
    module.eval()
    still = module(params.detach())
    assert central(still).shape == (6, *module.event)
    if not spec.heavy and module.event == event:  # z is what the prior is of, and no embedding of it
        assert inside(drawn(still)[0], spec.space)


def prior_for(posterior: Posterior, event: tuple[int, ...]) -> torch.distributions.Distribution:
    """The plainest prior of a posterior's space, for six examples."""
    return shaken(default_prior(posterior, top=True).build(event, 0))(torch.zeros(6, 0))


def headed(spec: Likelihood, shape: tuple[int, ...], support: Support) -> nn.Module | None:
    """The likelihood's module, or none where it refuses vectors."""
    top = (support.levels or 2) - 1
    try:
        return spec.build(shape, support, Statistics(torch.full(shape, 0.4 * top), torch.full(shape, 0.3 * top)))
    except InputError as error:
        assert error.field == "model.likelihood"
        assert len(shape) == 1, "images of every size are taken"
        return None


@members(Likelihood)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_likelihoods(spec, shape):
    for support in SUPPORTS:
        if not spec.fits(support):
            continue
        head = seeded(lambda support=support: headed(spec, shape, support))
        if head is None:
            continue
        same(head, seeded(lambda support=support: headed(spec, shape, support)))
        shaken(head)
        assert head.outputs == spec.outputs(support)
        out = torch.randn(6, head.outputs, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        d = head(out)
        assert (d.batch_shape, d.event_shape) == ((6,), shape)
        x = seeded(d.sample)
        assert x.shape == central(d).shape == (6, *shape)
        assert spec.averaged == (not hasattr(d, "centre"))
        assert x.dtype == out.dtype
        assert not x.requires_grad, "a sample carries no gradient"
        assert worst(d) == spec.exactness
        if not spec.density(support):
            support.check(x, "x")
        log_prob = d.log_prob(x)
        assert log_prob.shape == (6,)
        assert torch.isfinite(log_prob).all()
        reached(log_prob.sum(), head)
        (gradient,) = torch.autograd.grad(head(out).log_prob(x).sum(), out)
        assert gradient.flatten(2).any(2).all(), "some number of the decoder does nothing"
        assert torch.equal(seeded(d.sample), x)


@members(Network)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_networks(spec, shape):
    if not takes(spec, shape):
        assert len(shape) == 1, "images of every size are taken"
        return
    encoder = seeded(lambda: spec.encoder(shape))
    same(encoder, seeded(lambda: spec.encoder(shape)))
    features = shaken(encoder)(torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)))
    if spec.maps:
        assert len(features) == spec.scales
        assert [each.shape[1:] for each in features] == [torch.Size(each) for each in encoder.features]
    else:
        assert features.shape == (4, encoder.features)
        features = [features]
    reached(sum(each.square().sum() for each in features), encoder)
    for state in [3, *(encoder.features if spec.maps else [])]:
        decoder = seeded(partial(spec.decoder, state, shape, 2))
        same(decoder, seeded(partial(spec.decoder, state, shape, 2)))
        h = torch.randn(4, *torch.Size([state] if state == 3 else state), generator=torch.Generator().manual_seed(0))
        out = shaken(decoder)(h)
        assert out.shape == (4, 2, *shape), "every size returns to itself"
        reached(out.square().sum(), decoder)
    # examples do not see one another
    encoder.eval().double()
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(2)).double()
    for whole, part in zip(encoder(x), encoder(x[:2]), strict=False) if spec.maps else [(encoder(x), encoder(x[:2]))]:
        torch.testing.assert_close(whole[:2], part)


@members(Denoiser)
@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 11), (1, 1, 5)], ids=str)
def test_denoisers(spec, shape):
    generator = torch.Generator().manual_seed(0)
    z, gamma = torch.randn(4, *shape, generator=generator), torch.linspace(-10, 6, 4)
    h, maps = torch.randn(4, 3, generator=generator), torch.randn(4, 2, *shape, generator=generator)
    for state, count, outputs in ((0, 0, 1), (3, 0, 2), (0, 2, 1), (3, 2, 3)):
        build = lambda sizes=(state, count, outputs): spec.build(shape, *sizes)  # noqa: E731
        try:
            network = seeded(build)
        except InputError as error:
            assert error.field == "denoiser" and len(shape) == 1, "images of every size are taken"
            return
        same(network, seeded(build))
        told = (h if state else None, maps if count else None)
        assert not network(z, gamma, *told).any(), "it starts as the network of N(0, I)"
        out = shaken(network)(z, gamma, *told)
        assert out.shape == (4, outputs, *shape)
        reached(out.square().sum(), network)
        assert not torch.equal(network(z, gamma + 1, *told), out), "it is told the noise"
        # examples do not see one another
        some = [None if each is None else each[:2] for each in told]
        torch.testing.assert_close(network(z[:2], gamma[:2], *some), out[:2])


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 28, 20), (2, 3, 11), (1, 16, 5)], ids=str)
def test_convolutions_of_odd_sizes_return_to_them(shape):
    out = Conv(channels=(4,), hidden=6).decoder(3, shape, 5)(torch.zeros(2, 3))
    assert out.shape == (2, 5, *shape)


def test_convolutions_refuse_what_is_no_image_or_too_small():
    with pytest.raises(InputError, match=r"model.network: convolutions need images.*choose ResidualMLP"):
        Conv().encoder((5,))
    with pytest.raises(InputError, match=r"model.network.channels: has 3 scales for images of 4×9; give at most 2"):
        Conv(channels=(4, 4, 4)).decoder(2, (1, 4, 9), 1)


@members(Layer)
@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("state", [0, 4, (5, 2, 3)], ids=str)
def test_layers(spec, state, maps):
    if spec.maps and not maps:
        return
    top = state == 0
    (one,) = spec.spread(1)
    filled = one.filled(3, StandardNormal() if top else None, DiagonalNormal(), top)
    assert filled == filled.filled(9, StandardNormal(), DiagonalNormal(), top=True), "what is filled stays"
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 7, generator=generator)
    told = 7
    if maps:
        features, told = (torch.randn(6, 8, 4, 5, generator=generator),), ((8, 4, 5),)
    layer = shaken(seeded(lambda: filled.build(told, state)))
    same(layer, shaken(seeded(lambda: filled.build(told, state))))
    h = layer.enter(torch.randn(6, *torch.Size([state] if isinstance(state, int) else state), generator=generator))
    p, e = layer.prior(h), layer.evidence(features)
    q = layer.posterior(h, e, p)
    assert p.event_shape == q.event_shape == layer.event
    assert layer.space == "real"
    z = q.rsample()
    below = layer.merge(h, z)
    assert below.shape == (6, *torch.Size([layer.state] if isinstance(layer.state, int) else layer.state))
    assert torch.isfinite(p.log_prob(z)).all()
    reached(below.square().sum() + p.log_prob(z).sum() + q.log_prob(z).sum(), layer)


def model(shape=(1, 9, 7), **options):
    statistics = Statistics(torch.full(shape, 0.3), torch.full(shape, 0.5))
    spec = Model(latents=3, likelihood=Bernoulli(), network=MLP(hidden=(8,)), **options)
    batch = Batch((torch.rand(6, *shape, generator=torch.Generator().manual_seed(0)) < 0.3).float())
    return shaken(seeded(lambda: spec.build(shape, Support("binary", 2), statistics))), batch


@members(Objective)
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_objectives(spec, beta):
    vae, batch = model()
    learner = Learner(vae, spec)
    outcome = seeded(lambda: learner(batch, beta))
    assert outcome.loss.shape == outcome.distortion.shape == outcome.rate.shape == ()
    assert all(torch.isfinite(term) for term in outcome)
    assert not outcome.distortion.requires_grad
    assert not outcome.rate.requires_grad
    if beta:
        reached(outcome.loss, vae)
    assert torch.equal(seeded(lambda: learner(batch, beta)).loss, outcome.loss)
    for name, value in (("beta", -1.0), ("beta", math.inf), ("beta", math.nan), ("samples", 0)):
        with pytest.raises(InputError, match=f"^{name}: is "):
            type(spec)(**{name: value})


@members(Schedule)
def test_schedules(spec):
    steps = 200
    spec.check(steps, 10)
    factors = [spec.factor(step, steps, 10) for step in range(steps)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[-1] == 1, "the run ends at the full weight"
    assert factors == [spec.factor(step, steps, 10) for step in range(steps)]


@members(Optimiser)
def test_optimisers(spec):
    weight = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimiser = dataclasses.replace(spec, lr=0.05).build([weight])
    assert optimiser.param_groups[0]["lr"] == 0.05
    for _ in range(150):
        optimiser.zero_grad()
        weight.square().sum().backward()
        optimiser.step()
    assert weight.abs().max() < 0.5
    for name, value in (("lr", 0.0), ("lr", -1.0), ("lr", math.inf), ("weight_decay", -1.0)):
        with pytest.raises(InputError, match=f"^{name}: is "):
            type(spec)(**{name: value})


@pytest.mark.parametrize("prior", sorted(Prior.members))
@pytest.mark.parametrize("posterior", sorted(Posterior.members))
@pytest.mark.parametrize("network", sorted(Network.members))
def test_any_prior_posterior_and_network_go_together(prior, posterior, network):
    if not Prior.members[prior].alone:
        return
    if not fits(Prior.members[prior](), Posterior.members[posterior]()):
        with pytest.raises(
            InputError, match=r"^model.posterior: .*; with \w+ go the priors .*; with \w+ the posteriors "
        ):
            Model(latents=3, prior=Prior.members[prior](), posterior=Posterior.members[posterior]()).resolved(
                (5,), Support("binary", 2)
            )
        return
    shape = (1, 9, 7)
    parts = {"prior": Prior.members[prior](), "posterior": Posterior.members[posterior]()}
    spec = Model(latents=3, likelihood=Bernoulli(), network=Network.members[network](), **parts)
    statistics = Statistics(torch.full(shape, 0.3), torch.full(shape, 0.5))
    build = lambda: spec.build(shape, Support("binary", 2), statistics)  # noqa: E731
    vae = seeded(build)
    same(vae, seeded(build))
    batch = Batch((torch.rand(4, *shape) < 0.3).float())
    trace = vae(batch, 2)
    weights = (trace.log_weight(batch),) if spec.posterior.weighable else ()
    for value in (trace.distortion(batch), trace.rate(), *weights):
        assert value.shape == (2, 4)
        assert torch.isfinite(value).all()
    assert parse(Model, to_tree(spec)) == spec


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(hidden=(0,)),
        lambda: Conv(channels=()),
        lambda: Conv(channels=(0,)),
        lambda: Conv(hidden=-1),
        lambda: Network.members["ResidualMLP"](dropout=1.0),
        lambda: Network.members["ResidualMLP"](width=0),
        lambda: Network.members["ResNet"](blocks=0),
        lambda: Prior.members["ConditionalNormal"](hidden=0),
        lambda: Prior.members["Mixture"](components=0),
        lambda: Prior.members["Vamp"](components=0),
        lambda: Prior.members["RealNVP"](transforms=0),
        lambda: Prior.members["MAF"](hidden=(8, 0)),
        lambda: Prior.members["NSF"](bins=1),
        lambda: Prior.members["Autoregressive"](components=0),
        lambda: Prior.members["AR1"](alpha=1.0),
        lambda: Prior.members["AR1"](alpha=-1.5),
        lambda: Layer.members["Plain"](latents=0),
        lambda: Layer.members["Plain"](hidden=0),
        lambda: Optimiser.members["Adam"](betas=(0.9,)),
        lambda: Optimiser.members["Adam"](betas=(0.9, 1.0)),
        lambda: Optimiser.members["Adam"](eps=0.0),
        lambda: Optimiser.members["SGD"](momentum=1.0),
        lambda: Schedule.members["Linear"](share=1.0),
        lambda: Likelihood.members["DiscretisedLogisticMixture"](components=0),
        lambda: Schedule.members["Linear"](epochs=-1.0),
        lambda: Denoiser.members["UNet"](channels=()),
        lambda: Denoiser.members["UNet"](blocks=0),
        lambda: Denoiser.members["UNet"](waves=(13,)),
        lambda: Denoiser.members["DenoisingMLP"](width=0),
        lambda: Prior.members["Diffusion"](draws=0),
        lambda: Prior.members["Diffusion"](steps=0),
        lambda: Likelihood.members["Diffusion"](maps=0),
        lambda: Sampling(steps=0),
        lambda: Noise(pieces=0),
        lambda: Noise(gamma=(-10.0,)),
        lambda: Noise(gamma=(6.0, -10.0)),
        lambda: Noise(gamma=(-10.0, 2.0, 2.0, 6.0)),
        lambda: Noise(gamma=(-100.0, 6.0)),
        lambda: Noise(gamma=(-10.0, math.nan)),
        lambda: Noise("cosine", gamma=(-10.0, 0.0, 6.0)),
    ],
)
def test_sizes_that_make_no_sense_are_refused(make):
    with pytest.raises(InputError, match=r"^\w+: is .*; give "):
        make()


def test_a_prior_that_needs_something_above_it_says_so_at_the_top():
    shape = (5,)
    statistics = Statistics(torch.zeros(shape), torch.ones(shape))
    spec = Model(prior=Prior.members["ConditionalNormal"](), network=MLP(hidden=(8,)))
    with pytest.raises(InputError, match=r"model.prior: .*; "):
        spec.build(shape, Support("real"), statistics)
