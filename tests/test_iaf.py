"""The inverse autoregressive flow against exact truth: its Jacobian, its integral, its inverse and that one's gradient, the
mixture of its members under the VampPrior, and a posterior that no diagonal normal can match."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.func import functional_call

from taut.data import Batch, Statistics, Support
from taut.distributions import InverseAutoregressive, Mixture, central, drawn, fold, tempered
from taut.errors import InputError
from taut.layers import Plain
from taut.likelihoods import Bernoulli
from taut.model import VAE, Model, Step, centre, draw, follow, pick_prior
from taut.networks import MLP, Gated
from taut.objectives import DIP, ELBO, IWAE, Estimator, Learner, TotalCorrelation
from taut.posteriors import IAF
from taut.priors import Prior, StandardNormal, Vamp

torch.set_num_threads(1)

SHAPES = [
    IAF(hidden=(7,), context=3),
    IAF(transforms=3, hidden=(3, 6), context=2),
    IAF(transforms=1, hidden=(), context=2, activation="elu"),
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shaken(module: nn.Module, amount: float = 0.3) -> nn.Module:
    """Out of its start, where the maps are nearly linear."""
    generator = seeded(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(amount * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


def built(spec: IAF, event: tuple[int, ...] = (5,), amount: float = 0.3) -> nn.Module:
    torch.manual_seed(0)
    return shaken(spec.build(event).double(), amount)


def told(module: nn.Module, rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, module.width, generator=seeded(seed), dtype=torch.float64)


# --- the density -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SHAPES, ids=str)
@pytest.mark.parametrize("event", [(1,), (5,), (2, 3)])
def test_the_density_is_the_change_of_variables_by_the_exact_jacobian(spec, event):
    module = built(spec, event)
    q = module(told(module))
    u = torch.randn(1, math.prod(event), generator=seeded(2), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda u: q._image(u)[0].flatten(1), u)[0, :, 0]
    truth = q.base.log_prob(u) - jacobian.det().abs().log()
    z = q._image(u)[0]
    assert z.shape == (1, *event)
    torch.testing.assert_close(q.log_prob(z), truth)


def test_maps_are_triangular_and_turn_round():
    module = built(IAF(hidden=(16,)), (4,))
    q = module(told(module))
    u = torch.randn(1, 4, generator=seeded(2), dtype=torch.float64)
    first, second = (
        torch.autograd.functional.jacobian(lambda u, each=each, a=a: each(u, a)[0], u)[0, :, 0]
        for each, a in zip(q.maps, q.contexts, strict=True)
    )
    assert (first.triu(1) == 0).all()
    assert (second.tril(-1) == 0).all()
    assert (first.tril() != 0)[torch.ones(4, 4).tril().bool()].all(), "and see all that they may"
    assert (second.triu() != 0)[torch.ones(4, 4).triu().bool()].all()


@torch.no_grad()
def test_it_integrates_to_one_and_draws_follow_it():
    module = built(IAF(hidden=(16,)), (2,), 0.5)
    q = module(told(module, seed=1))
    line = torch.linspace(-14.0, 14.0, 701, dtype=torch.float64)
    z, cell = torch.cartesian_prod(line, line), (28 / 700) ** 2
    mass = q.log_prob(z.unsqueeze(1))[:, 0].exp() * cell
    assert mass.sum().item() == pytest.approx(1, abs=1e-4)
    mean = (mass.unsqueeze(1) * z).sum(0)
    second = torch.einsum("n,ni,nj->ij", mass, z - mean, z - mean)
    joint = mass.view(701, 701)
    dependence = torch.special.xlogy(joint, joint / joint.sum(1).outer(joint.sum(0)).clamp_min(1e-300)).sum()
    assert dependence > 0.3, "nats that each of the two tells of the other"
    torch.manual_seed(3)
    n = 40_000
    sample = q.sample((n,))[:, 0]
    assert ((sample.mean(0) - mean).abs() < 5 * second.diagonal().sqrt() / math.sqrt(n)).all()
    deviations = second.diagonal().sqrt()
    assert ((sample.T.cov() - second).abs() < 0.05 * deviations.outer(deviations)).all()


@pytest.mark.parametrize("spec", SHAPES, ids=str)
@pytest.mark.parametrize("event", [(1,), (5,), (2, 3)])
def test_a_draw_knows_the_density_that_its_inversion_finds(spec, event):
    module = built(spec, event)
    q = module(told(module, 4))
    z, log_q = drawn(q)
    torch.testing.assert_close(q.log_prob(z), log_q)
    torch.manual_seed(0)
    one = q.rsample()
    torch.manual_seed(0)
    assert torch.equal(one, q.rsample_and_log_prob()[0])
    assert q.rsample((3, 2)).shape == (3, 2, 4, *event)
    assert q.log_prob(q.rsample((3, 2))).shape == (3, 2, 4)
    # of other shapes, one row at a time
    alone = module(told(module, 4)[:1])
    torch.testing.assert_close(alone.log_prob(z), torch.cat([alone.log_prob(row) for row in z.split(1)]))


def test_it_starts_near_a_diagonal_normal():
    torch.manual_seed(0)
    module = IAF().build((6,)).double()
    q = module(told(module, 50))
    z = q.rsample()
    gate = 0.1 + 0.9 / (1 + math.exp(-2))
    near = Independent(Normal(gate**2 * q.base.mu, gate**2 * q.base.stddev), 1)
    assert (q.log_prob(z) - near.log_prob(z)).abs().max() < 0.6
    assert (q.centre - near.mean).abs().max() < 0.15


def test_its_mean_is_the_image_of_the_mean_and_a_value_that_z_can_take():
    module = built(IAF(hidden=(9,)), (2, 3))
    params = told(module, 4)
    q = module(params)
    assert torch.equal(q.mean, q.centre)
    assert torch.equal(central(q), module(params).centre)
    narrow = InverseAutoregressive(tempered(q.base, 1e-4), q.maps, q.contexts, q.event_shape)
    torch.testing.assert_close(narrow.rsample((2000,)).mean(0), q.centre, atol=1e-4, rtol=0)
    with pytest.raises(NotImplementedError):
        q.variance  # noqa: B018


def test_a_temperature_scales_the_spread_of_the_base():
    module = built(IAF(hidden=(9,)))
    q = module(told(module, 4))
    assert tempered(q, 1) is q
    cold = tempered(q, 0.5)
    torch.manual_seed(0)
    noise = torch.randn(4, 5, dtype=torch.float64)
    torch.manual_seed(0)
    torch.testing.assert_close(cold.rsample(), q._image(q.base.mu + 0.5 * q.base.stddev * noise)[0])
    z = cold.rsample()
    assert (cold.log_prob(z) > q.log_prob(z)).any()


# --- inversion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.15])
def test_the_inverse_is_stable_in_single_precision(amount):
    torch.manual_seed(0)
    module = shaken(IAF().build((40,)), amount)
    q = module(torch.randn(100, module.width, generator=seeded(0)))
    with torch.no_grad():
        u = q.base.rsample()
        z, log_det = q._image(u)
        back = z
        for each, a in zip(reversed(q.maps), reversed(q.contexts), strict=True):
            back, _ = each.inverse(back, a)
        again, _ = q._image(back)
        log_q = q.log_prob(z)
    torch.testing.assert_close(again, z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(back, u, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_q, q.base.log_prob(u) - log_det, rtol=1e-4, atol=1e-3)


def test_nothing_overflows_far_from_all_that_the_network_has_seen():
    torch.manual_seed(0)
    module = shaken(IAF().build((40,)), 1.0)
    q = module(torch.randn(20, module.width, generator=seeded(0)))
    with torch.no_grad():
        assert torch.isfinite(q.log_prob(100 * torch.randn(20, 40, generator=seeded(1)))).all()
        wild = module(torch.full((3, module.width), 1e4))
        z, log_q = wild.rsample_and_log_prob()
        assert torch.isfinite(z).all()
        assert torch.isfinite(log_q).all()
        assert torch.isfinite(wild.log_prob(z)).all()


@pytest.mark.parametrize("spec", SHAPES, ids=str)
@pytest.mark.parametrize("event", [(1,), (3,)])
def test_the_gradient_of_the_density_is_that_of_finite_differences(spec, event):
    """With respect to z, to everything that the encoder says, and to every weight."""
    module = built(spec, event)
    asked = _Asked(module)
    weights = dict(asked.named_parameters())
    z = torch.randn(2, 2, *event, generator=seeded(3), dtype=torch.float64)
    inputs = [each.detach().clone().requires_grad_() for each in (z, told(module, 2), *weights.values())]
    assert torch.autograd.gradcheck(
        lambda z, params, *values: functional_call(asked, dict(zip(weights, values, strict=True)), (z, params)), inputs
    )


class _Asked(nn.Module):
    """log q(z) as one call, in which the weights can be replaced."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, z: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        return self.module(params).log_prob(z)


