"""Posteriors over real vectors against exact truth: densities integrate to one, draws and their gradients follow them, every
closed-form divergence is its integral, a committed rate is kept, and each goes with every prior that it does not refuse."""

from __future__ import annotations

import math

import numpy
import pytest
import scipy.optimize
import scipy.stats
import torch
from torch import distributions as td

from taut.data import Batch, Statistics, Support
from taut.distributions import (
    AR1,
    Cauchy,
    DiagonalNormal,
    FullNormal,
    Laplace,
    Logistic,
    LowRankNormal,
    Mixture,
    TruncatedNormal,
    divergence,
    drawn,
    tempered,
)
from taut.errors import InputError
from taut.layers import Plain, default_prior, fits
from taut.likelihoods import Bernoulli
from taut.model import Model, Step, Trace
from taut.networks import MLP
from taut.objectives import DIP, ELBO, IWAE, MMD, Estimator, Learner, TotalCorrelation
from taut.posteriors import CommittedNormal, Posterior
from taut.posteriors import DiagonalNormal as DiagonalPosterior
from taut.posteriors import FullNormal as FullPosterior
from taut.posteriors import TruncatedNormal as TruncatedPosterior
from taut.posteriors.committed import log_ceiling
from taut.priors import Cauchy as CauchyPrior
from taut.priors import Prior, StandardNormal

torch.set_num_threads(1)

