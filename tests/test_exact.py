"""Quadrature against closed forms, sums over all x, and scipy; peaks are counted as eyes would."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from test_annealing import BITS, SERVED, model
from test_model import linear
from torch import Tensor, nn

from taut.data import Batch, Statistics, Support
from taut.errors import InputError
from taut.evaluation.annealing import made
from taut.evaluation.exact import Grid, Integrator, modes, require_small
from taut.layers import Plain
from taut.likelihoods import Gaussian
from taut.model import VAE, Model
from taut.networks import MLP
from taut.report.posteriors import posteriors, within

torch.set_num_threads(1)

DOUBLE = torch.float64
EVERYTHING = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=DOUBLE)] * BITS)


@pytest.mark.parametrize("latents", [1, 2])
def test_linear_gaussian_models(latents: int) -> None:
    vae, truth = linear(latents)
    torch.manual_seed(0)
    batch, _ = made(vae, 5)
    found = Integrator(vae).quadrature(batch, 1e-7)
    assert float((found.log_p - truth.log_prob(batch.x)).abs().max()) < 1e-8
    assert float(found.error.max()) < 1e-7
    posterior = vae(batch).steps[0].q  # which is exact
    mean, std = posterior.mean.detach(), posterior.stddev.detach()
    assert float(((found.draws.mean(1) - mean) / std).abs().max()) < 4.5 / math.sqrt(found.draws.shape[1])
    torch.testing.assert_close(found.draws.std(1), std, rtol=0.25, atol=0)


class Bent(nn.Module):
    """z → z_1² + z_2² + … as the mean of one number x."""

    def forward(self, h: Tensor) -> Tensor:
        return h.square().sum(1).view(-1, 1, 1)


def needles(latents: int, scale: float, posterior: str = "DiagonalNormal") -> VAE:
    """x ~ N(|z|², scale²): given x, z lies at ±√x, or on a ring."""
    from taut.posteriors import Posterior

    torch.manual_seed(0)
    spec = Model(latents, posterior=Posterior.members[posterior](),
                 likelihood=Gaussian(spread="constant", scale=scale), network=MLP(hidden=(4,)))  # fmt: skip
    vae = spec.build((1,), Support("real"), Statistics(torch.zeros(1), torch.ones(1))).double()
    vae.decoder.body = Bent()
    nn.init.zeros_(vae.decoder.head.offset)
    return vae


@pytest.mark.parametrize("scale", [0.5, 1e-2, 1e-4])
def test_two_needles(scale: float) -> None:
    vae, x = needles(1, scale), 2.25
    found = Integrator(vae).quadrature(Batch(torch.full((1, 1), x, dtype=DOUBLE)), 1e-6)

    def f(z: float) -> float:
        log_f = -0.5 * z * z - 0.5 * ((x - z * z) / scale) ** 2 - math.log(2 * math.pi * scale)
        return math.exp(log_f + 1.125)  # e^(−z²/2) is e^(−1.125) at the needles

    width = min(1.0, 12 * scale)
    truth = 2 * integrate.quad(f, max(0.0, 1.5 - width), 1.5 + width, epsabs=0, epsrel=1e-10, limit=500)[0]
    if scale == 0.5:
        truth = 2 * integrate.quad(f, 0, 8, epsabs=0, epsrel=1e-10)[0]
    assert float(found.log_p) == pytest.approx(math.log(truth) - 1.125, abs=1e-6)
    assert float(found.error) < 1e-6
    assert 0.35 < float((found.draws > 0).double().mean()) < 0.65
    limits = [(-3.0, 3.0)] if scale == 0.5 else [(-2.0, 2.0)]
    if scale > 1e-3:
        grid = Integrator(vae).grid(Batch(torch.full((1, 1), x, dtype=DOUBLE)), float(found.log_p), limits, 2001)
        assert modes(grid.posterior) == 2
        step = grid.axes[0][1] - grid.axes[0][0]
        assert np.exp(grid.posterior).sum() * step == pytest.approx(1, abs=1e-3)
        assert np.exp(grid.prior).sum() * step == pytest.approx(math.erf(limits[0][1] / math.sqrt(2)), abs=1e-3)


def test_a_thin_ring() -> None:
    """|z|² of two normals is 2 Exp(1): p(x) = ∫ ½ e^{−s/2} N(x; s, σ²) ds."""
    vae, x, scale = needles(2, 0.02), 2.0, 0.02
    found = Integrator(vae).quadrature(Batch(torch.full((1, 1), x, dtype=DOUBLE)), 1e-4)
    truth = math.log(0.5) - x / 2 + scale**2 / 8  # up to what lies below s = 0, nothing here
    assert float(found.log_p) == pytest.approx(truth, abs=1e-4)
    assert float(found.error) < 1e-4
    radius = found.draws.square().sum(-1)
    assert float((radius - x).abs().max()) < 6 * scale


@pytest.mark.parametrize("prior", SERVED)
def test_probabilities_of_all_x_sum_to_one(prior: str) -> None:
    """Whatever the prior: some have tails, some correlate, some read the encoder."""
    latents = 2 if prior == "RealNVP" else 1
    vae = model(prior, latents, posterior="Cauchy" if prior == "Cauchy" else "DiagonalNormal")
    found = Integrator(vae).quadrature(Batch(EVERYTHING), 1e-4)
    assert float(found.log_p.logsumexp(0)) == pytest.approx(0, abs=1e-4)
    assert float(found.error.max()) < 1e-4


def test_two_layers_of_one_latent() -> None:
    vae = model("StandardNormal", 1, layers=(Plain(hidden=8), Plain(hidden=8)))
    require_small(vae)
    found = Integrator(vae).quadrature(Batch(EVERYTHING[::8]), 1e-4)
    whole = Integrator(vae).quadrature(Batch(EVERYTHING), 1e-4)
    torch.testing.assert_close(found.log_p, whole.log_p[::8], atol=2e-4, rtol=0)
    assert float(whole.log_p.logsumexp(0)) == pytest.approx(0, abs=1e-4)
    assert found.draws.shape == (8, 400, 2)


def test_single_precision_serves_a_tolerance_of_a_thousandth() -> None:
    vae = model("StandardNormal", 2)
    batch = Batch(EVERYTHING[::9])
    exact, quick = (Integrator(vae, dtype).quadrature(batch, 1e-3) for dtype in (DOUBLE, torch.float32))
    torch.testing.assert_close(exact.log_p, quick.log_p, atol=1e-4, rtol=0)
    assert exact.log_p.dtype == quick.log_p.dtype == quick.draws.dtype == DOUBLE


def test_a_network_with_corners_says_how_far_it_went() -> None:
    torch.manual_seed(0)
    spec = Model(1, likelihood=Gaussian(spread="constant", scale=0.2), network=MLP(hidden=(30,), activation="relu"))
    vae = spec.build((3,), Support("real"), Statistics(torch.zeros(3), torch.ones(3))).double()
    with torch.no_grad():
        for weight in vae.decoder.parameters():
            weight.add_(torch.randn_like(weight))
    batch, _ = made(vae, 3)
    coarse, fine = (Integrator(vae).quadrature(batch, tolerance) for tolerance in (1e-2, 1e-7))
    assert float((coarse.log_p - fine.log_p).abs().max()) < 1e-2
    z = torch.linspace(-9, 9, 2_000_001, dtype=DOUBLE)
    with torch.no_grad():
        for i in range(3):
            p = vae.decoder(z.unsqueeze(1)).log_prob(batch.x[i].expand(len(z), 3)) - 0.5 * z.square()
            truth = float(p.logsumexp(0)) + math.log(18 / 2e6) - 0.5 * math.log(2 * math.pi)
            assert float(fine.log_p[i]) == pytest.approx(truth, abs=1e-6)


def test_the_grid_holds_q_and_a_point_has_none() -> None:
    x = Batch(torch.full((1, 1), 0.7, dtype=DOUBLE))
    vae = needles(2, 0.5)
    grid = Integrator(vae).grid(x, 0.0, [(-6.0, 6.0), (-6.0, 7.0)], 301)
    assert grid.posterior.shape == grid.q.shape == grid.prior.shape == (301, 301)
    area = 12 / 300 * 13 / 300
    assert np.exp(grid.q).sum() * area == pytest.approx(1, abs=1e-4)
    assert np.exp(grid.prior).sum() * area == pytest.approx(1, abs=1e-4)
    q = vae(x).steps[0].q
    i, j = 100, 200
    z = torch.tensor([[grid.axes[0][i], grid.axes[1][j]]])
    assert grid.q[i, j] == pytest.approx(float(q.log_prob(z).detach()))
    np.testing.assert_allclose(grid.centre, q.mean[0].detach().numpy())
    assert Integrator(needles(1, 0.5, "Delta")).grid(x, 0.0, [(-1.0, 1.0)], 11).q is None


def test_peaks() -> None:
    line = np.linspace(-4, 4, 401)
    bump = lambda mean, scale: np.exp(-0.5 * ((line - mean) / scale) ** 2) / scale  # noqa: E731
    assert modes(np.log(bump(0, 1) + 1e-300)) == 1
    assert modes(np.log(bump(-1.5, 0.5) + bump(1.5, 0.5))) == 2
    assert modes(np.log(bump(-0.5, 1) + bump(0.5, 1))) == 1, "too near for two peaks"
    assert modes(np.log(bump(-2, 0.3) + 0.01 * bump(2, 0.3))) == 1, "too low to count"
    assert modes(np.log(bump(0, 1)) + 0.02 * np.sin(40 * line)) == 1, "ripples are no peaks"
    x, y = np.meshgrid(line, line, indexing="ij")
    ring = -((np.hypot(x, y) - 2) ** 2) * 8
    assert modes(ring) == 1 and modes(ring + 0.5 * np.cos(3 * np.arctan2(y, x))) == 3
    assert modes(np.zeros((5, 5))) == 1


def test_shares_of_mass() -> None:
    x = np.linspace(-6, 6, 1201)
    (ninety,) = within(-0.5 * x**2, [0.9])
    assert math.sqrt(-2 * math.log(ninety)) == pytest.approx(1.645, abs=0.01)


@pytest.mark.parametrize("latents", [1, 2])
@pytest.mark.parametrize("point", [False, True])
def test_the_picture_is_drawn(latents: int, point: bool) -> None:
    x = Batch(torch.full((1, 1), 2.0, dtype=DOUBLE))
    integrator = Integrator(needles(latents, 0.3, "Delta" if point else "DiagonalNormal"))
    log_p = float(integrator.quadrature(x).log_p)
    grid: Grid = integrator.grid(x, log_p, [(-3.0, 3.0)] * latents, 41)
    for count in (1, 4):
        figure = posteriors([grid] * count, ["a"] * count, np.zeros((count, 5, 5, 3), np.uint8))
        assert sum(axes.get_title(loc="left") == "a" for axes in figure.axes) == count


def test_refusals() -> None:
    with pytest.raises(
        InputError, match=r"^exact: sums over a grid of 1 or 2 latents, and the model has 3; anneal instead \(--ais\)"
    ):
        require_small(model("StandardNormal", 3))
    with pytest.raises(
        InputError, match=r"^exact: needs latents that are real numbers, and the model's are categories; "
    ):
        require_small(model("Categorical", 1, "Categorical"))