@torch.no_grad()
def test_an_inversion_evaluates_every_unit_once():
    seen = []
    net = Gated(10, 3, (16, 12), "silu", turned=False)
    net.activation.register_forward_hook(lambda module, args, out: seen.append(out.numel()))
    net.inverse(torch.randn(7, 10), net.read(torch.randn(7, 3)))
    assert sum(seen) == 7 * (16 + 12)


@torch.no_grad()
def test_draws_and_bounds_under_a_plain_prior_invert_nothing(monkeypatch):
    monkeypatch.setattr(Gated, "inverse", lambda *args: pytest.fail("a map was inverted"))
    vae, batch = model()
    trace = vae(batch, 3)
    assert torch.isfinite(trace.log_weight(batch)).all()
    assert torch.isfinite(trace.rate()).all()


# --- in a model --------------------------------------------------------------------------------------------------


def model(prior: Prior | None = None, spec: IAF | None = None, **options) -> tuple[VAE, Batch]:
    shape = (1, 5, 4)
    torch.manual_seed(0)
    statistics = Statistics(torch.full(shape, 0.4), torch.full(shape, 0.5))
    options = {"latents": 3, "network": MLP(hidden=(8,)), "likelihood": Bernoulli()} | options
    vae = Model(prior=prior, posterior=spec or IAF(hidden=(6,), context=3), **options).build(
        shape, Support("binary", 2), statistics
    )
    batch = Batch((torch.rand(6, *shape, generator=seeded(0)) < 0.3).double())
    return shaken(vae.double(), 0.2), batch


