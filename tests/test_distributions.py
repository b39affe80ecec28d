"""Densities against exact truth: they sum or integrate to one, their means and samples are theirs, every closed-form
divergence is the integral that it stands for, and nothing overflows where training may go."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from torch import distributions as td

from taut import distributions
from taut.data import Statistics, Support
from taut.distributions import (
    AR1,
    Affine,
    Delta,
    DiagonalNormal,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Factorised,
    Mixture,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    divergence,
    register_divergence,
    tempered,
)
from taut.distributions.bernoulli import Bernoulli as BernoulliOfLogits
from taut.distributions.counts import log_rise
from taut.distributions.divergence import _closed
from taut.errors import InputError
from taut.likelihoods import (
    Bernoulli,
    BetaBinomial,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    Gaussian,
    Laplace,
    Likelihood,
    default_likelihood,
    require_fit,
)
from taut.likelihoods import DiscretisedLogistic as LogisticLikelihood
from taut.likelihoods import DiscretisedLogisticMixture as LogisticMixture
from taut.posteriors import FullNormal as FullNormalPosterior

torch.set_num_threads(1)

SUPPORTS = {
    "binary": Support("binary", 2),
    "few": Support("integers", 5),
    "bytes": Support("integers", 256),
    "counts": Support("counts"),
    "unit": Support("unit"),
    "real": Support("real"),
    "positive": Support("positive"),
    "whole": Support("real", whole=True),
}
ELEMENTWISE = {
    name: member for name, member in sorted(Likelihood.members.items()) if member.averaged and name != "Columns"
}
"""Those whose elements are of one kind and do not depend on each other; the others have tests of their own."""
DISCRETE = [
    (name, support)
    for name, member in ELEMENTWISE.items()
    for support in ("binary", "few", "bytes")
    if not member.continuous and member().fits(SUPPORTS[support])
]
DENSITIES = [
    (spec, support)
    for spec in (
        Gaussian(),
        Gaussian(spread="shared"),
        Gaussian(spread="optimal"),
        Gaussian(spread="constant", scale=0.3),
        Laplace(),
        Laplace(spread="shared"),
        Laplace(spread="optimal"),
        Laplace(spread="constant", scale=0.3),
        ContinuousBernoulli(),
    )
    for support in SUPPORTS
    if spec.fits(SUPPORTS[support])
]
ALL = [(name, key) for name, m in ELEMENTWISE.items() for key in SUPPORTS if m().fits(SUPPORTS[key])]
EXTREMES = (-60.0, -8.0, -1e-3, 0.0, 1e-3, 8.0, 60.0)


def statistics(shape: tuple[int, ...], mean: float, std: float, dtype=torch.float64) -> Statistics:
    return Statistics(torch.full(shape, mean, dtype=dtype), torch.full(shape, std, dtype=dtype))


def head(spec: Likelihood, support: Support, shape=(1,), dtype=torch.float64):
    """A head in evaluation whose own offset is zero, so that the numbers given are the parameters."""
    levels = support.levels or 1
    module = spec.build(shape, support, statistics(shape, 0.4 * levels, 0.7 * levels)).to(dtype)
    torch.nn.init.zeros_(module.offset)
    return module.eval()


def parameters(outputs: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    """(N, outputs, 1): random ones, and every pair of extremes in the first two numbers."""
    generator = torch.Generator().manual_seed(seed)
    random = 3 * torch.randn(20, outputs, 1, generator=generator, dtype=dtype)
    pairs = torch.tensor([(a, b) for a in EXTREMES for b in EXTREMES], dtype=dtype)
    extreme = torch.zeros(len(pairs), outputs, 1, dtype=dtype)
    extreme[:, : min(2, outputs), 0] = pairs[:, :outputs]
    return torch.cat([random, extreme])


def over_support(density, n: int, levels: int, dtype=torch.float64) -> torch.Tensor:
    """log P(x = k), (levels, N)."""
    return torch.stack([density.log_prob(torch.full((n, 1), float(k), dtype=dtype)) for k in range(levels)])


def on_grid(spec: Likelihood, support: Support, module, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Points that reach far into the tails and are fine about the peak, and p(x) there."""
    levels = support.levels or 1
    if isinstance(spec, ContinuousBernoulli):
        grid = levels * torch.linspace(0, 1, 30_001).double()
    else:
        grid = module(row).mean.item() + levels * 1e-3 * torch.linspace(-14, 14, 30_001).double().sinh()
    return grid, module(row.expand(len(grid), -1, -1)).log_prob(grid.unsqueeze(1)).exp().detach()


# --- sums and integrals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "support"), DISCRETE)
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 3e-4)])
def test_probabilities_sum_to_one(name, support, dtype, within):
    spec, support = ELEMENTWISE[name](), SUPPORTS[support]
    module = head(spec, support, dtype=dtype)
    params = parameters(module.outputs, dtype=dtype)
    log_prob = over_support(module(params), len(params), support.levels, dtype)
    assert not log_prob.isnan().any()
    assert (log_prob <= 1e-4).all()
    assert torch.isfinite(log_prob).all()
    torch.testing.assert_close(log_prob.double().exp().sum(0), torch.ones(len(params)).double(), rtol=0, atol=within)


