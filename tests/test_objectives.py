"""Objectives and penalties against what can be said exactly of them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from taut.data import Batch, Statistics, Support
from taut.distributions import DiagonalNormal, Divergence, divergence
from taut.errors import InputError
from taut.layers import Plain, Spatial
from taut.model import Model, Step, Trace
from taut.networks import MLP, Pyramid
from taut.objectives import (
    DIP,
    ELBO,
    IWAE,
    MMD,
    Capacity,
    Constant,
    Cosine,
    Cyclical,
    Linear,
    Sigmoid,
    Spectral,
    TotalCorrelation,
)


def trace_of(q: DiagonalNormal, p: DiagonalNormal | None = None, z: torch.Tensor | None = None) -> Trace:
    p = p or DiagonalNormal(torch.zeros_like(q.mu), torch.zeros_like(q.mu))
    z = q.rsample() if z is None else z
    return Trace([Step(q, p, z, q.log_prob(z))], q, 1)


def normal(n: int, d: int, seed: int = 0) -> DiagonalNormal:
    random = torch.Generator().manual_seed(seed)
    mean, log_scale = (torch.randn(n, d, dtype=torch.float64, generator=random) for _ in range(2))
    return DiagonalNormal(mean, 0.3 * log_scale - 1)


def test_free_bits_clamp_the_mean_over_the_batch_of_each_group() -> None:
    trace = trace_of(normal(7, 4))
    kl = trace.steps[0].kl.parts
    distortion = torch.full((1, 7), 3.0, dtype=torch.float64)
    level = float(kl.mean(0).sort().values[1]) + 1e-3  # two dimensions lie below
    loss = ELBO(free_bits=level).loss(distortion, trace, 0.5)
    assert loss == pytest.approx(3 + 0.5 * float(kl.mean(0).clamp_min(level).sum()))
    layer = ELBO(free_bits=1e3, group="layer").loss(distortion, trace, 1.0)
    assert layer == pytest.approx(3 + 1e3)
    assert ELBO().loss(distortion, trace, 0.5) == pytest.approx(3 + 0.5 * float(kl.sum(1).mean()))


def test_capacity_holds_the_rate() -> None:
    trace = trace_of(normal(7, 4))
    rate = float(trace.rate().mean())
    distortion = torch.zeros(1, 7, dtype=torch.float64)
    objective = Capacity(beta=10.0, capacity=rate * 2)
    assert objective.loss(distortion, trace, 5.0) == pytest.approx(0, abs=1e-9)  # half-way: C = rate
    assert objective.loss(distortion, trace, 10.0) == pytest.approx(10 * rate)


def test_iwae_with_one_sample_is_the_sampled_elbo() -> None:
    trace = trace_of(normal(5, 3))
    distortion = torch.rand(1, 5, dtype=torch.float64)
    weight = -distortion + trace.log_prior() - trace.log_posterior()
    assert IWAE(samples=1).loss(distortion, trace, 1.0) == pytest.approx(-float(weight.mean()))


@pytest.mark.parametrize("schedule", [Constant(), Linear(0.3), Cosine(0.3), Sigmoid(0.3), Cyclical(3, 0.5)])
def test_schedules_stay_between_zero_and_one_and_end_at_one(schedule) -> None:
    values = [schedule.factor(step, 300, 10) for step in range(300)]
    assert min(values) >= 0 and max(values) == 1 and values[-1] == 1
    schedule.check(300, 10)


def test_cyclical_returns_to_zero_and_linear_does_not() -> None:
    cyclical = [Cyclical(3, 0.5).factor(step, 300, 10) for step in range(300)]
    assert [i for i, value in enumerate(cyclical) if value == 0] == [0, 100, 200]
    for schedule in (Linear(0.5), Cosine(0.5), Sigmoid(0.5)):
        values = [schedule.factor(step, 300, 10) for step in range(300)]
        assert values == sorted(values) and values[0] == 0
    with pytest.raises(InputError, match="cycles"):
        Cyclical(9).check(50, 10)


def test_total_correlation_of_equal_posteriors_is_zero() -> None:
    mean, log_scale = torch.ones(6, 3, dtype=torch.float64), torch.zeros(6, 3, dtype=torch.float64)
    assert float(TotalCorrelation().term(trace_of(DiagonalNormal(mean, log_scale)), None)) == pytest.approx(0, abs=1e-9)


def test_total_correlation_against_the_exact_value() -> None:
    """Codes on a line, z_1 = z_2: means drawn from N(0, C) and small noise make q(z) nearly N(0, C + σ²I)."""
    torch.manual_seed(0)
    rho, sigma, n = 0.8, 0.3, 3000
    c = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    mean = torch.randn(n, 2, dtype=torch.float64) @ torch.linalg.cholesky(c).T
    q = DiagonalNormal(mean, torch.full_like(mean, math.log(sigma)))
    total = c + sigma**2 * torch.eye(2, dtype=torch.float64)
    exact = -0.5 * math.log(float(torch.det(total)) / float(total[0, 0] * total[1, 1]))
    assert float(TotalCorrelation().term(trace_of(q), None)) == pytest.approx(exact, abs=0.05)


def test_mmd_is_zero_for_the_prior_and_positive_elsewhere() -> None:
    torch.manual_seed(0)
    zero = torch.zeros(400, 2, dtype=torch.float64)
    same = [float(MMD().term(trace_of(DiagonalNormal(zero, zero)), None)) for _ in range(20)]
    error = torch.tensor(same).std() / math.sqrt(20)
    assert abs(sum(same) / 20) < 4 * float(error), "unbiased"
    assert float(MMD().term(trace_of(DiagonalNormal(zero + 2, zero)), None)) > 0.05


def test_mmd_has_a_gradient_where_draws_from_the_prior_are_alike() -> None:
    torch.manual_seed(0)
    for n in (1, 2, 40):  # the few have no distance between them that is not zero
        mean = torch.randn(n, 3, requires_grad=True)
        q, point = (
            DiagonalNormal(mean, torch.zeros(n, 3)),
            DiagonalNormal(torch.zeros(n, 3), torch.full((n, 3), -200.0)),
        )
        MMD().term(trace_of(q, point), None).backward()
        assert mean.grad.isfinite().all()


def test_dip_of_white_codes_is_zero() -> None:
    torch.manual_seed(0)
    mean = torch.randn(200_000, 3, dtype=torch.float64)
    q = DiagonalNormal(mean, torch.full_like(mean, -20.0))
    for of_means in (True, False):
        assert float(DIP(of_means=of_means).term(trace_of(q, z=mean), None)) < 1e-3
    mixed = DiagonalNormal(mean[:, [0, 0, 1]], q.log_scale)
    assert float(DIP().term(trace_of(mixed, z=mean), None)) == pytest.approx(2, abs=0.1)


def test_spectral_is_the_sum_of_largest_singular_values():
    torch.manual_seed(0)
    vae = Model(network=Pyramid((4, 6), cells=1), layers=(Spatial(latents=2),)).build(
        (1, 8, 8), Support("binary", 2), Statistics(torch.zeros(1, 8, 8), torch.ones(1, 8, 8))
    )
    trace = vae(Batch(torch.zeros(3, 1, 8, 8)))
    maps = [m.weight.flatten(1) for m in vae.modules() if isinstance(m, torch.nn.Conv2d)]
    exact = sum(float(torch.linalg.matrix_norm(weight.detach(), 2)) for weight in maps)
    found = Spectral().term(trace, vae)
    assert 0.93 * exact < float(found.detach()) <= exact * (1 + 1e-5)
    found.backward()
    assert any(
        m.weight.grad is not None and m.weight.grad.any() for m in vae.modules() if isinstance(m, torch.nn.Conv2d)
    )


def test_spectral_is_refused_where_there_is_no_convolution():
    vae = Model(network=MLP(hidden=(8,))).build((4,), Support("binary", 2), Statistics(torch.zeros(4), torch.ones(4)))
    with pytest.raises(InputError, match="Spectral is of convolutions"):
        Spectral().require(vae)


def test_balance_weighs_layers_by_size_and_rate_while_beta_rises():
    rates = [torch.tensor([1.0, 2.0]), torch.tensor([0.5]), torch.tensor([0.0, 0.0, 0.0])]
    sizes = [2, 8, 3]  # the second one's KL does not come apart
    shares = torch.tensor([2 * 3.0, 8 * 0.5, 0.0])
    weights = 3 * shares / shares.sum()
    price = ELBO(balance=True).price(rates, sizes, 0.5)
    assert float(price) == pytest.approx(0.5 * float(weights[0] * 3 + weights[1] * 0.5))
    assert float(ELBO(balance=True).price(rates, sizes, 1.0)) == pytest.approx(3.5)
    assert float(ELBO(balance=True).price([torch.zeros(2), torch.zeros(1)], [2, 1], 0.5)) == 0


def test_balance_takes_the_numbers_in_z_for_the_size_of_a_layer():
    """Two layers of four numbers and, with the posteriors they have here, of equal rates; the KL of one is in one part."""
    q, p = DiagonalNormal(torch.ones(5, 4), torch.zeros(5, 4)), DiagonalNormal(torch.zeros(5, 4), torch.zeros(5, 4))
    whole = Divergence(torch.full((5, 1), 2.0), "closed")
    steps = [SimpleNamespace(z=torch.zeros(5, 4), kl=divergence(q, p, q.mu, torch.zeros(5))),
             SimpleNamespace(z=torch.zeros(5, 4), kl=whole)]  # fmt: skip
    loss = ELBO(balance=True).loss(torch.zeros(1, 5), SimpleNamespace(steps=steps), 0.5)
    assert float(loss) == pytest.approx(0.5 * (2 + 2))
    q = DiagonalNormal(2 * torch.ones(5, 4), torch.zeros(5, 4))
    steps[0].kl = divergence(q, p, q.mu, torch.zeros(5))  # 8 nats beside 2
    loss = ELBO(balance=True).loss(torch.zeros(1, 5), SimpleNamespace(steps=steps), 0.5)
    assert float(loss) == pytest.approx(0.5 * 2 * (0.8 * 8 + 0.2 * 2))


def test_balance_of_sampled_rates_and_of_draws_one_by_one():
    """A rate that is sampled may come out below zero: its layer then has no weight, and the others no more than all of it.
    Layers that a draw decides come by draw, those above it as one mean."""
    below, sizes = [torch.tensor([-1.0, 0.5]), torch.tensor([0.25])], [2, 1]
    assert float(ELBO(balance=True).price(below, sizes, 0.5)) == pytest.approx(0.5 * 2 * 0.25)
    mixed = [torch.tensor([1.0, 2.0]), torch.tensor([[0.5], [0.0]])]
    alone = [ELBO(balance=True).price([mixed[0], part], sizes, 0.5) for part in mixed[1]]
    torch.testing.assert_close(ELBO(balance=True).price(mixed, sizes, 0.5), torch.stack(alone))


def test_balance_is_refused_where_there_is_nothing_to_weigh():
    layers = (Plain(latents=2), Plain(latents=2))
    with pytest.raises(
        InputError, match=r"^objective.balance: weighs layers against each other, and the model has one"
    ):
        ELBO(balance=True).resolved(layers[:1])
    with pytest.raises(InputError, match=r"^objective.balance: acts while β rises, and under Constant it never does"):
        ELBO(balance=True, schedule=Constant()).resolved(layers)