@pytest.mark.parametrize("rows", [2, 3])
def test_under_the_vamp_prior_it_is_the_explicit_sum_over_pseudo_inputs(rows, monkeypatch):
    """Values and gradients, with mixtures taken apart into chunks as small as they can be."""
    vae, _ = model(Vamp(components=7))
    monkeypatch.setattr("taut.distributions.inverse._AT_ONCE", 7 * rows)
    z = torch.randn(6, 3, generator=seeded(1), dtype=torch.float64).requires_grad_()
    p = vae.layers[0].prior(vae.root(6))
    assert isinstance(p, Mixture)
    terms = []
    for u in vae.layers[0].p.pseudo_inputs:
        q = vae.layers[0].posterior(vae.root(1), *vae.evidence(Batch(u.unsqueeze(0))), None)
        terms.append(q.log_prob(z))
    explicit = torch.stack(terms).logsumexp(0) - math.log(7)
    found = p.log_prob(z)
    torch.testing.assert_close(found, explicit)
    weight = torch.linspace(0.5, 2, 6, dtype=torch.float64)
    inputs = [z, *(weight for weight in vae.parameters())]
    wanted = torch.autograd.grad((weight * explicit).sum(), inputs, allow_unused=True)
    gradients = torch.autograd.grad((weight * found).sum(), inputs, allow_unused=True)
    for one, two in zip(gradients, wanted, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two)


