"""Hyperspherical latents against exact truth, in double precision: Bessel functions to many digits, densities that integrate
to one, moments, distribution functions, and gradients of expectations that are known in closed form."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

import taut
from taut.cli import main
from taut.comparison import plain_autoencoder
from taut.data import Batch, Statistics, Support
from taut.distributions import UniformSphere, VonMisesFisher, divergence, tempered, unit
from taut.distributions.bessel import bessel
from taut.distributions.sphere import _Angle, log_area
from taut.errors import InputError
from taut.explore import interpolate
from taut.layers import Plain
from taut.likelihoods import Bernoulli
from taut.model import Model, centre, draw, follow, pick_prior
from taut.networks import MLP
from taut.objectives import ELBO, IWAE, RLOO, STL, VIMCO, DReG, Learner, Pathwise, Score
from taut.posteriors import Delta
from taut.posteriors import VonMisesFisher as Posterior
from taut.priors import StandardNormal, Vamp
from taut.priors import UniformSphere as Prior

torch.set_num_threads(1)

SIZES = (2, 3, 5, 40)
KAPPAS = (0.0, 1e-8, 1e-3, 0.1, 1.0, 3.0, 8.0, 13.0, 30.0, 100.0, 1e3, 1e4, 1e5)


def vmf(size: int, kappa: float, rows: int = 1, grad: bool = False) -> VonMisesFisher:
    """One density, said so many times, about a direction without special coordinates."""
    mu = unit(torch.randn(size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)).expand(rows, -1)
    mu, kappa = mu.clone(), torch.full((rows,), kappa, dtype=torch.float64)
    return VonMisesFisher(mu.requires_grad_(grad), kappa.requires_grad_(grad))


def density_of_angle(size: int, kappa: float, angle: np.ndarray) -> np.ndarray:
    """That of the angle θ between z and μ, from the density itself and the area of the ring of such z."""
    log_f = bessel(size / 2 - 1, torch.tensor(kappa, dtype=torch.float64))[0].item()
    log_q = -kappa * 2 * np.sin(0.5 * angle) ** 2 - log_f - log_area(size)
    return np.exp(log_q + log_area(size - 1) + (size - 2) * np.log(np.sin(angle)))


def angles(size: int, kappa: float, count: int = 20_001) -> np.ndarray:
    """A grid of (0, π) that is fine where the density is."""
    width = min(math.pi, 12 * math.sqrt(size / max(kappa, 1e-9)))
    return np.union1d(np.linspace(1e-12, width, count), np.linspace(1e-12, math.pi - 1e-12, count))


def circle(points: int) -> torch.Tensor:
    """z at equal steps around it, (points, 2)."""
    angle = torch.arange(points, dtype=torch.float64) * (2 * math.pi / points)
    return torch.stack([angle.cos(), angle.sin()], -1)


# --- Bessel functions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4, 11, 26, 40, 101, 300])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-7)])
def test_bessel_functions_are_right_to_the_last_digits(size, dtype, tolerance):
    order = size / 2 - 1
    kappa = torch.tensor(KAPPAS, dtype=dtype, requires_grad=True)
    found = bessel(order, kappa)
    slopes = [torch.autograd.grad(value.sum(), kappa, retain_graph=True)[0] for value in found]
    with mpmath.workdps(50):
        for i, k in enumerate(kappa.tolist()):
            log, ratio, slope = _exactly(order, mpmath.mpf(k))
            truth = (log - k, ratio, 1 - ratio, ratio - 1, slope, -slope)
            floors = (1e-3, 0, 0, 0, 0, 0)  # log F − κ is a sum that tends to 0 with κ
            for value, exact, floor in zip((*found, *slopes), truth, floors, strict=True):
                assert abs(value[i].item() - exact) <= tolerance * max(abs(exact), floor)


def _exactly(order: float, k: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]:
    """log F_ν, r_ν and r_ν' by mpmath's Bessel functions."""
    if k == 0:
        return mpmath.mpf(0), mpmath.mpf(0), 1 / mpmath.mpf(2 * order + 2)
    value, next_value = mpmath.besseli(order, k), mpmath.besseli(order + 1, k)
    ratio = next_value / value
    log = mpmath.log(mpmath.gamma(order + 1) * (2 / k) ** order * value)
    return log, ratio, 1 - ratio**2 - (2 * order + 1) * ratio / k


# --- densities ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.0, 0.7, 20.0, 1e4])
def test_densities_on_circle_and_sphere_integrate_to_one(kappa):
    """Over all of the circle and of the sphere, by the density of z alone."""
    z, q = circle(4000), vmf(2, kappa)
    assert (q.log_prob(z).exp().sum() * (2 * math.pi / 4000)).item() == pytest.approx(1, abs=1e-12)
    # the sphere: Gauss and Legendre in the cosine of the polar angle about an axis askew to μ, equal steps around it
    if kappa > 100:
        return
    q = vmf(3, kappa)
    cosine, weights = np.polynomial.legendre.leggauss(120)
    cosine, around = torch.tensor(cosine).unsqueeze(1), torch.arange(240, dtype=torch.float64) * (2 * math.pi / 240)
    sine = (1 - cosine.square()).sqrt()
    z = torch.stack([sine * around.cos(), sine * around.sin(), cosine.expand(-1, 240)], -1)
    assert q.mu.abs().min() > 0.05
    total = torch.tensor(weights) @ q.log_prob(z.unsqueeze(2)).exp().mean((1, 2)) * 2 * math.pi
    assert float(total) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("size", [2, 3, 5, 40, 200])
@pytest.mark.parametrize("kappa", [0.0, 2.0, 100.0, 1e5])
def test_densities_of_every_dimension_integrate_to_one(size, kappa):
    grid = angles(size, kappa)
    assert np.trapezoid(density_of_angle(size, kappa, grid), grid) == pytest.approx(1, abs=2e-7)


def test_the_uniform_density_is_one_over_the_area():
    for size, area in ((2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)):
        p = UniformSphere(torch.zeros(7, size, dtype=torch.float64))
        torch.manual_seed(0)
        z = p.sample((5,))
        assert z.shape == (5, 7, size)
        torch.testing.assert_close(z.norm(dim=-1), torch.ones(5, 7, dtype=torch.float64))
        torch.testing.assert_close(p.log_prob(z), torch.full((5, 7), -math.log(area), dtype=torch.float64))
        torch.testing.assert_close(p.entropy(), -p.log_prob(z[0]))
        torch.testing.assert_close(vmf(size, 0.0).log_prob(z), p.log_prob(z))
    torch.manual_seed(0)
    z = UniformSphere(torch.zeros(1, 5)).sample((40_000,))[:, 0]
    assert z.mean(0).abs().max() < 5 * math.sqrt(0.2 / 40_000)
    torch.testing.assert_close(z.T.cov(), torch.eye(5) / 5, atol=0.006, rtol=0)
    assert tempered(p, 1.0) is p
    with pytest.raises(InputError, match=r"^temperature: is 0.5, but UniformSphere knows no temperature; give 1$"):
        tempered(p, 0.5)


# --- draws -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kappa", [0.0, 0.5, 20.0, 1e4])
def test_draws_follow_the_density(size, kappa):
    """The angle to μ by its distribution function, all of z by its first two moments."""
    torch.manual_seed(size)
    n, q = 20_000, vmf(size, kappa)
    z = q.sample((n,))[:, 0]
    assert z.shape == (n, size)
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(n, dtype=torch.float64))
    grid = angles(size, kappa)
    cdf = scipy.integrate.cumulative_trapezoid(density_of_angle(size, kappa, grid), grid, initial=0)
    angle = 2 * torch.asin(0.5 * (z - q.mu).norm(dim=-1)).numpy()
    assert scipy.stats.kstest(angle, lambda a: np.interp(a, grid, cdf)).pvalue > 1e-3
    mean, per_kappa = q.mean[0], float(q.ratio) / kappa if kappa else 1 / size
    second = per_kappa * torch.eye(size, dtype=torch.float64) + (1 - size * per_kappa) * q.mu.T @ q.mu
    covariance = second - mean.outer(mean)
    deviations = covariance.diagonal().sqrt()
    assert ((z.mean(0) - mean).abs() < 5 * deviations / math.sqrt(n)).all()
    # E[zzᵀ] element by element, each within its standard error, which the draws tell
    some = z[:, :5]
    products = some.unsqueeze(1) * some.unsqueeze(2)
    error = products.std(0) / math.sqrt(n) + 1e-12
    assert ((products.mean(0) - second[:5, :5]).abs() < 5 * error).all()
    information = q.log_prob(z.unsqueeze(1))[:, 0]
    if kappa:
        assert abs((information.mean() + q.entropy()).item()) < 5 * information.std().item() / math.sqrt(n)


def test_seeds_repeat_draws_of_any_number_of_rows():
    q = VonMisesFisher(unit(torch.randn(50, 4)), torch.rand(50) * 100)
    torch.manual_seed(3)
    one = q.rsample((3,))
    torch.manual_seed(3)
    assert torch.equal(q.sample((3,)), one)
    assert one.shape == (3, 50, 4)
    assert q.sample((0,)).shape == (0, 50, 4)


# --- the divergence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kappa", [0.0, 0.5, 20.0, 1e4])
def test_divergence_is_the_integral_that_it_stands_for(size, kappa):
    q = vmf(size, kappa, grad=True)
    p = UniformSphere(torch.zeros(1, size, dtype=torch.float64))
    kl = divergence(q, p, q.mu, q.log_prob(q.mu))
    assert kl.kind == "closed"
    assert kl.parts.shape == (1, 1)
    grid = angles(size, kappa)
    density = density_of_angle(size, kappa, grid)
    log_ratio = -kappa * 2 * np.sin(0.5 * grid) ** 2 - q.log_f.item()
    assert kl.total.item() == pytest.approx(np.trapezoid(density * log_ratio, grid), abs=1e-5)
    torch.testing.assert_close(kl.total, p.entropy() - q.entropy())
    # d KL/dκ = κ Var(t)
    mean = np.trapezoid(density * np.cos(grid), grid)
    variance = np.trapezoid(density * (np.cos(grid) - mean) ** 2, grid)
    (slope,) = torch.autograd.grad(kl.total.sum(), q.kappa)
    assert slope.item() == pytest.approx(kappa * variance, rel=1e-4, abs=1e-12)


# --- gradients of draws ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5, 40, 300])
@pytest.mark.parametrize("kappa", [0.0, 0.3, 5.0, 300.0])
def test_a_draw_keeps_its_place_in_the_distribution_function(size, kappa):
    """dt/dκ = −(∂F/∂κ)/f, the derivative of F by differences of quadratures."""
    q = vmf(size, kappa)
    torch.manual_seed(0)
    angle = _Angle(size, torch.full((9,), kappa, dtype=torch.float64))
    phi = angle.sample()
    apart, ring = angle.place(phi)
    theta = 2 * np.arcsin(np.sqrt(0.5 * apart.numpy()))
    np.testing.assert_allclose(ring, np.sin(theta), rtol=1e-9)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    at = 0.5 * theta[:, None] * (1 + nodes)
    step = 1e-4 * max(1.0, kappa)
    # differences of the second order, to one side where the other is below zero
    levels = {kappa - step: -0.5, kappa + step: 0.5} if kappa else {0.0: -1.5, step: 2.0, 2 * step: -0.5}
    slope = sum(weight * (density_of_angle(size, k, at) @ weights) for k, weight in levels.items()) * 0.5 * theta / step
    # of the share of angles below θ: it grows where t does, dθ/dκ = −slope/density, dt = −sin θ dθ
    truth = slope * np.sin(theta) / density_of_angle(size, kappa, theta)
    found = angle.pull(phi, q.rest.expand(9)).numpy() * np.sin(theta) ** 2
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-8)
    assert (found > 0).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kappa", [0.3, 5.0, 1e3])
def test_gradients_of_expectations_are_unbiased(size, kappa):
    """E[e^{aᵀz}] = F(|κμ + a|)/F(κ): its gradients by κ and, along the sphere, by μ."""
    n = 10_000
    torch.manual_seed(size)
    a = torch.randn(size, dtype=torch.float64)
    q = vmf(size, kappa, rows=n, grad=True)
    values = (q.rsample() @ a).exp()
    by_mu, by_kappa = torch.autograd.grad(values.sum(), (q.mu, q.kappa))
    exact = vmf(size, kappa, grad=True)
    longer = (exact.kappa.unsqueeze(1) * exact.mu + a).norm(dim=-1)
    log_f = bessel(size / 2 - 1, longer)[0] + longer - exact.log_f - exact.kappa
    truth_mu, truth_kappa = torch.autograd.grad(log_f.exp().sum(), (exact.mu, exact.kappa))
    assert abs((values.mean() - log_f.exp()).item()) < 4.5 * values.std().item() / math.sqrt(n)
    assert abs((by_kappa.mean() - truth_kappa).item()) < 4.5 * by_kappa.std().item() / math.sqrt(n)
    along = torch.eye(size, dtype=torch.float64) - exact.mu.T @ exact.mu
    error = (by_mu @ along).std(0) / math.sqrt(n) + 1e-12
    assert ((by_mu.mean(0) @ along - truth_mu[0] @ along).abs() < 4.5 * error).all()
    assert by_kappa.std() > 0 and error.max() > 1e-9


def test_gradients_of_any_function_on_the_circle():
    """A function with many turns, by quadrature over the angle."""
    turn, kappa = torch.tensor(0.7, dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64)
    f = lambda z: (3 * torch.atan2(z[..., 1], z[..., 0]) + 1).sin() + z[..., 0].exp()  # noqa: E731

    def q(turn: torch.Tensor, kappa: torch.Tensor) -> VonMisesFisher:
        return VonMisesFisher(torch.stack([turn.cos(), turn.sin()], -1), kappa)

    grid = torch.arange(4000, dtype=torch.float64) * (2 * math.pi / 4000)
    z = torch.stack([grid.cos(), grid.sin()], -1)
    one = [turn.clone().requires_grad_(), kappa.clone().requires_grad_()]
    mean = (q(*one).log_prob(z).exp() * f(z)).sum() * (2 * math.pi / 4000)
    truth = torch.autograd.grad(mean, one)
    n = 20_000
    torch.manual_seed(1)
    many = [turn.expand(n).clone().requires_grad_(), kappa.expand(n).clone().requires_grad_()]
    found = torch.autograd.grad(f(q(*many).rsample()).sum(), many)
    for each, exact in zip(found, truth, strict=True):
        assert abs((each.mean() - exact).item()) < 4.5 * each.std().item() / math.sqrt(n)


def test_the_path_of_sticking_the_landing_has_the_gradient_of_the_divergence():
    """E[∂ log q(z)/∂z ∂z/∂φ] with the parameters of the density stopped is d KL/dφ; its noise is none where q = p."""
    for size in SIZES:
        q = vmf(size, 4.0, rows=10_000, grad=True)
        torch.manual_seed(0)
        stopped = VonMisesFisher(q.mu.detach(), q.kappa.detach())
        by_mu, by_kappa = torch.autograd.grad(stopped.log_prob(q.rsample()).sum(), (q.mu, q.kappa))
        one = vmf(size, 4.0, grad=True)
        kl = divergence(one, UniformSphere(torch.zeros(1, size, dtype=torch.float64)), one.mu, one.kappa)
        (truth,) = torch.autograd.grad(kl.total.sum(), one.kappa)
        assert abs((by_kappa.mean() - truth).item()) < 4.5 * by_kappa.std().item() / 100
        assert (by_mu.mean(0).abs() < 4.5 * by_mu.std(0) / 100).all(), "the divergence does not depend on μ"
        torch.testing.assert_close((by_mu * q.mu).sum(1), torch.zeros(10_000, dtype=torch.float64), atol=1e-9, rtol=0)


# --- single precision --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 64, 300])
def test_extremes_in_single_precision(size):
    kappa = torch.tensor([0.0, 1e-20, 1e-6, 1.0, 1e3, 1e5, 1e6]).requires_grad_()
    torch.manual_seed(0)
    mu = unit(torch.randn(7, size)).requires_grad_()
    q, p = VonMisesFisher(mu, kappa), UniformSphere(torch.zeros(7, size))
    exact = VonMisesFisher(unit(mu.detach().double()), kappa.detach().double())
    z = q.rsample((200,))
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(200, 7), atol=1e-6, rtol=0)
    log_q = q.log_prob(z)
    near = exact.log_prob(unit(z.detach().double()))
    torch.testing.assert_close(log_q.double(), near, rtol=1e-3, atol=1e-3)
    kl = divergence(q, p, z[0], log_q[0]).total
    truth = divergence(exact, UniformSphere(torch.zeros(7, size).double()), exact.mu, exact.kappa).total
    torch.testing.assert_close(kl.double(), truth, rtol=1e-5, atol=1e-5)
    for value in (kl.sum(), log_q.sum(), (z * torch.arange(size)).sum(), q.mean.square().sum()):
        for gradient in torch.autograd.grad(value, (mu, kappa), retain_graph=True, allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()
    # the spread about μ is that of the density even where 1 − t is 1e-6
    spread = 0.5 * (z.detach() - mu.detach()).double().square().sum(-1).mean(0)
    error = (exact.log_f.new_tensor((size - 1) / 2).sqrt() / exact.kappa.clamp_min(1)) / math.sqrt(200)
    assert ((spread - exact.rest).abs() < 6 * error + 1e-9).all()


def test_vectors_without_a_direction_have_one_all_the_same():
    x = torch.tensor([[0.0, 0.0], [1e-30, 0.0], [3.0, 4.0], [-1e15, 0.0]], requires_grad=True)
    torch.testing.assert_close(unit(x), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]]))
    (gradient,) = torch.autograd.grad(unit(x).sum(), x)
    assert torch.isfinite(gradient).all()


# --- models ------------------------------------------------------------------------------------------------------

SHAPE = (6,)
BINARY = Support("binary", 2)


def model(**options):
    torch.manual_seed(0)
    options = {"latents": 4, "posterior": Posterior()} | options
    spec = Model(likelihood=Bernoulli(), network=MLP(hidden=(8,)), **options)
    vae = spec.build(SHAPE, BINARY, Statistics(torch.full(SHAPE, 0.4), torch.full(SHAPE, 0.5)))
    batch = Batch((torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.4).double())
    return vae.double(), batch


def test_a_model_starts_near_half_a_nat_on_the_sphere_of_any_size():
    for size in (2, 10, 200):
        vae, batch = model(latents=size)
        trace = vae(batch)
        assert trace.rate().mean().item() == pytest.approx(0.5, abs=0.2)
        assert trace.steps[0].kl.kind == "closed"
        torch.testing.assert_close(trace.steps[0].z.norm(dim=-1), torch.ones(5, dtype=torch.float64))


def test_layers_below_the_top_lie_on_spheres_too():
    vae, batch = model(layers=(Plain(), Plain(latents=5)))
    for trace in (vae(batch, 2), vae(batch, pick=centre), vae.generate(4, pick_prior())):
        for step in trace.steps:
            torch.testing.assert_close(step.z.norm(dim=-1), torch.ones(len(step.z), dtype=torch.float64))
    trace = vae(batch, 2)
    assert (trace.rate() > 0).all()
    assert vae.layers[0].q.width == 5 and vae.layers[1].state == 9


def gradients(vae, batch, objective, tries: int) -> torch.Tensor:
    """Of the weights that the posterior is made by, (tries, weights)."""
    weights = list(vae.layers[0].evidence.parameters())
    found = []
    for seed in range(tries):
        torch.manual_seed(seed)
        loss = Learner(vae, objective)(batch, 1.0).loss
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]))
    return torch.stack(found)


@pytest.mark.parametrize("estimator", [Pathwise(), STL(), DReG(), Score("none"), RLOO(), VIMCO()], ids=repr)
def test_every_estimator_has_the_gradient_of_the_elbo(estimator):
    """On the circle the ELBO is an integral over one angle."""
    vae, batch = model(latents=2)
    with torch.no_grad():
        vae.layers[0].evidence.bias.copy_(torch.tensor([0.5, 0.2, 0.6]))
    z = circle(400)
    q = vae.infer(batch.x)
    likelihood = vae.generate(400, follow([z])).likelihood
    log_px = torch.stack([likelihood.log_prob(x.expand(400, -1)) for x in batch.x], 1)
    log_q = q.log_prob(z.unsqueeze(1))
    elbo = (log_q.exp() * (log_px - math.log(2 * math.pi) - log_q)).sum(0).mean() * (2 * math.pi / 400)
    truth = torch.autograd.grad(-elbo, list(vae.layers[0].evidence.parameters()))
    tries = 40
    found = gradients(vae, batch, ELBO(samples=50, estimator=(estimator,)), tries)
    error = found.std(0) / math.sqrt(tries)
    assert ((found.mean(0) - torch.cat([g.flatten() for g in truth])).abs() < 4.5 * error + 1e-12).all()


def test_doubly_reparameterised_gradients_are_those_of_the_importance_weighted_bound():
    vae, batch = model(latents=3)
    many = Batch(batch.x.repeat(50, 1))
    one, two = (gradients(vae, many, IWAE(samples=3, estimator=(e,)), 40) for e in (Pathwise(), DReG()))
    error = (one.var(0) + two.var(0)).sqrt() / math.sqrt(40)
    assert ((one.mean(0) - two.mean(0)).abs() < 4.5 * error).all()


def test_the_bounds_close_on_the_evidence():
    """On the circle log p(x) is an integral over one angle: importance weights average to it, the ELBO is below."""
    vae, batch = model(latents=2)
    with torch.no_grad():
        likelihood = vae.generate(400, follow([circle(400)])).likelihood
        px = torch.stack([likelihood.log_prob(x.expand(400, -1)).exp().mean() for x in batch.x])
        torch.manual_seed(0)
        trace = vae(batch, 20_000, draw)
        weights = trace.log_weight(batch).exp()
        elbo = -(trace.distortion(batch) + trace.rate()).mean(0)
    assert ((weights.mean(0) - px).abs() < 4.5 * weights.std(0) / math.sqrt(20_000)).all()
    assert (elbo < px.log()).all()


def test_a_mixture_of_posteriors_is_a_prior_on_the_sphere():
    vae, batch = model(prior=Vamp(components=7))
    trace = vae(batch, 3)
    assert trace.steps[0].kl.kind == "sampled"
    p = trace.steps[0].p
    z = p.sample()
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(15, dtype=torch.float64))
    each = torch.stack(
        [VonMisesFisher(m, k).log_prob(z) for m, k in zip(p.components.mu, p.components.kappa, strict=True)]
    )
    torch.testing.assert_close(p.log_prob(z), each.logsumexp(0) - math.log(7))


def test_what_does_not_fit_is_refused():
    line = (
        r"^model.posterior: VonMisesFisher draws points of the unit sphere, and the StandardNormal prior is of real numbers; "
        r"with VonMisesFisher go the priors UniformSphere, Vamp; with StandardNormal the posteriors "
    )
    with pytest.raises(InputError, match=line):
        model(prior=StandardNormal())
    with pytest.raises(
        InputError, match=r"^model.latents: is 1, and the unit sphere of one dimension .*; give 2 or more$"
    ):
        model(latents=1)
    assert isinstance(Model(latents=3, posterior=Posterior()).resolved(SHAPE, BINARY).prior, Prior)


# --- exploration -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = {"latents": 3, "posterior": "VonMisesFisher", "network": {"part": "MLP", "hidden": [16]}}
    out = tmp_path_factory.mktemp("runs") / "run"
    return taut.train("digits", out=out, model=model, training={"steps": 60})


def test_codes_made_by_hand_are_brought_to_the_sphere(run):
    codes = run.encode(run.dataset().test)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(run.place(3 * codes), codes, rtol=1e-6)
    np.testing.assert_allclose(run.decode(0.2 * codes), run.decode(codes), rtol=1e-4)
    path = run.place(interpolate(codes[0], codes[1], 7))
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1, rtol=1e-6)
    between = np.linalg.det(np.stack([path[3], codes[0], codes[1]]))
    assert between == pytest.approx(0, abs=1e-6), "on the great circle"
    assert run.place(np.zeros((1, 3))).tolist() == [[1, 0, 0]]
    assert run.summary["active_units"] > 0


def test_the_report_says_what_is_so_on_a_sphere(run, capsys):
    page = (run.folder / "report.html").read_text("utf-8")
    assert {path.stem for path in (run.folder / "figures").iterdir()} == {
        "samples", "reconstructions", "latent_map", "interpolations", "traversals", "curves",
    }  # fmt: skip
    assert "N(0, I)" not in page and "posterior mean" not in page
    assert "Posterior centres of" in page and "is set to values from −1 to 1" in page
    assert page.count("Codes are brought to the nearest values that the latents can take.") == 2
    assert main(["traverse", str(run.folder)]) == 0
    assert "from test example 0, latents z0; z1; z2 moved from −1 to 1" in capsys.readouterr().out


def test_a_comparison_has_a_plain_autoencoder_without_a_sphere(run):
    plain = plain_autoencoder(run.experiment)
    assert isinstance(plain.model.layers[0].posterior, Delta) and isinstance(plain.model.prior, StandardNormal)
    assert plain.model.layers[0].latents == 3
    vae = plain.model.build((1, 8, 8), run.reading.support, run.dataset().statistics())
    assert vae.layers[0].q.place(torch.full((1, 3), 2.0)).norm() > 3