B = 4.0  # where the truncated normal ends
HALVES = [0.0, *(2.0**k for k in range(-4, 6))]
MAKE = {
    "DiagonalNormal": DiagonalNormal,
    "Laplace": Laplace,
    "Logistic": Logistic,
    "Cauchy": Cauchy,
    "TruncatedNormal": lambda location, log_scale: TruncatedNormal(location, log_scale, B),
}
NEW = ["Laplace", "Logistic", "Cauchy", "TruncatedNormal"]
WILD = [(m, s) for m in (-50.0, -3.0, 0.0, 0.2) for s in (-7.0, -1.0, 0.0, 2.0, 6.0)]
OUTSIDE = [(m, s) for m in (-20.0, -4.0, -3.9, 0.0, 1e-3, 2.0, 5.0, 8.0) for s in (-5.0, -3.0, -1.0, 0.0, 1.0, 3.0)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one(name: str, location: float, log_scale: float, dtype=torch.float64, grad: bool = False):
    """A density of batch and event shape (1,)."""
    location, log_scale = (torch.tensor([[v]], dtype=dtype, requires_grad=grad) for v in (location, log_scale))
    return MAKE[name](location, log_scale)


def nodes(breaks: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss and Legendre's nodes and weights, forty between each two breaks."""
    x, w = (torch.tensor(a) for a in numpy.polynomial.legendre.leggauss(40))
    edges = torch.tensor(sorted(set(breaks)), dtype=torch.float64)
    half, middle = edges.diff() / 2, (edges[1:] + edges[:-1]) / 2
    return (middle.unsqueeze(1) + half.unsqueeze(1) * x).flatten(), (half.unsqueeze(1) * w).flatten()


def line(name: str, *scales: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes for integrals of what varies about each location on each scale, (M, 1, 1), and their weights; fine at each kink."""
    breaks = [m + sign * h * math.exp(s) for m, s in scales for h in HALVES for sign in (-1, 1)]
    if name == "TruncatedNormal":
        (m, s), end = scales[0], B
        mode, sigma = max(-B, min(B, m)), math.exp(s)
        fall = min(sigma, sigma**2 / max(abs(m - mode), 1e-300))  # over which an outlying normal falls at the border
        breaks += [mode + sign * h * fall for h in HALVES for sign in (-1, 1)]
        z, w = nodes([-end, end, *(b for b in breaks if -end < b < end)])
    elif name == "Cauchy":  # whose tails are folded in: z = μ + s tan θ
        m, scale = scales[0][0], math.exp(scales[0][1])
        ends = [
            sign * (math.pi / 2 - 0.5**k) for k in range(1, 40) for sign in (-1, 1)
        ]  # where logarithms rise without end
        theta, w = nodes([-math.pi / 2, math.pi / 2, *ends, *(math.atan((b - m) / scale) for b in breaks)])
        z, w = m + scale * theta.tan(), w * scale / theta.cos().square()
    else:  # of exponential tails or lighter
        m, scale = scales[0][0], math.exp(scales[0][1])
        low, high = m - 50 * scale, m + 50 * scale
        z, w = nodes([low, high, *(b for b in breaks if low < b < high)])
    return z.view(-1, 1, 1), w


def expected(q, w: torch.Tensor, z: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """∫ q(z) values dz."""
    return (w * (q.log_prob(z)[:, 0].exp() * values)).sum()


# --- densities and moments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEW)
def test_densities_integrate_to_one_and_know_their_moments(name):
    for m, s in OUTSIDE if name == "TruncatedNormal" else WILD:
        q = one(name, m, s)
        z, w = line(name, (m, s))
        assert float(expected(q, w, z, torch.ones(len(z)))) == pytest.approx(1, abs=1e-10)
        torch.testing.assert_close(q.log_prob_parts(z).sum(-1), q.log_prob(z))
        entropy = q.moments()[2] if name == "TruncatedNormal" else q.entropy_parts()
        truth = -float(expected(q, w, z, q.log_prob(z)[:, 0]))
        assert float(entropy) == pytest.approx(truth, abs=1e-8)
        if name == "Cauchy":
            assert float(q.mean) == m
            assert q.variance.isinf().all()
            continue
        mean = float(expected(q, w, z, z[:, 0, 0]))
        variance = float(expected(q, w, z, (z[:, 0, 0] - mean).square()))
        assert float(q.mean) == pytest.approx(mean, abs=1e-8)
        assert float(q.variance) == pytest.approx(variance, rel=1e-7)
        assert float(q.stddev) == pytest.approx(math.sqrt(variance), rel=1e-7)


def test_the_truncated_normal_ends_at_its_bound_and_is_the_normal_where_that_is_far():
    q = one("TruncatedNormal", 0.5, 0.0)
    inside = torch.tensor([[[-B]], [[0.0]], [[B]]], dtype=torch.float64)
    assert q.log_prob(inside).isfinite().all()
    assert (q.log_prob(inside * 1.001 + 1e-9).isinf() == torch.tensor([[True], [False], [True]])).all()
    narrow, normal = one("TruncatedNormal", 0.5, -2.0), one("DiagonalNormal", 0.5, -2.0)
    torch.testing.assert_close(narrow.log_prob(inside * 0.2), normal.log_prob(inside * 0.2))
    torch.testing.assert_close(narrow.variance, normal.variance)
    for width in (0.1, 3.0):  # no bound that single precision rounds up shuts out its own draws
        q = TruncatedNormal(torch.full((1, 2), 9.0), torch.full((1, 2), -5.0), width)
        assert q.log_prob(q.rsample((100,))).isfinite().all()


@pytest.mark.parametrize("name", NEW)
def test_draws_follow_the_density(name):
    """Kolmogorov and Smirnov's distance to the distribution function of scipy."""
    n = 20_000
    for m, s in ((0.3, -1.0), (-3.0, 0.5), (6.0, -2.0), (0.0, 3.0)):
        torch.manual_seed(0)
        z = one(name, m, s).rsample((n,)).flatten().numpy()
        scale = math.exp(s)
        if name == "TruncatedNormal":
            truth = scipy.stats.truncnorm((-B - m) / scale, (B - m) / scale, m, scale)
        else:
            truth = getattr(scipy.stats, name.lower())(m, scale)
        assert scipy.stats.kstest(z, truth.cdf).statistic < 1.8 / math.sqrt(n), (m, s)


def test_draws_far_outside_fall_off_exponentially():
    """With μ at κ = 2·10⁴ deviations beyond the bound, (b − z) κ/σ is exponential to a part in κ²."""
    m, s, n = 24.0, math.log(1e-3), 20_000
    torch.manual_seed(0)
    z = one("TruncatedNormal", m, s).rsample((n,)).flatten()
    distance = (B - z) * 2e4 / 1e-3
    assert scipy.stats.kstest(distance.numpy(), "expon").statistic < 1.8 / math.sqrt(n)


# --- gradients of draws ------------------------------------------------------------------------------------------


def test_gradients_of_draws_are_those_of_the_integral(monkeypatch):
    """∂E[f(z)]/∂(μ, log s) by the path of z and by the score of draws without one, at evenly spaced quantiles."""
    n = 20_000
    even = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    monkeypatch.setattr(torch, "rand", lambda shape, **_: even.view(shape))
    f = lambda z: (-(z - 0.3).square()).exp()  # noqa: E731
    for name in NEW:
        for m, s in ((0.4, 0.0), (-1.0, -1.0), (5.0, 0.5)):
            q = one(name, m, s, grad=True)
            inputs = (q.location, q.log_scale)
            z, w = line(name, (m, s), (0.3, 0.0))
            truth = torch.autograd.grad(expected(q, w, z, f(z)[:, 0, 0]), inputs)
            q = MAKE[name](*inputs)
            path = torch.autograd.grad(f(q.rsample((n,))).mean(), inputs)
            torch.testing.assert_close(path, truth, rtol=1e-4, atol=2e-6)
            q = MAKE[name](*inputs)
            with torch.no_grad():
                z = q.rsample((n,))
            score = torch.autograd.grad((f(z)[:, 0, 0] * q.log_prob(z)[:, 0]).mean(), inputs)
            torch.testing.assert_close(score, truth, rtol=1e-3, atol=1e-4)


# --- divergences -------------------------------------------------------------------------------------------------

PAIRS = [
    ("Laplace", "DiagonalNormal"),
    ("Laplace", "Laplace"),
    ("DiagonalNormal", "Laplace"),
    ("Logistic", "DiagonalNormal"),
    ("Cauchy", "Cauchy"),
    ("TruncatedNormal", "DiagonalNormal"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_closed_divergences_are_their_integrals(first, second):
    for m, s in OUTSIDE if first == "TruncatedNormal" else WILD:
        for at in ((0.0, 0.0), (1.0, -3.0), (-3.0, 4.0), (m, s), (m, s + 1e-4)):
            q, p = one(first, m, s), one(second, *at)
            z, w = line(first, (m, s), at)
            log_q = q.log_prob(z)[:, 0]
            truth = float(expected(q, w, z, log_q - p.log_prob(z)[:, 0]))
            found = divergence(q, p, q.mean, q.log_prob(q.mean))
            assert found.kind == "closed"
            assert found.parts.shape == (1, 1)
            assert float(found.total) == pytest.approx(truth, rel=1e-8, abs=1e-8), (m, s, at)


@pytest.mark.parametrize("name", ["Laplace", "Cauchy"])
def test_a_density_has_no_divergence_from_itself_and_no_rounding_makes_one(name):
    for dtype in (torch.float32, torch.float64):
        q = MAKE[name](torch.tensor([[3.0, -40.0]], dtype=dtype), torch.tensor([[-7.0, 5.0]], dtype=dtype))
        p = MAKE[name](q.location.clone(), q.log_scale.clone())
        assert (divergence(q, p, q.mean, q.log_prob(q.mean)).parts == 0).all()
        near = MAKE[name](q.location, q.log_scale + 1e-3)
        rate = divergence(near, p, q.mean, q.log_prob(q.mean)).parts
        torch.testing.assert_close(
            rate, torch.full_like(rate, 2.5e-7 if name == "Cauchy" else 5e-7), rtol=0.3, atol=1e-7
        )


@pytest.mark.parametrize("name", ["Laplace", "Logistic", "TruncatedNormal"])
def test_divergences_from_ar1_are_their_means_over_draws(name):
    generator = seeded(0)
    mean, log_scale = (torch.randn(2, 3, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    q, p = MAKE[name](mean, 0.3 * log_scale - 1), AR1(0.8, torch.zeros(2, 3, 2, dtype=torch.float64), 0.2)
    closed = divergence(q, p, q.mean, q.log_prob(q.mean))
    assert closed.kind == "closed"
    torch.manual_seed(0)
    z = q.rsample((20_000,))
    parts = q.log_prob_parts(z) - p.log_prob_parts(z)
    assert ((parts.mean(0) - closed.parts).abs() < 5 * parts.std(0) / math.sqrt(len(z))).all()


# --- single precision --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEW)
def test_nothing_overflows_in_single_precision(name, monkeypatch):
    extremes = [(m, s) for m in (-1e4, -4.0, 0.0, 1e-3, 8.0, 1e4) for s in (-8.0, 0.0, 8.0)]
    location, log_scale = (torch.tensor(v).view(-1, 1).requires_grad_() for v in zip(*extremes, strict=True))
    prior = CauchyPrior() if name == "Cauchy" else StandardNormal()
    p = prior.build((1,), 0)(torch.zeros(len(extremes), 0))
    for quantile in (0.0, 0.5, 1.0):
        monkeypatch.setattr(torch, "rand", lambda shape, dtype, device, at=quantile: torch.full(shape, at, dtype=dtype))
        q = MAKE[name](location, log_scale)
        z = q.rsample()
        rate = divergence(q, p, z, q.log_prob(z)).total
        for values in (z, q.log_prob(z), rate, q.log_prob(z.detach()), q.mean):
            assert values.isfinite().all(), quantile
            gradients = torch.autograd.grad(values.sum(), (location, log_scale), retain_graph=True, allow_unused=True)
            assert all(g is None or g.isfinite().all() for g in gradients), quantile
        assert z.dtype == torch.float32


def test_single_precision_of_the_truncated_normal_is_that_of_its_parameters():
    for m, s in OUTSIDE:
        exact, found = one("TruncatedNormal", m, s), one("TruncatedNormal", m, s, torch.float32)
        z = exact.mean.float()
        torch.testing.assert_close(found.log_prob(z).double(), exact.log_prob(z.double()), rtol=1e-5, atol=1e-4)
        for ours, truth in zip(found.moments(), exact.moments(), strict=True):
            torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=1e-5)


# --- temperatures ------------------------------------------------------------------------------------------------


def test_temperatures_scale_the_spread():
    generator = seeded(0)
    location, log_scale = (torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    mixing = torch.randn(3, 2, 1, generator=generator, dtype=torch.float64)
    for name in NEW:
        q = MAKE[name](location, log_scale)
        assert tempered(q, 1) is q
        torch.testing.assert_close(tempered(q, 0.5).log_scale, log_scale - math.log(2))
    q = LowRankNormal(location, log_scale, mixing)
    torch.testing.assert_close(tempered(q, 0.5).covariance_matrix, q.covariance_matrix / 4)
    for family in (Laplace(location, log_scale), q):
        with pytest.raises(InputError, match=r"temperature: is -1; give a number above 0"):
            tempered(family, -1.0)


# --- correlated normals ------------------------------------------------------------------------------------------


def correlated(rank: int | None, rows: int = 3, event: tuple[int, ...] = (4,), spread: float = 1.0):
    size, generator = math.prod(event), seeded(0)
    mean, log_scale = (torch.randn(rows, *event, generator=generator, dtype=torch.float64) for _ in range(2))
    mixing = spread * torch.randn(rows, size, rank or size, generator=generator, dtype=torch.float64)
    if rank is None:
        return FullNormal(mean, log_scale, mixing.tril(-1))
    return LowRankNormal(mean, log_scale, mixing)


def dense(q) -> td.MultivariateNormal:
    """torch's, from the definition z = μ + σ ⊙ (ε + A η)."""
    scale = q.log_scale.flatten(1).exp().diag_embed()
    identity = torch.eye(scale.shape[1], dtype=torch.float64)
    if isinstance(q, FullNormal):
        return td.MultivariateNormal(q.mu.flatten(1), scale_tril=scale @ (identity + q.mixing))
    return td.MultivariateNormal(q.mu.flatten(1), scale @ (identity + q.mixing @ q.mixing.mT) @ scale)


@pytest.mark.parametrize("rank", [None, 1, 3])
@pytest.mark.parametrize("event", [(1,), (4,), (3, 2)])
def test_correlated_normals_are_the_dense_normal(rank, event):
    q = correlated(rank, event=event)
    truth = dense(q)
    z = 2 * torch.randn(5, 3, *event, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), truth.log_prob(z.flatten(2)))
    torch.testing.assert_close(q.log_prob(z[0]), truth.log_prob(z[0].flatten(1)))
    torch.testing.assert_close(q.covariance_matrix, truth.covariance_matrix)
    torch.testing.assert_close(q.variance.flatten(1), truth.variance)
    torch.testing.assert_close(q.stddev.flatten(1), truth.stddev)
    torch.testing.assert_close(q.entropy(), truth.entropy())
    torch.manual_seed(0)
    z, log_q = drawn(q)
    torch.testing.assert_close(log_q, truth.log_prob(z.flatten(1)))
    sample = q.rsample((40_000,)).flatten(2)
    deviation = truth.stddev
    assert ((sample.mean(0) - truth.mean).abs() < 5 * deviation / 200).all()
    for row in range(3):
        found, wanted = sample[:, row].T.cov(), truth.covariance_matrix[row]
        assert ((found - wanted).abs() < 0.05 * deviation[row].outer(deviation[row])).all()


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("event", [(4,), (3, 2)])
def test_correlated_divergences_are_torchs(rank, event):
    q, size = correlated(rank, event=event), math.prod(event)
    generator = seeded(2)
    p = DiagonalNormal(*(torch.randn(3, *event, generator=generator, dtype=torch.float64) for _ in range(2)))
    normal = td.MultivariateNormal(p.mu.flatten(1), p.variance.flatten(1).diag_embed())
    found = divergence(q, p, q.mean, q.log_prob(q.mean))
    assert (found.kind, found.parts.shape) == ("closed", (3, 1))
    torch.testing.assert_close(found.total, td.kl_divergence(dense(q), normal))
    series = AR1(0.7, torch.zeros(3, *event, dtype=torch.float64), 0.3)
    steps, others = event[0], size // event[0]
    t = torch.arange(steps)
    covariance = math.exp(0.6) * 0.7 ** (t - t.unsqueeze(1)).abs().double()
    covariance = torch.kron(covariance, torch.eye(others, dtype=torch.float64))
    found = divergence(q, series, q.mean, q.log_prob(q.mean))
    assert (found.kind, found.parts.shape) == ("closed", (3, 1))
    process = td.MultivariateNormal(torch.zeros(3, size, dtype=torch.float64), covariance)
    torch.testing.assert_close(found.total, td.kl_divergence(dense(q), process))


def test_low_ranks_lose_nothing_in_single_precision_and_draws_of_full_covariances_know_their_density():
    q = correlated(2, event=(40,), spread=8.0)
    single = LowRankNormal(q.mu.float(), q.log_scale.float(), q.mixing.float())
    torch.manual_seed(0)
    z = single.rsample((50,))
    torch.testing.assert_close(single.log_prob(z).double(), q.log_prob(z.double()), rtol=1e-4, atol=1e-2)
    full = correlated(None, event=(30,), spread=2.0)  # a condition that leaves no digit of a system solved singly
    single = FullNormal(full.mu.float(), full.log_scale.float(), full.mixing.float())
    torch.manual_seed(0)
    noise = torch.randn(3, 30)
    torch.manual_seed(0)
    log_q = drawn(single)[1]
    truth = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(1) - single.log_scale.sum(1)
    torch.testing.assert_close(log_q, truth)


@pytest.mark.parametrize("rank", [None, 2])
def test_gradients_of_correlated_draws_are_those_of_moments(rank):
    """∂E[(c·z)²] = ∂( (c·μ)² + cᵀΣc )."""
    q = correlated(rank, rows=1)
    leaves = [leaf.requires_grad_() for leaf in (q.mu, q.log_scale, q.mixing)]
    q = type(q)(*leaves)
    c = torch.tensor([0.5, -1.0, 0.3, 2.0], dtype=torch.float64)
    truth = (q.mean[0] @ c).square() + c @ q.covariance_matrix[0] @ c
    torch.manual_seed(0)
    value = (q.rsample((200_000,))[:, 0] @ c).square().mean()
    for found, wanted in zip(torch.autograd.grad(value, leaves), torch.autograd.grad(truth, leaves), strict=True):
        if rank is None and found.dim() == 3:
            found, wanted = found.tril(-1), wanted.tril(-1)
        torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02 * float(wanted.abs().max()))


@pytest.mark.parametrize("rank", [None, 2])
def test_mixtures_of_correlated_normals_are_torchs(rank):
    components = correlated(rank, rows=3)
    log_weights = torch.tensor([0.1, -0.5, 1.0], dtype=torch.float64)
    truth = td.MixtureSameFamily(td.Categorical(logits=log_weights), dense(components))
    p = Mixture(components, log_weights, 7)
    z = torch.randn(7, 4, generator=seeded(3), dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), truth.log_prob(z))
    torch.manual_seed(0)
    sample = p.sample((3000,)).flatten(0, 1)
    assert ((sample.mean(0) - truth.mean).abs() < 5 * truth.stddev / math.sqrt(len(sample))).all()


def test_ranks_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match=r"^rank: is 0; give 1 or more$"):
        FullPosterior(rank=0)
    line = r"^model.posterior.rank: is 5, more than there are latents \(3\); give at most 3, or leave it open$"
    with pytest.raises(InputError, match=line):
        Model(latents=3, posterior=FullPosterior(rank=5)).resolved((5,), Support("binary", 2))
    with pytest.raises(InputError, match=r"^bound: is 0; give a number above 0$"):
        TruncatedPosterior(bound=0.0)
    assert FullPosterior(rank=2).build((3,)).width == 12
    assert FullPosterior().build((3,)).width == 9


# --- the committed rate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.3, -0.8, 0.95])
@pytest.mark.parametrize("event", [(1,), (2,), (5,), (3, 2)])
def test_the_least_rate_of_independent_normals_is_found_by_search(alpha, event):
    p, size = AR1(alpha, torch.zeros(1, *event, dtype=torch.float64), 0.4), math.prod(event)

    def rate(x):
        leaf = torch.tensor(x, requires_grad=True)
        q = DiagonalNormal(*leaf.view(2, 1, *event))
        value = divergence(q, p, q.mean, q.mean).total.sum()
        return value.item(), torch.autograd.grad(value, leaf)[0].numpy()

    start = torch.randn(2 * size, generator=seeded(0), dtype=torch.float64).numpy()
    found = scipy.optimize.minimize(rate, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    assert found.fun == pytest.approx(p.least_rate, abs=1e-9)
    torch.testing.assert_close(torch.tensor(found.x[size:]), p.nearest.log_scale.flatten(), atol=1e-5, rtol=0)
    at = divergence(p.nearest, p, p.zero, p.zero).total.item()
    assert at == pytest.approx(p.least_rate, abs=1e-12)
    if len(event) == 1 and size > 2:  # as the paper has it
        assert at == pytest.approx(0.5 * ((size - 2) * math.log(1 + alpha**2) - math.log(1 - alpha**2)))


def test_the_ceiling_gives_its_rate():
    for rate in (1e-9, 1e-3, 0.1, 1.0, 20.0, 500.0):
        y = log_ceiling(rate)
        assert y < 0
        assert 0.5 * (math.expm1(y) - y) == pytest.approx(rate, rel=1e-6)
    assert log_ceiling(0.0) == log_ceiling(-3.0) == math.inf


PROCESS = Prior.members["AR1"]
ANCHORS = [
    (StandardNormal(), 0.01),
    (StandardNormal(), 5.0),
    (PROCESS(0.9), 4.0),
    (PROCESS(-0.6), 40.0),
    (PROCESS(0.9), 0.5),
]


@pytest.mark.parametrize(("prior", "delta"), ANCHORS, ids=str)
@pytest.mark.parametrize("event", [(1,), (6,), (3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_committed_rate_is_kept_whatever_the_encoder_says_and_no_more_is_asked(prior, delta, event, dtype):
    module = CommittedNormal(delta=delta).build(event)
    p = prior.build(event, 0).to(dtype)(torch.zeros(400, 0, dtype=dtype))
    rounding = 1e-4 if dtype == torch.float32 else 1e-9

    def rate(params):
        q = module(params, p)
        assert torch.isfinite(q.rsample()).all()
        return divergence(q, p, q.mean, q.mean).total

    generator = seeded(0)
    params = torch.randn(400, module.width, generator=generator, dtype=dtype)
    for spread in (0.1, 1.0, 10.0, 1e4):
        assert rate(spread * params).min() > delta - rounding * max(1, delta)
    # an adversary, who goes downhill as far as he can
    leaf = params.clone().requires_grad_()
    adversary = torch.optim.Adam([leaf], lr=0.3)
    for _ in range(100):
        adversary.zero_grad()
        rate(leaf).sum().backward()
        adversary.step()
    worst = rate(leaf.detach()).min().item()
    least = max(delta, p.least_rate)
    assert worst > least - rounding * max(1, delta)
    best = torch.zeros(400, 2, *event, dtype=dtype)
    best[:, 1] = 0.0 if delta < p.least_rate else 1e4
    assert rate(best.flatten(1)).max().item() == pytest.approx(least, abs=1e-3)


def test_below_what_the_prior_commits_it_is_the_normal_about_the_nearest():
    p = PROCESS(0.9).build((4,), 0)(torch.zeros(6, 0))
    params = torch.randn(6, 8, generator=seeded(0))
    q, plain = CommittedNormal(delta=0.5).build((4,))(params, p), DiagonalPosterior().build((4,))(params)
    torch.testing.assert_close(q.log_scale, plain.log_scale + p.nearest.log_scale)
    torch.testing.assert_close(q.mean, plain.mean)


def test_a_rate_is_committed_against_one_normal_alone():
    line = (
        r"^model.posterior: CommittedNormal promises a rate against one normal that nothing moves, which the Mixture prior is "
        r"not; with CommittedNormal go the priors AR1, StandardNormal; with Mixture the posteriors .*$"
    )
    with pytest.raises(InputError, match=line):
        Model(latents=2, prior=Prior.members["Mixture"](), posterior=CommittedNormal()).resolved(
            (5,), Support("binary", 2)
        )
    with pytest.raises(InputError, match=r"^delta: is 0; give a number of nats above 0, or choose DiagonalNormal$"):
        CommittedNormal(delta=0.0)
    assert default_prior(CommittedNormal(), top=False) == StandardNormal()


# --- penalties ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DiagonalNormal", *NEW])
def test_total_correlation_reads_every_posterior_of_independent_dimensions(name):
    generator = seeded(0)
    location, log_scale = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    q = MAKE[name](location, 0.3 * log_scale - 1)
    torch.manual_seed(0)
    z = q.rsample()
    found = TotalCorrelation().term(Trace([Step(q, q, z, q.log_prob(z))], q, 1))
    rows = [MAKE[name](location[[j]], 0.3 * log_scale[[j]] - 1) for j in range(5)]
    pairs = torch.stack([torch.cat([row.log_prob_parts(z[[i]]) for row in rows]) for i in range(5)])  # (i, j, d)
    joint = pairs.sum(2).logsumexp(1) - math.log(5)
    product = (pairs.logsumexp(1) - math.log(5)).sum(1)
    assert float(found) == pytest.approx(float((joint - product).mean()), abs=1e-9)


def test_penalties_that_a_posterior_cannot_have_are_refused_before_training():
    layers = lambda posterior: (Plain(latents=3, prior=default_prior(posterior, True), posterior=posterior),)  # noqa: E731
    for posterior in (FullPosterior(), Posterior.members["Delta"]()):
        name = type(posterior).__name__
        line = (
            rf"^objective.penalties: TotalCorrelation needs a posterior of independent dimensions, not {name}; "
            r"choose one of Cauchy, .*, or the MMD penalty$"  # Bernoulli and Categorical have no path
        )
        with pytest.raises(InputError, match=line):
            ELBO(penalties=(TotalCorrelation(),)).resolved(layers(posterior))
    for name in ("DiagonalNormal", "CommittedNormal", *NEW):
        ELBO(penalties=(TotalCorrelation(), DIP())).resolved(layers(Posterior.members[name]()))
    ELBO(penalties=(DIP(of_means=False),)).resolved(layers(FullPosterior()))
    with pytest.raises(
        InputError, match=r"^objective.penalties: DIP of the variance of z needs one, and Cauchy has none; "
    ):
        ELBO(penalties=(DIP(of_means=False),)).resolved(layers(Posterior.members["Cauchy"]()))
    with pytest.raises(InputError, match=r"^objective.penalties: DIP of the variance .* VonMisesFisher knows none; "):
        ELBO(penalties=(DIP(of_means=False),)).resolved(layers(Posterior.members["VonMisesFisher"]()))
    for penalty in (DIP(), MMD(), TotalCorrelation()):
        with pytest.raises(InputError, match=r"^objective.penalties: .* the model has no latents; leave them off$"):
            ELBO(penalties=(penalty,)).resolved(())


# --- in a model --------------------------------------------------------------------------------------------------

SPECS = [
    *(Posterior.members[name]() for name in NEW),
    FullPosterior(),
    FullPosterior(rank=1),
    CommittedNormal(delta=0.1),
]
TOPS = {
    "StandardNormal": {},
    "AR1": {},
    "Mixture": {"components": 3},
    "Vamp": {"components": 4},
    "RealNVP": {"hidden": (8,)},
    "Laplace": {},
    "Logistic": {},
    "Cauchy": {},
}


def model(posterior: Posterior, prior: Prior | None, latents: int = 2, **options):
    torch.manual_seed(0)
    parts = {"posterior": posterior, "likelihood": Bernoulli(), "network": MLP(hidden=(8,))}
    spec = Model(latents=latents, prior=prior, **(parts | options))
    vae = spec.build((5,), Support("binary", 2), Statistics(torch.full((5,), 0.3), torch.full((5,), 0.5))).double()
    with torch.no_grad():
        for weight in vae.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=seeded(1), dtype=torch.float64))
    return vae, Batch((torch.rand(3, 5, generator=seeded(0)) < 0.4).double())


@torch.no_grad()
def evidence(vae, batch: Batch, points: int = 300) -> torch.Tensor:
    """log p(x) by quadrature over two latents, z = tan θ so that heavy tails are folded in."""
    theta = (torch.arange(points, dtype=torch.float64) + 0.5) / points * math.pi - math.pi / 2
    z = torch.cartesian_prod(theta.tan(), theta.tan())
    log_cell = -2 * torch.cartesian_prod(theta.cos().log(), theta.cos().log()).sum(1) + 2 * math.log(math.pi / points)
    p, likelihood = vae.layers[0].prior(vae.root(len(z))), vae.decoder(vae.layers[0].merge(vae.root(len(z)), z))
    log_prior = p.log_prob(z) + log_cell
    assert float(log_prior.logsumexp(0)) == pytest.approx(0, abs=1e-2)
    return torch.stack([(likelihood.log_prob(x.expand(len(z), -1)) + log_prior).logsumexp(0) for x in batch.x])


@pytest.mark.parametrize("posterior", SPECS, ids=str)
def test_bounds_with_every_prior_rise_to_the_evidence(posterior):
    """IW-1 ≤ IW-10 ≤ … → log p(x), each from draws of its own, and gradients that are finite; or one line of refusal."""
    for name, options in TOPS.items():
        prior = Prior.members[name](**options)
        if not fits(prior, posterior):
            with pytest.raises(
                InputError, match=r"^model.posterior: .*; with \w+ go the priors .*; with \w+ the poster"
            ):
                model(posterior, prior)
            continue
        vae, batch = model(posterior, prior)
        exact = evidence(vae, batch)
        torch.manual_seed(1)
        levels = []
        with torch.no_grad():
            for k in (1, 10):
                weights = vae(batch, 400 * k).log_weight(batch).view(400, k, -1)
                values = weights.logsumexp(1) - math.log(k)
                levels.append((values.mean(0), values.std(0) / math.sqrt(400)))
            weights = vae(batch, 8000).log_weight(batch)
            best, error = weights.logsumexp(0) - math.log(8000), (weights - weights.max(0).values).exp()
            error = error.std(0) / error.mean(0) / math.sqrt(8000)
        (low, low_error), (middle, middle_error) = levels
        assert (low < middle + 4 * (low_error + middle_error)).all(), name
        assert (middle < exact + 4 * middle_error + 5e-3).all(), name
        assert (best < exact + 5 * error + 5e-3).all(), name
        if posterior.heavy or name != "Cauchy":  # draws from light tails do not see its own
            assert (best > exact - 5 * error - 5e-3).all(), name
        for objective in (ELBO(), IWAE(samples=3)):
            vae.zero_grad()
            Learner(vae, objective)(batch, 1.0).loss.backward()
            assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in vae.parameters()), name


@pytest.mark.parametrize("posterior", SPECS, ids=str)
def test_every_estimator_serves_them_above_and_below(posterior):
    """A model of two layers, in whose lower one the default prior stands."""
    layers = (Plain(latents=2), Plain(latents=3))
    vae, batch = model(posterior, None, layers=layers)
    for name in posterior.estimators:
        objective = IWAE(samples=3, estimator=(Estimator.members[name](),) * 2)
        vae.zero_grad()
        Learner(vae, objective)(batch, 1.0).loss.backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in vae.parameters()), name
        assert all(layer.evidence.weight.grad.any() for layer in vae.layers), name


def test_more_than_single_precision_holds_is_not_committed():
    with pytest.raises(
        InputError, match=r"^model.posterior.delta: is 20 nats for 2 latents; give at most 7 a latent, 14"
    ):
        CommittedNormal(delta=20.0).check(2)
    CommittedNormal(delta=14.0).check(2)