def test_a_mixture_of_flows_is_drawn_from_all_its_components():
    vae, _ = model(Vamp(components=7))
    with torch.no_grad():
        p = vae.layers[0].prior(vae.root(1))
        torch.manual_seed(0)
        sample = p.sample((20_000,))[:, 0]
        each = p.components.sample((20_000,)).flatten(0, 1)  # every component as often as every other
        assert p.components.sample((5,)).shape == (5, 7, 3)
    error = (sample.std(0) / math.sqrt(len(sample))).hypot(each.std(0) / math.sqrt(len(each)))
    assert ((sample.mean(0) - each.mean(0)).abs() < 5 * error).all()
    assert ((sample.T.cov() - each.T.cov()).abs() < 0.1 * each.var(0).max()).all()
    assert len(sample.unique(dim=0)) == len(sample), "no draw is given out twice"
    assert vae.generate(4, pick_prior(0.5)).steps[0].z.shape == (4, 3)


def test_contexts_are_read_once_a_step_and_the_prior_asked_once(monkeypatch):
    vae, batch = model(Vamp(components=7))
    rows, asked = [], []
    for each in vae.layers[0].q.maps:
        each.read.register_forward_hook(lambda module, args, out: rows.append(len(args[0])))
    log_prob = Mixture.log_prob
    monkeypatch.setattr(Mixture, "log_prob", lambda p, z: asked.append(len(z)) or log_prob(p, z))
    Learner(vae, IWAE(samples=5))(batch, 0.7).loss.backward()
    assert sorted(rows) == [7, 7, 30, 30]
    assert asked == [30], "weights and rate share one log p(z)"