@pytest.mark.parametrize(("spec", "support"), DENSITIES, ids=str)
def test_densities_integrate_to_one_in_the_units_of_the_data(spec, support):
    support = SUPPORTS[support]
    module = head(spec, support)
    params = 1.5 * torch.randn(8, module.outputs, 1, generator=torch.Generator().manual_seed(1)).double()
    if isinstance(spec, ContinuousBernoulli):
        params = torch.cat([params, torch.tensor(EXTREMES).double().view(-1, 1, 1)])
    for row in params.unsqueeze(1):
        grid, density = on_grid(spec, support, module, row)
        assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=2e-5)


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_densities_can_be_printed(name):
    spec = ELEMENTWISE[name]()
    module = head(spec, next(s for s in SUPPORTS.values() if spec.fits(s)))
    assert "(" in repr(module(parameters(module.outputs)))


def test_affine_carries_the_jacobian():
    base, a, b = td.Normal(torch.tensor(0.3).double(), torch.tensor(1.7).double()), 5.0, torch.tensor(0.04).double()
    x = torch.tensor([4.9, 5.0, 5.2]).double()
    density = Affine(base, torch.tensor(a), b)
    truth = scipy.stats.norm(a + 0.04 * 0.3, 0.04 * 1.7)
    torch.testing.assert_close(density.log_prob(x), torch.tensor(truth.logpdf(x.numpy())))
    assert density.mean.item() == pytest.approx(truth.mean())
    assert density.stddev.item() == pytest.approx(truth.std())


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_discretised_logistic_bins_are_differences_of_the_distribution_function(levels):
    location = torch.linspace(-3, levels + 2, 9).double().repeat(4)
    log_scale = torch.tensor([-3.0, 0.0, 2.0, 12.0]).double().repeat_interleave(9)
    d = DiscretisedLogistic(location, log_scale, levels)
    scale = log_scale.exp()
    below = torch.zeros_like(location)
    for k in range(levels):
        upper = torch.sigmoid((k + 0.5 - location) / scale) if k < levels - 1 else torch.ones_like(location)
        value = torch.full_like(location, float(k))
        torch.testing.assert_close(d.log_prob(value).exp(), upper - below, rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(d.cdf(value), upper)
        below = upper


# --- extremes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "support"), ALL)
def test_log_prob_and_its_gradient_are_finite_at_extremes(name, support, dtype):
    support = SUPPORTS[support]
    module = head(ELEMENTWISE[name](), support, dtype=dtype)
    top = float((support.levels or 2) - 1)
    values = {0.0, 1.0, top, float(int(top / 2))} if support.discrete else {0.0, 0.3, 1.0}
    values |= {"real": {-1e4, 1e4}, "counts": {300.0, 1e7}}.get(support.kind, set())
    for value in sorted(values):
        params = parameters(module.outputs, dtype=dtype).requires_grad_()
        log_prob = module(params).log_prob(torch.full((len(params), 1), value, dtype=dtype))
        assert torch.isfinite(log_prob).all(), value
        assert torch.isfinite(torch.autograd.grad(log_prob.sum(), params)[0]).all(), value
        assert torch.isfinite(module(params).mean).all()
        assert torch.isfinite(module(params).sample()).all()


def test_continuous_bernoulli_gradient_is_value_minus_mean_everywhere():
    """d log p(x)/dη = x − E[x], also at η = 0 where the two formulas meet."""
    logits = torch.tensor([-60.0, -1.0, -0.02, -0.005, 0.0, 0.005, 0.02, 1.0, 60.0]).double()
    leaf = logits.clone().view(-1, 1, 1).requires_grad_()
    density = head(ContinuousBernoulli(), SUPPORTS["unit"])(leaf)
    (gradient,) = torch.autograd.grad(density.log_prob(torch.full((9, 1), 0.3).double()).sum(), leaf)
    torch.testing.assert_close(gradient.flatten(), 0.3 - density.mean.detach().flatten(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("spec", [Gaussian(), Laplace(), Gaussian(spread="shared"), Laplace(spread="shared")], ids=str)
def test_learned_scales_stay_between_their_bounds(spec):
    module = head(spec, SUPPORTS["real"])
    for raw, bound in ((-60.0, spec.floor), (200.0, 100.0)):
        params = torch.full((1, module.outputs, 1), raw).double()
        if spec.spread == "shared":
            torch.nn.init.constant_(module.shared, raw)
        base = module(params).base.base
        assert base.scale.item() == pytest.approx(bound, rel=1e-3)
        assert base.log_prob(torch.zeros(1, 1).double()).isfinite().all()
    assert module(params * 0 - 60.0).base.base.scale.item() >= spec.floor or spec.spread == "shared"


# --- means and samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "support"), DISCRETE)
def test_means_and_samples_of_probabilities_agree_with_enumeration(name, support):
    spec, support = ELEMENTWISE[name](), SUPPORTS[support]
    module = head(spec, support)
    params = parameters(module.outputs)
    density = module(params)
    values = torch.arange(float(support.levels)).double().unsqueeze(1)
    probs = over_support(density, len(params), support.levels).exp()
    mean = (values * probs).sum(0)
    deviation = ((values - mean).square() * probs).sum(0).sqrt()
    if isinstance(spec, LogisticLikelihood | LogisticMixture):  # of the clamped variable before rounding, as it says
        assert ((density.mean[:, 0] - mean).abs() <= 0.5 + 1e-9).all()
        assert (density.mean >= 0).all()
        assert (density.mean <= support.levels - 1).all()
    else:
        torch.testing.assert_close(density.mean[:, 0], mean, rtol=1e-7, atol=1e-9)
    torch.manual_seed(2)
    n = 4000
    drawn = density.sample((n,))[..., 0]
    assert ((drawn == drawn.round()) & (drawn >= 0) & (drawn <= support.levels - 1)).all()
    assert ((drawn.mean(0) - mean).abs() <= 5 * deviation / math.sqrt(n) + 1e-3).all()


def test_discretised_logistic_mean_is_the_integral_of_its_tail():
    """E[clamp(X, 0, top)] = ∫₀^top P(X > t) dt, and nothing cancels in float32 however wide the scale."""
    location = torch.tensor([-40.0, 0.0, 3.3, 7.0, 30.0]).repeat(6)
    log_scale = torch.tensor([-4.0, 0.0, 3.0, 6.5, 9.0, 60.0]).repeat_interleave(5)
    grid = torch.linspace(0, 7, 200_001).double().unsqueeze(1)
    tail = torch.sigmoid((location.double() - grid) / log_scale.double().exp())
    truth = torch.trapezoid(tail, grid, dim=0)
    mean = DiscretisedLogistic(location, log_scale, 8).mean
    torch.testing.assert_close(mean.double(), truth, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("spec", "support"), DENSITIES, ids=str)
def test_means_and_samples_of_densities_agree_with_quadrature(spec, support):
    support = SUPPORTS[support]
    module = head(spec, support)
    params = torch.randn(3, module.outputs, 1, generator=torch.Generator().manual_seed(3)).double()
    levels = support.levels or 1
    torch.manual_seed(4)
    for row in params.unsqueeze(1):
        grid, density = on_grid(spec, support, module, row)
        mean = torch.trapezoid(density * grid, grid).item()
        deviation = math.sqrt(torch.trapezoid(density * (grid - mean).square(), grid).item())
        one = module(row)
        assert one.mean.item() == pytest.approx(mean, abs=1e-4 * levels)
        drawn = one.sample((20_000,))
        assert drawn.mean().item() == pytest.approx(mean, abs=5 * deviation / math.sqrt(20_000))
        assert drawn.std().item() == pytest.approx(deviation, rel=0.06)
        # the distribution function, at three points
        for quantile in (0.1, 0.5, 0.9):
            point = torch.quantile(drawn, quantile).item()
            mass = torch.trapezoid(density[grid <= point], grid[grid <= point]).item()
            assert mass == pytest.approx(quantile, abs=5 * math.sqrt(quantile * (1 - quantile) / 20_000) + 1e-3)


@pytest.mark.parametrize("logit", [-60.0, -20.0, -0.5, 0.0, 1e-4, 0.5, 20.0, 60.0])
def test_continuous_bernoulli_draws_by_inversion(logit):
    """A Kolmogorov–Smirnov test against F(x) = (e^{ηx} − 1)/(e^η − 1)."""
    torch.manual_seed(5)
    drawn = head(ContinuousBernoulli(), SUPPORTS["unit"])(torch.full((4000, 1, 1), logit).double()).sample()
    x = drawn.flatten().sort().values
    if abs(logit) < 1e-3:
        cdf = x
    elif logit < 0:
        cdf = torch.expm1(logit * x) / math.expm1(logit)
    else:
        cdf = (torch.exp(logit * (x - 1)) - math.exp(-logit)) / -math.expm1(-logit)
    rank = (torch.arange(4000) + 0.5) / 4000
    assert (cdf - rank).abs().max() < 2 / math.sqrt(4000)


# --- against others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [1, 4, 255])
def test_binomial_is_scipys(trials):
    logits = torch.tensor([-5.0, -0.3, 0.0, 2.0, 5.0]).double()
    density = head(Binomial(), Support("integers", trials + 1))(logits.view(-1, 1, 1))
    for k in sorted({0, 1, trials // 2, trials}):
        truth = scipy.stats.binom(trials, torch.sigmoid(logits).numpy()).logpmf(k)
        ours = density.log_prob(torch.full((5, 1), float(k)).double())
        torch.testing.assert_close(ours, torch.tensor(truth), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_binomial_of_many_trials_loses_nothing(dtype):
    logits = torch.linspace(-4, 4, 9, dtype=dtype)
    density = head(Binomial(), Support("integers", 65_536), dtype=dtype)(logits.view(-1, 1, 1))
    chance = torch.sigmoid(logits.double()).numpy()
    for shift in (-400, 0, 300):
        k = (65_535 * chance).round() + shift
        truth = torch.tensor(scipy.stats.binom(65_535, chance).logpmf(k)).unsqueeze(1)
        ours = density.base.log_prob(torch.tensor(k, dtype=dtype).unsqueeze(1))
        torch.testing.assert_close(ours.double(), truth, rtol=1e-7 if dtype == torch.float32 else 1e-9, atol=1e-7)


@pytest.mark.parametrize("trials", [1, 4, 255, 65_535])
def test_beta_binomial_is_scipys(trials):
    logits = torch.tensor([-4.0, -0.3, 0.0, 2.0]).double().repeat(5)
    log_nu = torch.tensor([-6.0, -1.0, 0.7, 3.0, 7.0]).double().repeat_interleave(4)
    params = torch.stack([logits, log_nu], 1).unsqueeze(2)
    density = head(BetaBinomial(), Support("integers", trials + 1))(params)
    p, nu = torch.sigmoid(logits).numpy(), log_nu.exp().numpy()
    truth = scipy.stats.betabinom(trials, p * nu, (1 - p) * nu)
    for k in sorted({0, 1, trials // 2, trials}):
        ours = density.log_prob(torch.full((20, 1), float(k)).double())
        torch.testing.assert_close(ours, torch.tensor(truth.logpmf(k)), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(density.mean[:, 0], torch.tensor(truth.mean()))


# --- counts ------------------------------------------------------------------------------------------------------

LOG_MEANS = torch.tensor([-5.0, -0.5, 0.0, 1.3, 4.0]).double().repeat(5)
LOG_THETAS = torch.tensor([-1.5, 0.0, 1.0, 2.8, 9.0]).double().repeat_interleave(5)
COUNTS = {
    "Poisson": Poisson(LOG_MEANS),
    "NegativeBinomial": NegativeBinomial(LOG_MEANS, LOG_THETAS),
    "ZeroInflatedNegativeBinomial": ZeroInflatedNegativeBinomial(LOG_MEANS, LOG_THETAS, LOG_THETAS.flip(0) - 3),
}


def test_every_likelihood_of_counts_is_tested_here():
    assert set(COUNTS) == {name for name, m in ELEMENTWISE.items() if m().fits(SUPPORTS["counts"]) and not m.continuous}


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_counts_sum_to_one_and_means_and_samples_are_theirs(name):
    d = COUNTS[name]
    k = torch.arange(20_000.0).double().unsqueeze(1)
    probs = d.log_prob(k).exp()
    torch.testing.assert_close(probs.sum(0), torch.ones(25).double(), rtol=0, atol=1e-10)
    mean = (k * probs).sum(0)
    torch.testing.assert_close(d.mean, mean, rtol=1e-8, atol=0)
    variance = ((k - mean).square() * probs).sum(0)
    fourth = ((k - mean) ** 4 * probs).sum(0)
    torch.manual_seed(8)
    n = 20_000
    drawn = d.sample((n,))
    assert drawn.dtype == torch.float64
    assert ((drawn == drawn.round()) & (drawn >= 0)).all()
    assert ((drawn.mean(0) - mean).abs() <= 5 * (variance / n).sqrt()).all()
    assert ((drawn.var(0) - variance).abs() <= 5 * ((fourth - variance.square()) / n).sqrt()).all()
    zeros = probs[0]
    assert (((drawn == 0).double().mean(0) - zeros).abs() <= 5 * (zeros * (1 - zeros) / n).sqrt() + 1e-9).all()


@pytest.mark.parametrize("k", [0, 1, 7, 300, 70_000])
def test_counts_are_scipys(k):
    value = torch.tensor(float(k)).double()
    mean, theta = LOG_MEANS.exp().numpy(), LOG_THETAS.exp().numpy()
    poisson = torch.tensor(scipy.stats.poisson(mean).logpmf(k))
    binomial = torch.tensor(scipy.stats.nbinom(theta, theta / (theta + mean)).logpmf(k))
    torch.testing.assert_close(COUNTS["Poisson"].log_prob(value), poisson, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(COUNTS["NegativeBinomial"].log_prob(value), binomial, rtol=1e-8, atol=1e-8)
    zinb = COUNTS["ZeroInflatedNegativeBinomial"]
    inflation = torch.sigmoid(zinb.logits)
    truth = torch.log((1 - inflation) * binomial.exp() + inflation * (k == 0))
    seen = binomial > -600  # elsewhere the plain formula underflows
    torch.testing.assert_close(zinb.log_prob(value)[seen], truth[seen], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("k", [0, 1, 2, 15, 16, 1000])
def test_rising_factorial_and_its_gradient_are_the_sum(k):
    """R(a, k) = Σ_{j<k} log(1 + j/a), and dR/d log a = −Σ_{j<k} j/(a + j)."""
    log_a = torch.cat([torch.linspace(-60, 60, 61), torch.tensor([2.77, 2.7725, 2.7726, 2.78, -1e4, 1e4])]).double()
    log_a.requires_grad_()
    found = log_rise(log_a, torch.full_like(log_a, k))
    (gradient,) = torch.autograd.grad(found.sum(), log_a)
    for one, value, slope in zip(log_a.tolist(), found.tolist(), gradient.tolist(), strict=True):
        log_ratios = [math.log(j) - one for j in range(1, k)]  # log j/a
        truth = math.fsum(r + math.log1p(math.exp(-r)) if r > 0 else math.log1p(math.exp(r)) for r in log_ratios)
        assert value == pytest.approx(truth, rel=1e-11, abs=1e-11)
        descent = math.fsum(1 / (1 + math.exp(-r)) if r > -700 else 0.0 for r in log_ratios)
        assert slope == pytest.approx(-descent, rel=1e-9, abs=1e-9)


def test_limits_of_counts_are_the_plainer_distributions():
    k = torch.tensor([0.0, 1.0, 50.0, 1e6]).double().unsqueeze(1)
    for infinite in (40.0, 60.0, 1e4):
        d = NegativeBinomial(LOG_MEANS, torch.full_like(LOG_MEANS, infinite))
        torch.testing.assert_close(d.log_prob(k), COUNTS["Poisson"].log_prob(k), rtol=1e-9, atol=1e-9)
        few = k.clamp(max=255)
        params = torch.stack([LOG_MEANS, torch.full_like(LOG_MEANS, infinite)], 1).unsqueeze(2)
        heads = (head(spec, SUPPORTS["bytes"]) for spec in (BetaBinomial(), Binomial()))
        pairs = [each(params[:, : each.outputs]).base for each in heads]
        ours, plain = (d.log_prob(few.unsqueeze(2).expand(4, 25, 1)) for d in pairs)
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
    d = ZeroInflatedNegativeBinomial(LOG_MEANS, LOG_THETAS, torch.full_like(LOG_MEANS, -800.0))
    torch.testing.assert_close(d.log_prob(k), COUNTS["NegativeBinomial"].log_prob(k))


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_counts_in_float32_are_as_exact_as_their_type(name):
    k = torch.tensor([0.0, 3.0, 400.0, 1e6]).double().unsqueeze(1)
    spec = ELEMENTWISE[name]()
    exact = head(spec, SUPPORTS["counts"])
    rough = head(spec, SUPPORTS["counts"], dtype=torch.float32)
    params = torch.randn(50, exact.outputs, 1, generator=torch.Generator().manual_seed(9)) * 3
    ours = rough(params).base.log_prob(k.float().unsqueeze(1))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(
        ours.double(), exact(params.double()).base.log_prob(k.unsqueeze(1)), rtol=2e-7, atol=2e-7
    )


# --- the mixture of logistics ------------------------------------------------------------------------------------


def test_a_mixture_of_logistics_is_the_weighted_sum():
    generator = torch.Generator().manual_seed(10)
    logits, location, log_scale = torch.randn(3, 6, 4, generator=generator).double()
    d = DiscretisedLogisticMixture(logits, 4 + 3 * location, log_scale, 9)
    parts = [DiscretisedLogistic(4 + 3 * location[:, i], log_scale[:, i], 9) for i in range(4)]
    weights = logits.softmax(-1).unbind(-1)
    below = torch.zeros(6).double()
    for k in range(9):
        value = torch.full((6,), float(k)).double()
        truth = sum(w * p.log_prob(value).exp() for w, p in zip(weights, parts, strict=True))
        torch.testing.assert_close(d.log_prob(value).exp(), truth)
        below = below + truth
        torch.testing.assert_close(d.cdf(value), below)
    one = head(LogisticMixture(components=1), SUPPORTS["bytes"])
    plain = head(LogisticLikelihood(), SUPPORTS["bytes"])
    params = torch.randn(5, 3, 1, generator=generator).double()
    x = plain(params[:, :2]).sample()
    torch.testing.assert_close(one(params).log_prob(x), plain(params[:, :2]).log_prob(x))


# --- the optimal scale -------------------------------------------------------------------------------------------

OPTIMAL = [(Gaussian(spread="optimal"), 2), (Laplace(spread="optimal"), 1)]


@pytest.mark.parametrize(("spec", "order"), OPTIMAL, ids=str)
def test_the_optimal_scale_in_training_is_the_best_for_the_batch(spec, order):
    module = head(spec, SUPPORTS["real"], (2, 3)).train()
    generator = torch.Generator().manual_seed(11)
    out = torch.randn(5, 1, 2, 3, generator=generator).double().requires_grad_()
    x = torch.randn(5, 2, 3, generator=generator).double()
    mask = torch.rand(5, 2, 3, generator=generator) < 0.7
    for observed in (None, mask):
        given = x if observed is None else torch.where(mask, x, math.nan)
        log_prob = module(out).log_prob(given, observed).sum()
        (gradient,) = torch.autograd.grad(log_prob, out)
        # the gradient is also that through a differentiated optimum, as the loss is flat in the scale there
        residual = ((x - module.shift) / module.scale - out[:, 0]).abs() ** order
        best = (residual.mean() if observed is None else residual[mask].mean()) ** (1 / order)
        through = spec.about(out[:, 0], best.expand(5, 2, 3)).log_prob((x - module.shift) / module.scale)
        through = (through - module.scale.log())[slice(None) if observed is None else mask].sum()
        torch.testing.assert_close(log_prob, through)
        torch.testing.assert_close(gradient, torch.autograd.grad(through, out, retain_graph=True)[0])
        for factor in (0.9, 1.1):
            worse = spec.about(out[:, 0], (factor * best).expand(5, 2, 3)).log_prob((x - module.shift) / module.scale)
            worse = (worse - module.scale.log())[slice(None) if observed is None else mask].sum()
            assert worse < log_prob


@pytest.mark.parametrize(("spec", "order"), OPTIMAL, ids=str)
def test_the_optimal_scale_in_evaluation_is_of_training_data_only(spec, order):
    module = head(spec, SUPPORTS["real"], (4,)).train()
    out = torch.zeros(500, 1, 4).double()
    torch.manual_seed(12)
    truth = Affine(spec.about(out[:, 0], torch.full((), 0.3).double()), module.shift, module.scale)
    for _ in range(50):
        module(out).log_prob(truth.sample())
    assert int(module.batches) == 50
    module.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    far = module.shift + 100 + torch.zeros(500, 4).double()
    x = torch.cat([truth.sample()[:2], far[:1]])
    log_prob = module(out[:3]).log_prob(x)
    each = torch.cat([module(out[:1]).log_prob(one.unsqueeze(0)) for one in x])
    torch.testing.assert_close(log_prob, each, msg="an example's bound does not see the others")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module(out).base.base.scale[0, 0].item() == pytest.approx(0.3, rel=0.01)
    other = spec.build((4,), SUPPORTS["real"], statistics((4,), 0.0, 1.0)).double().eval()
    other.load_state_dict(before)
    assert torch.equal(other(out[:3]).log_prob(x), log_prob)


@pytest.mark.parametrize(("spec", "order"), OPTIMAL, ids=str)
def test_the_optimal_scale_keeps_to_its_floor(spec, order):
    module = head(spec, SUPPORTS["real"], (4,)).train()
    out = torch.zeros(3, 1, 4).double().requires_grad_()
    log_prob = module(out).log_prob(module.shift.expand(3, 4))
    at_floor = spec.about(torch.zeros(()), torch.tensor(spec.floor)).log_prob(torch.zeros(()))
    assert log_prob[0].item() == pytest.approx(4 * (at_floor.item() - math.log(0.7)), rel=1e-6)
    assert torch.isfinite(torch.autograd.grad(log_prob.sum(), out)[0]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bernoulli_keeps_its_normaliser_from_nothing_to_overflow(dtype):
    # more rows than go through at once, logits where eᵃ vanishes, is one and would overflow
    logits = torch.linspace(-200, 200, 300 * 500, dtype=dtype).view(500, 300).T.contiguous()
    x = (torch.arange(500) % 2).to(dtype).expand(300, 500)
    exact = logits.double().requires_grad_()
    expected = td.Bernoulli(logits=exact).log_prob(x.double()).sum(1)
    logits.requires_grad_()
    ours = BernoulliOfLogits(logits).joint_log_prob(x)
    torch.testing.assert_close(ours, expected.to(dtype), rtol=1e-6 if dtype == torch.float32 else 1e-9, atol=0)
    (mine,), (theirs,) = torch.autograd.grad(ours.sum(), logits), torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(mine, theirs.to(dtype), rtol=1e-5, atol=1e-7)


def test_continuous_bernoulli_is_torchs_where_torch_is_accurate():
    logits = torch.linspace(-9, 9, 37).double()
    ours = head(ContinuousBernoulli(), SUPPORTS["unit"])(logits.view(-1, 1, 1))
    theirs = td.ContinuousBernoulli(logits=logits, lims=(0.4999999, 0.5000001))
    x = torch.full((37,), 0.21).double()
    torch.testing.assert_close(ours.log_prob(x.unsqueeze(1)), theirs.log_prob(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.mean[:, 0], theirs.mean, rtol=1e-5, atol=1e-6)


def test_constant_gaussian_is_the_squared_error_with_its_constant():
    density = head(Gaussian(spread="constant", scale=0.5), SUPPORTS["real"])(torch.zeros(1, 1, 1).double())
    x = torch.tensor([[1.1]]).double()
    expected = -0.5 * ((1.1 - 0.4) / (0.5 * 0.7)) ** 2 - math.log(0.5 * 0.7) - 0.5 * math.log(2 * math.pi)
    assert density.log_prob(x).item() == pytest.approx(expected)


# --- masks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_masks_leave_elements_out(name):
    spec = ELEMENTWISE[name]()
    support = next(s for s in SUPPORTS.values() if spec.fits(s))
    module = head(spec, support, (2, 3))
    params = torch.randn(4, module.outputs, 2, 3, generator=torch.Generator().manual_seed(6)).double()
    x = module(params).sample()
    mask = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(7)) < 0.5
    each = module(params).base.log_prob(x)
    log_prob = module(params).log_prob(x, mask)
    torch.testing.assert_close(log_prob, (each * mask).sum((1, 2)))
    torch.testing.assert_close(module(params).log_prob(x, torch.ones_like(mask)), module(params).log_prob(x))
    # what a missing cell holds, even NaN, reaches neither the value nor the gradient
    leaf = params.clone().requires_grad_()
    broken = torch.where(mask, x, math.nan)
    again = module(leaf).log_prob(broken, mask)
    torch.testing.assert_close(again, log_prob)
    (gradient,) = torch.autograd.grad(again.sum(), leaf)
    assert torch.isfinite(gradient).all()
    assert (gradient.movedim(1, -1)[~mask] == 0).all()


# --- heads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
@pytest.mark.parametrize("support", sorted(SUPPORTS))
def test_a_fresh_head_starts_at_about_the_mean_of_the_data(name, support):
    spec, support = ELEMENTWISE[name](), SUPPORTS[support]
    if not spec.fits(support):
        return
    top = float((support.levels or 2) - 1)
    means = torch.tensor([0.1, 0.3, 0.5, 0.8])
    spread = (means * (1 - means)).sqrt() if support.kind == "binary" else torch.full((4,), 0.15)
    module = spec.build((4,), support, Statistics(top * means, top * spread))
    start = module(torch.zeros(1, module.outputs, 4)).mean[0]
    start = start - 0.5 if module.dequantise and name == "ContinuousBernoulli" else start
    assert ((start / top - means).abs() < 0.12).all(), start / top
    assert torch.isfinite(start).all()


@pytest.mark.parametrize("support", sorted(SUPPORTS))
def test_the_rule_gives_a_likelihood_that_fits_and_refuses_what_does_not(support):
    support = SUPPORTS[support]
    chosen = default_likelihood(support)
    require_fit(chosen, support)
    assert (
        not (support.discrete and chosen.continuous) or support.whole
    )  # whole numbers of a wide range are dequantised
    for name, member in Likelihood.members.items():
        if not member().fits(support):
            with pytest.raises(InputError, match=rf"model.likelihood: {name} is no likelihood of .*; .* fit .*[A-Z]"):
                require_fit(member(), support)
        elif support.discrete and member.continuous:
            assert head(member(), support).dequantise


@pytest.mark.parametrize("name", ["Diffusion", "Gaussian"])
def test_no_density_is_one_of_columns_that_have_probabilities(name):
    density = Likelihood.members[name]()
    require_fit(density, Support("columns", columns=(Support("real"), Support("positive"))))
    mixed = Support("columns", columns=(Support("real"), Support("categories", 3), Support("integers", 5)))
    with pytest.raises(
        InputError, match=rf"^model.likelihood: {name} is no likelihood of 1 real, 1 cat.* fit Columns$"
    ):
        require_fit(density, mixed, missing=True)
    require_fit(default_likelihood(mixed), mixed, missing=True)  # as the configuration of every run on a table names it


def test_binomial_and_binarisation_are_offered_for_grey_values():
    with pytest.raises(InputError, match=r"Binomial\(255\).*ContinuousBernoulli.*--data.binarize"):
        require_fit(Bernoulli(), SUPPORTS["bytes"])


@pytest.mark.parametrize("member", [Gaussian, Laplace, LogisticLikelihood, LogisticMixture])
@pytest.mark.parametrize("floor", [0.0, -1.0, math.inf, math.nan])
def test_floors_that_are_none_are_refused(member, floor):
    with pytest.raises(InputError, match=r"floor: is .*; give a number above 0"):
        member(floor=floor)


def test_integers_that_are_counts_may_be_called_so():
    with pytest.raises(InputError, match=r"Poisson is no likelihood of integers 0 to 4; .*--data.support counts"):
        require_fit(Likelihood.members["Poisson"](), SUPPORTS["few"])
    with pytest.raises(InputError, match=r"Binomial is no likelihood of counts from 0; .*NegativeBinomial") as refusal:
        require_fit(Binomial(), SUPPORTS["counts"])
    assert "--data" not in str(refusal.value)
    assert isinstance(default_likelihood(SUPPORTS["counts"]), Likelihood.members["NegativeBinomial"])


def test_categorical_with_free_probabilities():
    density = head(Categorical(), SUPPORTS["few"])(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).double().view(1, 5, 1))
    truth = torch.softmax(torch.arange(1.0, 6).double(), 0)
    torch.testing.assert_close(over_support(density, 1, 5).exp()[:, 0], truth)


# --- the diagonal normal, the point, temperature -----------------------------------------------------------------


def normal(seed: int, n: int, *event: int) -> DiagonalNormal:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, *event, generator=generator, dtype=torch.float64)
    return DiagonalNormal(mean, 0.7 * torch.randn(n, *event, generator=generator, dtype=torch.float64))


def test_diagonal_normal_is_torchs():
    q = normal(0, 4, 2, 3)
    truth = td.Independent(td.Normal(q.mean, q.stddev), 2)
    torch.manual_seed(0)
    ours = q.rsample()
    torch.manual_seed(0)
    torch.testing.assert_close(ours, truth.rsample())
    torch.testing.assert_close(q.log_prob(ours), truth.log_prob(ours))
    torch.testing.assert_close(q.variance, truth.variance)
    many = q.sample((20_000,))
    assert many.shape == (20_000, 4, 2, 3)
    assert q.log_prob(many).shape == (20_000, 4)
    assert ((many.mean(0) - q.mean).abs() < 5 * q.stddev / math.sqrt(20_000)).all()
    assert not q.sample().requires_grad


def elementwise(family: type):
    def make(seed: int):
        d = normal(seed, 2, 3)
        return family(d.mu, d.log_scale)

    return make


def correlated(rank: int | None):
    def make(seed: int):
        module = FullNormalPosterior(rank=rank).build((3,)).double()
        params = torch.randn(2, module.width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return module(params)

    return make


MAKERS = {
    DiagonalNormal: lambda seed: normal(seed, 2, 3),
    AR1: lambda seed: AR1(0.6, torch.zeros(2, 3, dtype=torch.float64), 0.2),
    distributions.Laplace: elementwise(distributions.Laplace),
    distributions.Logistic: elementwise(distributions.Logistic),
    distributions.Cauchy: elementwise(distributions.Cauchy),
    distributions.TruncatedNormal: lambda seed: distributions.TruncatedNormal(
        normal(seed, 2, 3).mu, normal(seed, 2, 3).log_scale, 2.0
    ),
    distributions.FullNormal: correlated(None),
    distributions.LowRankNormal: correlated(1),
    distributions.OneHot: lambda seed: distributions.OneHot(2 * normal(seed, 2, 3, 4).mu),
    distributions.Bits: lambda seed: distributions.Bits(2 * normal(seed, 2, 3).mu),
    distributions.VonMisesFisher: lambda seed: distributions.VonMisesFisher(
        torch.eye(3, dtype=torch.float64)[:2], torch.tensor([0.5, 9.0], dtype=torch.float64)
    ),
    distributions.UniformSphere: lambda seed: distributions.UniformSphere(torch.zeros(2, 3, dtype=torch.float64)),
}
# these have the divergence of the discrete density that they stand for: tests/test_relaxed.py, tests/test_quantised.py
STANDING_IN = {
    distributions.RelaxedBits,
    distributions.RelaxedOneHot,
    distributions.StraightThrough,
    distributions.Quantised,
}


def test_every_registered_closed_form_is_tested_here():
    assert {each for pair in _closed for each in pair} <= {*MAKERS, *STANDING_IN, distributions.Embedded}


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in _closed if pair[0] not in STANDING_IN],
    ids=lambda family: family.__name__,
)
def test_closed_forms_are_monte_carlo(first, second):
    q, p = MAKERS[first](1), MAKERS[second](2)
    torch.manual_seed(0)
    z = q.sample((100_000,))
    closed = divergence(q, p, z[0], q.log_prob(z[0]))
    assert closed.kind == "closed"
    estimates = q.log_prob(z) - p.log_prob(z)
    error = estimates.std(0) / math.sqrt(len(z))
    assert ((estimates.mean(0) - closed.total).abs() < 5 * error + 1e-12).all()


def test_normal_divergence_is_monte_carlo():
    q, p = normal(1, 3, 4), normal(2, 3, 4)
    closed = divergence(q, p, q.mean, q.log_prob(q.mean))
    assert closed.kind == "closed"
    assert closed.parts.shape == (3, 4)
    torch.manual_seed(1)
    z = q.sample((100_000,))
    estimates = q.log_prob(z) - p.log_prob(z)
    error = estimates.std(0) / math.sqrt(len(z))
    assert ((estimates.mean(0) - closed.total).abs() < 5 * error).all()
    truth = td.kl_divergence(td.Normal(q.mean, q.stddev), td.Normal(p.mean, p.stddev))
    torch.testing.assert_close(closed.parts, truth)


def test_normal_divergence_is_the_integral_in_one_dimension():
    q, p = normal(3, 1, 1), normal(4, 1, 1)
    grid = (q.mean + q.stddev * torch.linspace(-12, 12, 100_001).double()).view(-1, 1)
    log_q, log_p = q.log_prob(grid), p.log_prob(grid)
    integral = torch.trapezoid(log_q.exp() * (log_q - log_p), grid[:, 0]).item()
    assert divergence(q, p, q.mean, q.log_prob(q.mean)).total.item() == pytest.approx(integral, rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_scale", [-30.0, -8.0, -1e-6, 0.0, 1e-6, 8.0, 30.0])
def test_normal_divergence_is_exact_and_finite_at_tiny_and_huge_scales(dtype, log_scale):
    q = DiagonalNormal(torch.zeros(1, 1, dtype=dtype), torch.full((1, 1), log_scale, dtype=dtype, requires_grad=True))
    p = DiagonalNormal(torch.zeros(1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype))
    kl = divergence(q, p, q.mean, q.log_prob(q.mean)).total
    exact = 0.5 * math.expm1(2 * log_scale) - log_scale
    assert kl.item() >= 0
    assert kl.item() == pytest.approx(exact, rel=1e-5, abs=1e-7)
    assert torch.isfinite(torch.autograd.grad(kl.sum(), q.log_scale)[0]).all()


def test_divergence_says_what_it_is():
    class Other(DiagonalNormal):
        """A density for which no closed form is registered."""

    q, p = normal(5, 3, 2), normal(6, 3, 2)
    other, whole = Other(q.mu, q.log_scale), Mixture(normal(7, 4, 2), torch.zeros(4).double(), 3)
    z = q.rsample()
    for density, groups in ((p, 2), (whole, 1)):  # per dimension where both densities factorise
        sampled = divergence(other, density, z, other.log_prob(z))
        assert sampled.kind == "sampled"
        assert sampled.parts.shape == (3, groups)
        torch.testing.assert_close(sampled.total, q.log_prob(z) - density.log_prob(z))
    same = divergence(p, p, z, p.log_prob(z))
    assert same.kind == "closed"
    assert (same.total == 0).all()
    point = Delta(z)
    improper = divergence(point, p, z, point.log_prob(z))
    assert improper.kind == "improper"
    torch.testing.assert_close(improper.total, -p.log_prob(z))
    register_divergence(Other, DiagonalNormal)(lambda q, p: torch.full((3, 2), 7.0))
    try:
        assert divergence(other, p, z, other.log_prob(z)).total.tolist() == [14.0] * 3
    finally:
        del _closed[Other, DiagonalNormal]


def test_delta_is_a_point():
    point = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    q = Delta(point)
    assert not q.proper
    assert q.rsample().data_ptr() == point.data_ptr() or torch.equal(q.rsample(), point)
    assert q.rsample((5,)).shape == (5, 3, 2)
    assert torch.equal(q.mean, point)
    assert torch.equal(q.mode, point)
    assert (q.variance == 0).all()
    log_prob = q.log_prob(q.rsample())
    assert log_prob.shape == (3,)
    assert (log_prob == 0).all()
    assert q.log_prob(q.rsample((5,))).shape == (5, 3)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_temperature_scales_the_spread(temperature):
    p = normal(7, 2, 3)
    hot = tempered(p, temperature)
    torch.testing.assert_close(hot.stddev, temperature * p.stddev)
    torch.testing.assert_close(hot.mean, p.mean)
    assert (hot is p) == (temperature == 1)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_temperatures_that_are_none_are_refused(temperature):
    with pytest.raises(InputError, match=r"temperature: is .*; give a number above 0"):
        tempered(normal(7, 2, 3), temperature)


def test_a_density_without_temperature_says_so():
    density = Factorised(td.Normal(torch.zeros(1, 1), torch.ones(1, 1)))
    assert tempered(density, 1) is density
    with pytest.raises(InputError, match=r"Factorised knows no temperature; give 1"):
        tempered(density, 0.5)
