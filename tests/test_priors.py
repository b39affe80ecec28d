"""Priors against analytic truth, in double precision: densities integrate to one, samples follow them, closed forms are
the integrals that they stand for, and the prior that reads the encoder is the mixture that it says it is."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributions as td

from taut.config import parse
from taut.data import Batch, Data, Feed, Statistics, Support, open_array, open_data
from taut.distributions import AR1, Autoregressive, DiagonalNormal, Flow, Mixture, divergence, fold, tempered
from taut.distributions.flow import standard
from taut.errors import InputError
from taut.experiment import Experiment, resolve
from taut.layers import Plain, fits
from taut.likelihoods import Bernoulli, Gaussian
from taut.model import VAE, Model, centre, draw, pick_prior
from taut.networks import MLP, Conv
from taut.objectives import ELBO, IWAE, Learner
from taut.posteriors import Delta, Posterior
from taut.posteriors import DiagonalNormal as NormalPosterior
from taut.priors import Mixture as MixturePrior
from taut.priors import Prior
from taut.priors import Vamp as VampPrior
from taut.runs import load
from taut.training import Training, examine, fit

torch.set_num_threads(1)

OWN = [
    name
    for name, prior in sorted(Prior.members.items())
    if prior.space == "real" and prior.alone and not prior.reads_encoder and not prior.heavy
]
EXACT = [
    name for name in OWN if Prior.members[name].exactness == "exact"
]  # what a bound integrates to is less than one
BINARY = Support("binary", 2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shaken(module: torch.nn.Module, amount: float = 0.1) -> torch.nn.Module:
    """Out of its start, where flows are the identity."""
    generator = seeded(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(amount * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


def built(name: str, latents: int, state: int = 0, **options) -> torch.nn.Module:
    small = {"hidden": (16,)} if "hidden" in Prior.members[name].__dataclass_fields__ else {}
    torch.manual_seed(0)
    return shaken(Prior.members[name](**(small | options)).build((latents,), state).double())


def density(name: str, latents: int, rows: int = 1, **options) -> td.Distribution:
    return built(name, latents, **options)(torch.zeros(rows, 0, dtype=torch.float64))


def grid(latents: int, half: float, points: int) -> tuple[torch.Tensor, float]:
    line = torch.linspace(-half, half, points, dtype=torch.float64)
    return torch.cartesian_prod(*[line] * latents).view(-1, latents), (2 * half / (points - 1)) ** latents


# --- every density -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("latents", [1, 2])
@torch.no_grad()
def test_densities_integrate_to_one_and_samples_follow_them(name, latents):
    if name == "RealNVP" and latents == 1:
        with pytest.raises(InputError, match=r"model.prior: is RealNVP for one latent.*; choose NSF"):
            density(name, latents)
        return
    p = density(name, latents)
    z, cell = grid(latents, 12.0, 24_001 if latents == 1 else 501)
    mass = p.log_prob(z).exp() * cell
    assert mass.sum().item() == pytest.approx(1, abs=1e-3)
    torch.manual_seed(3)
    n = 40_000
    sample = p.sample((n,))[:, 0]
    centre = (mass.unsqueeze(1) * z).sum(0)
    second = torch.einsum("n,ni,nj->ij", mass, z - centre, z - centre)
    deviations = second.diagonal().sqrt()
    assert ((sample.mean(0) - centre).abs() < 5 * deviations / math.sqrt(n)).all()
    assert ((sample.T.cov() - second).abs() < 0.1 * deviations.outer(deviations)).all()
    # the mean of log p over the samples is the negative entropy
    entropy = -torch.where(mass > 0, mass * p.log_prob(z), 0.0).sum()
    values = p.log_prob(sample)
    assert abs(float(values.mean() + entropy)) < 5 * float(values.std()) / math.sqrt(n)
    for point in (-0.5, 0.7) if latents == 1 else ():  # and the share of them below a point is that of the mass
        share = mass[z[:, 0] <= point].sum().item()
        found = (sample[:, 0] <= point).double().mean().item()
        assert found == pytest.approx(share, abs=5 * math.sqrt(0.25 / n) + 2e-3)


@pytest.mark.parametrize("name", OWN)
def test_events_of_any_shape_are_read_as_one_vector(name):
    flat = density(name, 6, rows=3)
    torch.manual_seed(0)
    prior = Prior.members[name](**({"hidden": (16,)} if "hidden" in Prior.members[name].__dataclass_fields__ else {}))
    shaped = shaken(prior.build((6, 1, 1), 0).double())(torch.zeros(3, 0, dtype=torch.float64))
    z = torch.randn(3, 6, generator=seeded(0), dtype=torch.float64)
    found = []
    for p, value in ((shaped, z.view(3, 6, 1, 1)), (flat, z)):
        torch.manual_seed(2)  # a noisy density draws its noise where it is asked
        found.append(p.log_prob(value))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["RealNVP", "MAF", "NSF", "Autoregressive"])
@torch.no_grad()
def test_below_the_top_the_state_is_read(name):
    """Row n of p(z|h) depends on row n of h, and each row is a density."""
    module = built(name, 2, state=3)
    h = torch.randn(2, 3, generator=seeded(0), dtype=torch.float64)
    z, cell = grid(2, 12.0, 301)
    for row in range(2):
        p = module(h[row : row + 1])
        assert (p.log_prob(z.unsqueeze(1)).exp().sum() * cell).item() == pytest.approx(1, abs=1e-3)
    both = module(h)
    point = torch.randn(2, 2, generator=seeded(1), dtype=torch.float64)
    each = torch.cat([module(h[row : row + 1]).log_prob(point[row : row + 1]) for row in range(2)])
    torch.testing.assert_close(both.log_prob(point), each)
    assert (module(h.flip(0)).log_prob(point) - each).abs().min() > 1e-3
    assert both.sample((4,)).shape == (4, 2, 2)


@pytest.mark.parametrize("name", ["Autoregressive", "MAF", "NSF", "RealNVP", "StandardNormal"])
@torch.no_grad()
def test_they_start_at_or_near_the_standard_normal(name):
    torch.manual_seed(0)
    options = {"components": 1} if name == "Autoregressive" else {}
    p = Prior.members[name](**options).build((4,), 0).double()(torch.zeros(50, 0, dtype=torch.float64))
    z = torch.randn(50, 4, generator=seeded(0), dtype=torch.float64)
    gap = p.log_prob(z) - standard(50, z, 4).log_prob(z)
    assert gap.abs().max() < (0.2 if name == "Autoregressive" else 1e-9)


# --- temperatures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AR1", "Laplace", "Logistic", "MAF", "Mixture", "NSF", "RealNVP"])
@torch.no_grad()
def test_a_temperature_narrows_and_stays_a_density(name):
    p = density(name, 2)
    cold = tempered(p, 0.5)
    assert tempered(p, 1) is p
    z, cell = grid(2, 12.0, 801)
    assert (cold.log_prob(z).exp().sum() * cell).item() == pytest.approx(1, abs=1e-3)
    torch.manual_seed(0)
    assert cold.sample((4000,)).std(0).sum() < p.sample((4000,)).std(0).sum()
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match=r"temperature: is .*; give a number above 0"):
            tempered(p, temperature)


def test_what_a_temperature_does():
    ar = density("AR1", 3)
    torch.testing.assert_close(tempered(ar, 0.5).variance, 0.25 * ar.variance)
    flow = density("MAF", 3)
    torch.manual_seed(0)
    cold = tempered(flow, 0.5).rsample()
    torch.manual_seed(0)
    torch.testing.assert_close(flow.transform(cold), 0.5 * flow.transform(flow.rsample()))
    mixture = density("Mixture", 3)
    torch.testing.assert_close(tempered(mixture, 2.0).components.stddev, 2 * mixture.components.stddev)
    with pytest.raises(InputError, match="Autoregressive knows no temperature; give 1"):
        tempered(density("Autoregressive", 3), 0.5)


# --- mixtures ----------------------------------------------------------------------------------------------------


def normal(seed: int, n: int, *event: int, dtype=torch.float64) -> DiagonalNormal:
    generator = seeded(seed)
    mu = torch.randn(n, *event, generator=generator, dtype=torch.float64)
    return DiagonalNormal(
        mu.to(dtype), (0.7 * torch.randn(n, *event, generator=generator, dtype=torch.float64)).to(dtype)
    )


class Plainly(DiagonalNormal):
    """A family for which the mixture knows no short cut."""


def test_a_mixture_of_one_is_its_component():
    component = normal(0, 1, 2, 3)
    p = Mixture(component, torch.tensor([3.0], dtype=torch.float64), 5)
    z = torch.randn(5, 2, 3, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), component.log_prob(z))
    torch.testing.assert_close(p.mean, component.mean.expand(5, 2, 3))
    torch.manual_seed(0)
    one = MixturePrior(components=1).build((4,), 0).double()(torch.zeros(5, 0, dtype=torch.float64))
    z = torch.randn(5, 4, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(one.log_prob(z), standard(5, z, 4).log_prob(z))


@pytest.mark.parametrize("family", [DiagonalNormal, Plainly])
def test_a_mixture_is_torchs(family):
    components, log_weights = normal(1, 4, 3), torch.tensor([0.1, 2.0, -1.0, 0.5]).double()
    p = Mixture(family(components.mu, components.log_scale), log_weights, 6)
    truth = td.MixtureSameFamily(
        td.Categorical(logits=log_weights), td.Independent(td.Normal(components.mean, components.stddev), 1)
    )
    z = 3 * torch.randn(7, 6, 3, generator=seeded(2), dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), truth.log_prob(z))
    torch.testing.assert_close(p.mean[0], truth.mean)
    torch.manual_seed(0)
    sample = p.sample((20_000,)).flatten(0, 1)
    n = len(sample)
    assert ((sample.mean(0) - truth.mean).abs() < 5 * truth.stddev / math.sqrt(n)).all()
    assert ((sample.var(0) / truth.variance - 1).abs() < 0.1).all()


@pytest.mark.parametrize("log_scale", [-8.0, -3.0, 0.0, 8.0])
def test_a_mixture_in_single_precision_is_exact_and_finite(log_scale):
    """The squares come apart into terms that nearly cancel; the result is as good as that of the direct form."""
    mu = 3 * torch.randn(20, 40, generator=seeded(0))
    scale = torch.full((20, 40), log_scale)
    z = (mu[:10] + math.exp(log_scale) * torch.randn(10, 40, generator=seeded(1))).requires_grad_()
    value = Mixture(DiagonalNormal(mu, scale), torch.zeros(20), 10).log_prob(z)
    truth = Mixture(Plainly(mu.double(), scale.double()), torch.zeros(20).double(), 10).log_prob(z.double())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), truth, rtol=2e-7, atol=1e-6)
    far = Mixture(DiagonalNormal(mu, scale), torch.zeros(20), 10).log_prob(z + 1e4)
    (gradient,) = torch.autograd.grad((value + far).sum(), z)
    assert torch.isfinite(far).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["Mixture", "Vamp"])
def test_more_components_than_examples_are_refused(name):
    data = open_array((torch.rand(60, 5, generator=seeded(0)) < 0.5).numpy())
    n = len(data.train)
    prior = Prior.members[name]
    line = rf"^model.prior.components: is 61, more than there are training examples \({n}\); give at most {n}$"
    with pytest.raises(InputError, match=line):
        resolve(Experiment(Data("x"), Model(prior=prior(components=61))), data)
    resolve(Experiment(Data("x"), Model(prior=prior(components=n)), training=Training(steps=20)), data)


# --- autoregressive ----------------------------------------------------------------------------------------------


def dense(alpha: float, size: int) -> td.MultivariateNormal:
    t = torch.arange(size)
    return td.MultivariateNormal(torch.zeros(size).double(), alpha ** (t - t.unsqueeze(1)).abs().double())


@pytest.mark.parametrize("alpha", [0.0, 0.5, -0.7, 0.99])
def test_ar1_is_the_dense_normal(alpha):
    p, truth = AR1(alpha, torch.zeros(4, 6).double()), dense(alpha, 6)
    z = torch.randn(4, 6, generator=seeded(0), dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), truth.log_prob(z))
    assert p.log_prob_parts(z).shape == (4, 6)
    torch.manual_seed(0)
    sample = p.sample((10_000,)).flatten(0, 1)
    assert ((sample.T.cov() - truth.covariance_matrix).abs() < 0.04).all()
    q = normal(1, 4, 6)
    closed = divergence(q, p, q.mean, q.log_prob(q.mean))
    assert closed.kind == "closed"
    assert closed.parts.shape == (4, 6)
    assert (closed.parts >= 0).all()
    torch.testing.assert_close(
        closed.total, td.kl_divergence(td.MultivariateNormal(q.mean, q.variance.diag_embed()), truth)
    )


def test_ar1s_closed_form_is_monte_carlo_in_each_part():
    p, q = AR1(0.8, torch.zeros(3, 4, 2).double(), 0.3), normal(1, 3, 4, 2)
    closed = divergence(q, p, q.mean, q.log_prob(q.mean)).parts
    torch.manual_seed(0)
    z = q.sample((100_000,))
    parts = q.log_prob_parts(z) - p.log_prob_parts(z)
    assert parts.shape == (100_000, 3, 8)
    assert ((parts.mean(0) - closed).abs() < 5 * parts.std(0) / math.sqrt(len(z))).all()


def test_ar1_without_correlation_is_the_standard_normal():
    p, q = AR1(0.0, torch.zeros(3, 4).double()), normal(1, 3, 4)
    z = q.rsample()
    torch.testing.assert_close(divergence(q, p, z, q.log_prob(z)).parts, divergence(q, standard(3, z, 4), z, z).parts)


@pytest.mark.parametrize("hidden", [(), (16,), (16, 24)])
def test_each_conditional_sees_what_came_before_it_alone(hidden):
    module = built("Autoregressive", 5, state=2, hidden=hidden, activation="tanh")
    h = torch.randn(1, 2, generator=seeded(0), dtype=torch.float64)
    z = torch.randn(1, 5, generator=seeded(1), dtype=torch.float64)

    def conditionals(z):
        return torch.cat(module.conditionals(h, z), -1)[0].sum(-1)

    jacobian = torch.autograd.functional.jacobian(conditionals, z)[:, 0]
    assert (jacobian.triu() == 0).all()
    assert (jacobian[torch.ones(5, 5).tril(-1).bool()] != 0).all()
    seen = torch.autograd.functional.jacobian(lambda h: torch.cat(module.conditionals(h, z), -1)[0].sum(-1), h)[:, 0]
    assert (seen != 0).all(), "h is seen by every dimension"


@pytest.mark.parametrize("name", ["AR1", "Autoregressive"])
def test_sampled_divergences_of_factorised_densities_come_per_dimension(name):
    q, p = normal(1, 3, 4), density(name, 4, rows=3)
    z = q.rsample()
    other = Plainly(q.mu, q.log_scale)
    found = divergence(other, p, z, q.log_prob(z))
    assert found.kind == "sampled"
    assert found.parts.shape == (3, 4)
    torch.testing.assert_close(found.total, q.log_prob(z) - p.log_prob(z))
    assert divergence(q, density("MAF", 4, rows=3), z, q.log_prob(z)).parts.shape == (3, 1)


# --- flows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RealNVP", "MAF", "NSF"])
def test_a_flows_density_is_the_change_of_variables(name):
    p = density(name, 3)
    assert isinstance(p, Flow)
    z = torch.randn(1, 3, generator=seeded(0), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(p.transform, z)[0, :, 0]
    truth = p.base.log_prob(p.transform(z)) + jacobian.det().abs().log()
    torch.testing.assert_close(p.log_prob(z), truth)
    torch.testing.assert_close(p.transform.inv(p.transform(z)), z)


def test_building_a_flow_sets_no_global_state():
    code = (
        "import torch; from torch.distributions import Distribution as D, Normal, transforms; import taut.priors, sys;"
        "before = D._validate_args, transforms._InverseTransform.__name__;"
        "assert 'zuko' not in sys.modules;"
        "p = taut.priors.NSF().build((2,), 0)(torch.zeros(3, 0)); p.log_prob(p.sample());"
        "assert 'zuko' in sys.modules;"
        "assert before == (D._validate_args, transforms._InverseTransform.__name__);"
        "D.set_default_validate_args(False); taut.priors.MAF().build((2,), 0); assert not D._validate_args;"
        "D.set_default_validate_args(True)\n"
        "try: Normal(0.0, -1.0)\nexcept ValueError: sys.exit(0)\nsys.exit('a wrong scale passed')"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["RealNVP", "MAF", "NSF", "Autoregressive", "Vamp", "Mixture"])
def test_bounds_stay_in_single_precision_whatever_the_networks_compute_in(name):
    vae, batch = model(Prior.members[name]())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trace = vae(batch)
        assert trace.log_prior().dtype == trace.rate().dtype == torch.float32
        assert vae.generate(3, pick_prior()).steps[0].z.dtype == torch.float32


# --- the prior that reads the encoder ----------------------------------------------------------------------------


def model(prior: Prior, shape=(1, 5, 4), support: Support = BINARY, **options) -> tuple[VAE, Batch]:
    torch.manual_seed(0)
    likelihood = Bernoulli() if support.kind == "binary" else Gaussian()
    statistics = Statistics(torch.full(shape, 0.4), torch.linspace(0.2, 0.5, math.prod(shape)).view(shape))
    options = {"network": MLP(hidden=(8,)), "latents": 3, "likelihood": likelihood} | options
    vae = Model(prior=prior, **options).build(shape, support, statistics)
    return shaken(vae, 0.1), Batch((torch.rand(6, *shape, generator=seeded(0)) < 0.3).float())


def explicit(vae: VAE, z: torch.Tensor) -> torch.Tensor:
    """1/K Σ_k q(z|u_k), one pseudo-input after the other, by the evidence that the model finds for an example."""
    terms = []
    for u in vae.layers[0].p.pseudo_inputs:
        (e,) = vae.evidence(Batch(u.unsqueeze(0)))
        q = vae.layers[0].posterior(vae.root(1), e, None)
        terms.append(q.log_prob(z))
    return torch.stack(terms).logsumexp(0) - math.log(len(terms))


@pytest.mark.parametrize(
    ("shape", "support", "network"),
    [((5,), Support("real"), MLP(hidden=(8,))), ((1, 6, 4), BINARY, Conv(channels=(4,), hidden=8))],
    ids=["vectors", "images"],
)
@pytest.mark.parametrize("training", [True, False])
def test_vamp_is_the_mixture_of_the_posteriors_of_its_pseudo_inputs(shape, support, network, training):
    vae, _ = model(VampPrior(components=7), shape, support, network=network)
    vae.double().train(training)
    z = torch.randn(6, 3, generator=seeded(1), dtype=torch.float64)
    with torch.set_grad_enabled(training):
        p = vae.layers[0].prior(vae.root(6))
        torch.testing.assert_close(p.log_prob(z), explicit(vae, z))
    torch.manual_seed(0)
    assert vae.generate(4, pick_prior(0.5)).steps[0].z.shape == (4, 3)
    sample = p.sample((20_000,)).flatten(0, 1)
    assert ((sample.mean(0) - p.mean[0]).abs() < 5 * sample.std(0) / math.sqrt(len(sample))).all()


@pytest.mark.parametrize(
    "support",
    [BINARY, Support("integers", 17), Support("counts"), Support("unit"), Support("real"), Support("real", whole=True)],
    ids=str,
)
def test_pseudo_inputs_start_like_the_data_and_stay_where_data_can_be(support):
    top = (support.levels or 2) - 1
    shape = (30,)
    statistics = Statistics(torch.full(shape, 0.5 * top), torch.full(shape, 0.1 * top))
    torch.manual_seed(0)
    vae = Model(latents=2, prior=VampPrior(components=200), network=MLP(hidden=(8,))).build(shape, support, statistics)
    p = vae.layers[0].p
    u = p.pseudo_inputs
    assert u.shape == (200, *shape)
    torch.testing.assert_close(u.mean() / top, torch.tensor(0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(u.std() / top, torch.tensor(0.1), atol=0.01, rtol=0)
    with torch.no_grad():
        p.free.add_(100 * torch.randn(p.free.shape, generator=seeded(0)))
    u = p.pseudo_inputs
    assert torch.isfinite(u).all()
    assert bool((u >= 0).all()) == (support.kind != "real")
    assert bool((u <= top).all()) == (support.kind not in ("real", "counts"))


@pytest.mark.parametrize("objective", [ELBO(), ELBO(samples=2), IWAE(samples=3)], ids=str)
def test_gradients_reach_pseudo_inputs_and_encoder_through_the_prior(objective):
    vae, batch = model(VampPrior(components=7))
    Learner(vae, objective)(batch, 1.0).loss.backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    vae.zero_grad()
    vae.layers[0].prior(vae.root(2)).log_prob(torch.zeros(2, 3)).sum().backward()
    assert vae.layers[0].p.free.grad.any()
    assert all(parameter.grad.any() for parameter in vae.encoder.parameters())


def counted(vae: VAE) -> list[int]:
    """The sizes of the batches that the encoder is given from now on."""
    sizes: list[int] = []
    vae.encoder.register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
    return sizes


def test_the_prior_reads_the_encoder_once_a_step_and_once_in_an_evaluation():
    vae, batch = model(VampPrior(components=7))
    sizes = counted(vae)
    Learner(vae, IWAE(samples=5))(batch, 1.0)
    assert sizes == [6, 7]
    vae.eval()
    with torch.no_grad():
        vae(batch, 2), vae(batch, 3), vae.generate(4, pick_prior())
    assert sizes == [6, 7, 6, 7, 6]
    vae(batch)  # a gradient may be asked for: nothing is kept
    assert sizes[5:] == [6, 7]


def test_what_is_kept_changes_no_number_and_is_found_anew_when_a_weight_changes(tmp_path):
    vae, batch = model(VampPrior(components=7))
    vae.eval()

    def prior(vae: VAE) -> torch.Tensor:
        with torch.no_grad():
            return vae(batch, pick=centre).log_prior()

    def fresh(vae: VAE) -> torch.Tensor:
        other, _ = model(VampPrior(components=7))
        other.load_state_dict(vae.state_dict())
        return prior(other.eval())

    first = prior(vae)
    assert torch.equal(first, prior(vae))
    assert torch.equal(first, fresh(vae))
    assert torch.equal(first, vae(batch, pick=centre).log_prior().detach())
    save_file(vae.state_dict(), tmp_path / "w.safetensors")
    values = [first]

    def changed() -> None:
        values.append(prior(vae))
        assert not torch.equal(values[-1], values[-2])
        assert torch.equal(values[-1], fresh(vae))

    with torch.no_grad():
        vae.layers[0].p.free.add_(1)
    changed()
    with torch.no_grad():  # as the average does it
        torch._foreach_lerp_(
            list(vae.encoder.parameters()), [torch.ones_like(p) for p in vae.encoder.parameters()], 0.1
        )
    changed()
    optimiser = torch.optim.Adam(vae.parameters(), lr=0.1, fused=True)
    Learner(vae, ELBO())(batch, 1.0).loss.backward()
    optimiser.step()
    changed()
    vae.load_state_dict(load_file(tmp_path / "w.safetensors"))
    changed()
    assert torch.equal(values[-1], first)
    twin = copy.deepcopy(vae)
    with torch.no_grad():
        twin.encoder[1].weight.add_(1)
    assert torch.equal(prior(twin), fresh(twin)), "a copy's prior reads the copy's encoder"
    assert torch.equal(prior(vae), first)


def test_no_tensor_of_it_is_registered_twice():
    vae, _ = model(VampPrior(components=7))
    state = vae.state_dict()
    places = [tensor.data_ptr() for tensor in state.values() if tensor.numel()]
    assert len(set(places)) == len(places)
    assert [name for name in state if name.startswith("layers.0.p.")] == ["layers.0.p.free"]
    assert len(list(vae.parameters())) == len({id(p) for p in vae.parameters()})


def test_vamp_is_refused_where_it_cannot_be():
    line = r"^model.posterior: Vamp mixes posteriors, and Delta has no density to mix while training; with Delta go the priors"
    with pytest.raises(InputError, match=line):
        model(VampPrior(components=7), posterior=Delta())
    with pytest.raises(
        InputError,
        match=r"^model.prior: is Vamp where posteriors depend on.*; choose ConditionalNormal there",
    ):
        model(VampPrior(), layers=(Plain(latents=2), Plain(latents=3, prior=VampPrior())))
    vae, batch = model(VampPrior(components=7), layers=(Plain(latents=2), Plain(latents=3)))  # at the top of two
    Learner(vae, ELBO())(batch, 1.0).loss.backward()
    assert vae.layers[0].p.free.grad.any()


# --- all together ------------------------------------------------------------------------------------------------

TOP = [name for name in sorted(Prior.members) if Prior.members[name].alone]
SMALL = {"Vamp": {"components": 40}, "Mixture": {"components": 20}, "NSF": {"transforms": 1}, "MAF": {"transforms": 2}}


@pytest.mark.parametrize("name", TOP)
def test_every_prior_learns_and_survives_its_folder(name, tmp_path):
    """On the digits the bound ends above where it began, and what is loaded is what was trained."""
    from taut import train

    data = open_data(Data("digits"))
    prior = parse(Prior, {"part": name, **SMALL.get(name, {})})
    posteriors = [NormalPosterior(), *(Posterior.members[name]() for name in sorted(Posterior.members))]
    posterior = next(q for q in posteriors if q.weighable and fits(prior, q))
    spec = Model(latents=8, prior=prior, posterior=posterior, network=MLP(hidden=(48,)))
    samples, gain = (1, 40) if "Pathwise" in posterior.estimators else (4, 10)  # eight bits are no more than 5.5 nats
    objective = ELBO(samples=samples).resolved(spec.resolved(data.reading.shape, data.reading.support).layers)
    torch.manual_seed(0)
    vae = spec.build(data.reading.shape, data.reading.support, data.statistics())
    feed = Feed(data.valid, data.reading)
    before = examine(vae.eval(), feed)
    trained, _ = fit(vae.train(), objective, data, Training(batch=128), steps=100, seed=0)
    after = examine(trained, feed)
    assert after["elbo"] > before["elbo"] + gain
    run = train("digits", model=spec, training={"steps": 5})
    again = load(run.save(tmp_path / "run"))
    batch = feed.batch(torch.arange(20))
    with torch.no_grad():
        found = []
        for vae in (run.vae, again.vae):
            torch.manual_seed(1)
            trace = vae(batch, 3)
            found.append((trace.log_weight(batch), trace.rate()))
        assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
        torch.manual_seed(2)
        drawn = run.vae.generate(5, pick_prior()).likelihood.mean
        torch.manual_seed(2)
        assert torch.equal(drawn, again.vae.generate(5, pick_prior()).likelihood.mean)
        if prior.exactness != "exact":  # an importance-weighted bound of noise would be none
            return
        # the importance-weighted bound does not fall as K grows
        weights = again.vae.descend(
            again.vae.root(200 * 20), [fold(e, 200) for e in again.vae.evidence(batch)], draw, 200
        ).log_weight(batch)
    bounds = [(weights.view(-1, k, 20).logsumexp(1) - math.log(k)).mean() for k in (1, 10, 200)]
    assert bounds[0] <= bounds[1] <= bounds[2]


def test_autoregressive_densities_say_that_they_factorise():
    assert hasattr(Autoregressive, "log_prob_parts")
    assert not hasattr(Mixture, "log_prob_parts")
    assert not hasattr(Flow, "log_prob_parts")