@pytest.mark.parametrize("prior", [StandardNormal(), Vamp(components=4)], ids=["plain", "vamp"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", IAF.estimators)
@pytest.mark.parametrize("objective", [ELBO, IWAE])
def test_every_estimator_gives_a_gradient_to_every_parameter(prior, depth, name, objective):
    vae, batch = model(prior, layers=(Plain(hidden=5),) * depth)
    learner = Learner(vae, objective(samples=3, estimator=(Estimator.members[name](),) * depth))
    torch.manual_seed(0)
    learner(batch, 1.0).loss.backward()
    for parameter, weight in vae.named_parameters():
        assert weight.grad is not None, parameter
        assert torch.isfinite(weight.grad).all(), parameter
        assert weight.grad.any(), parameter


@pytest.mark.parametrize("name", ["STL", "RLOO"])
def test_estimators_that_invert_agree_with_the_one_that_does_not(name):
    """The mean gradient of the bound over many draws, by the density of a value found anew, is the pathwise one."""

    def gradients(name: str) -> torch.Tensor:
        vae, batch = model()
        learner = Learner(vae, ELBO(samples=2000, estimator=(Estimator.members[name](),)))
        found = []
        for seed in range(12):
            torch.manual_seed(seed)
            loss = learner(Batch(batch.x[:1]), 1.0).loss
            gradient = torch.autograd.grad(loss, list(vae.layers[0].q.parameters()))
            found.append(torch.cat([each.flatten() for each in gradient]))
        return torch.stack(found)

    one, two = gradients("Pathwise"), gradients(name)
    error = (one.var(0) + two.var(0)).div(len(one)).sqrt()
    assert ((one.mean(0) - two.mean(0)).abs() < 6 * error + 1e-9).all()
    assert (one.mean(0).abs() > 6 * error).any(), "there is something to agree about"


def layers() -> tuple[Plain, ...]:
    return (Plain(latents=3, prior=StandardNormal(), posterior=IAF()),)


def test_codes_follow_and_come_back():
    vae, batch = model()
    with torch.no_grad():
        still = vae(batch, pick=centre)
        again = vae(batch, pick=centre)
        assert torch.equal(still.steps[0].z, again.steps[0].z)
        given = vae(batch, pick=follow([still.steps[0].z]))
        torch.testing.assert_close(given.steps[0].log_q, still.steps[0].log_q)
        step = vae(batch, pick=draw).steps[0]
        torch.testing.assert_close(vae(batch, pick=follow([step.z])).steps[0].log_q, step.log_q)
        assert isinstance(step, Step)


def test_the_importance_weighted_bound_rises():
    vae, batch = model(Vamp(components=4))
    with torch.no_grad():
        torch.manual_seed(0)
        evidence = [fold(e, 1000) for e in vae.evidence(batch)]
        weights = vae.descend(vae.root(6000), evidence, draw, 1000).log_weight(batch)
    rising = [(weights.view(-1, k, 6).logsumexp(1) - math.log(k)).mean().item() for k in (1, 10, 100, 1000)]
    assert rising == sorted(rising)
    assert rising[-1] > rising[0] + 0.01


def test_penalties_that_it_cannot_have_are_refused():
    with pytest.raises(InputError, match=r"^objective.penalties: TotalCorrelation needs .* not IAF; choose one of"):
        ELBO(penalties=(TotalCorrelation(),)).resolved(layers())
    with pytest.raises(InputError, match=r"^objective.penalties: DIP of the variance .* IAF knows none; give of_means"):
        ELBO(penalties=(DIP(of_means=False),)).resolved(layers())
    ELBO(penalties=(DIP(),)).resolved(layers())
    vae, batch = model()
    assert torch.isfinite(Learner(vae, ELBO(penalties=(DIP(),)))(batch, 1.0).loss)


def test_bounds_stay_in_single_precision_whatever_the_networks_compute_in():
    vae, batch = model(Vamp(components=4))
    vae, batch = vae.float(), Batch(batch.x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trace = vae(batch)
        assert trace.log_prior().dtype == trace.log_posterior().dtype == torch.float32
        (trace.rate().sum() + trace.log_prior().sum()).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in vae.layers[0].q.parameters())


@pytest.mark.parametrize("options", [{"transforms": 0}, {"hidden": (8, 0)}, {"context": 0}], ids=str)
def test_sizes_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError, match=r"^\w+: is 0; give 1 or more"):
        IAF(**options)


# --- a posterior that no diagonal normal can match ---------------------------------------------------------------


class _Sum(nn.Module):
    """x = z_1 + z_2 + σ ε."""

    sigma = 0.1

    def forward(self, h: torch.Tensor) -> Independent:
        return _Observed(Normal(h.sum(1, keepdim=True), self.sigma), 1)


class _Observed(Independent):
    def log_prob(self, value: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return super().log_prob(fold(value, self.batch_shape[0] // len(value)))


class _Same(nn.Module):
    features = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_it_matches_a_posterior_that_no_diagonal_normal_can():
    """z ~ N(0, I) and x = z_1 + z_2 + 0.1 ε: given x the two correlate by −0.99, and the bound of the best diagonal normal
    lies ½ ( Σ log Λ_dd − log |Λ| ) below the evidence, Λ being the posterior's precision."""
    precision = torch.eye(2) + torch.ones(2, 2) / _Sum.sigma**2
    gap = 0.5 * float(precision.diagonal().log().sum() - precision.logdet())
    torch.manual_seed(0)
    layer = Plain(latents=2, prior=StandardNormal(), posterior=IAF(hidden=(32,), context=4)).build(1, 0)
    vae = VAE(_Same(), [layer], _Sum(), Statistics(torch.zeros(1), torch.ones(1)))
    learner = Learner(vae, ELBO())
    steps = 400
    optimiser = torch.optim.Adam(vae.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, steps)
    evidence = MultivariateNormal(torch.zeros(1), torch.full((1, 1), 2 + _Sum.sigma**2))
    for _ in range(steps):
        optimiser.zero_grad()
        learner(Batch(evidence.sample((64,))), 1.0).loss.backward()
        optimiser.step()
        schedule.step()
    x = evidence.sample((500,))
    with torch.no_grad():
        trace = vae(Batch(x), 20)
        short = evidence.log_prob(x) - trace.log_weight(Batch(x)).mean(0)
    assert gap > 1.9
    assert -4 * short.std() / math.sqrt(500) < short.mean() < 0.15
