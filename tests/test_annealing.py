"""Hamiltonian Monte Carlo keeps its density, annealing its expectation, and both sides of log p(x) lie on their side.

Models are linear-Gaussian, of which log p(x) is known in closed form, or have one or two latents, of which quadrature knows it.
"""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from test_model import hierarchy, linear, spoiled
from torch import Tensor

from taut.data import Batch, Statistics, Support
from taut.distributions import DiagonalNormal, fold
from taut.errors import InputError
from taut.evaluation import Annealing
from taut.evaluation.annealing import _Walk, ais, bdmc, log_mean_exp, made
from taut.evaluation.coordinates import Coordinates, require_real, still
from taut.evaluation.exact import Integrator
from taut.evaluation.hamiltonian import ACCEPTANCE, Steps, at, trajectory
from taut.layers import Plain
from taut.likelihoods import Bernoulli
from taut.model import VAE, Model
from taut.networks import MLP
from taut.posteriors import Posterior
from taut.priors import Prior

torch.set_num_threads(1)

DOUBLE = torch.float64


def two_bumps(u: Tensor) -> Tensor:
    """log of ⅓ N(−1.5, 0.5²) + ⅔ N(1, 1) along the first axis, N(u₀²/2, 0.6²) along the second: one term, (1, M)."""
    first = torch.stack([_normal(u[:, 0], -1.5, 0.5) + math.log(1 / 3), _normal(u[:, 0], 1.0, 1.0) + math.log(2 / 3)])
    return (first.logsumexp(0) + _normal(u[:, 1], 0.5 * u[:, 0].square(), 0.6)).unsqueeze(0)


def _normal(x: Tensor, mean: Tensor | float, scale: float) -> Tensor:
    return -0.5 * ((x - mean) / scale).square() - math.log(scale) - 0.5 * math.log(2 * math.pi)


def drawn(n: int) -> Tensor:
    """Exact draws of it."""
    low = torch.rand(n, dtype=DOUBLE) < 1 / 3
    first = torch.where(low, -1.5 + 0.5 * torch.randn(n, dtype=DOUBLE), 1 + torch.randn(n, dtype=DOUBLE))
    return torch.stack([first, 0.5 * first.square() + 0.6 * torch.randn(n, dtype=DOUBLE)], 1)


def near(values: Tensor, wanted: float) -> None:
    """Their mean is the wanted number within four standard errors."""
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - wanted) < 4 * error + 1e-9, (float(values.mean()), wanted, error)


class TestHamiltonian:
    one = torch.ones(1, 1, dtype=DOUBLE)

    def move(self, u: Tensor, step: float, times: int, leapfrogs: int = 5) -> tuple[Tensor, float]:
        here, chances = at(two_bumps, u), []
        for _ in range(times):
            here, chance = trajectory(two_bumps, here, self.one, u.new_full((len(u),), step), leapfrogs)
            chances.append(float(chance.mean()))
        return here.u, sum(chances) / len(chances)

    def test_detailed_balance(self) -> None:
        """Of u ~ f and the u* it goes to, (u, u*) and (u*, u) are alike. The step is coarse, so that much is refused."""
        torch.manual_seed(0)
        u = drawn(100_000)
        there, acceptance = self.move(u, 0.4, 1)
        assert 0.5 < acceptance < 0.9
        moved = (there != u).any(1)
        assert 0.5 < float(moved.double().mean()) < 0.9
        for g, h in [(lambda v: v[:, 0], lambda v: v[:, 0] ** 2), (lambda v: v[:, 0], lambda v: v[:, 1]),
                     (lambda v: (v[:, 0] < 0).double(), lambda v: v[:, 1].clamp(max=3))]:  # fmt: skip
            flow = g(u) * h(there) - h(u) * g(there)
            assert float(flow.abs().max()) > 0.1
            near(flow, 0.0)

    def test_known_moments_from_a_wrong_start(self) -> None:
        torch.manual_seed(0)
        u, _ = self.move(torch.zeros(20_000, 2, dtype=DOUBLE), 0.4, 60)
        second = 1 / 3 * (1.5**2 + 0.25) + 2 / 3 * 2
        near(u[:, 0], 1 / 3 * -1.5 + 2 / 3)
        near(u[:, 0].square(), second)
        near(u[:, 1], second / 2)
        near((u[:, 1] - 0.5 * u[:, 0].square()).square(), 0.36)
        cdf = lambda x: stats.norm.cdf(x, -1.5, 0.5) / 3 + 2 * stats.norm.cdf(x, 1, 1) / 3  # noqa: E731
        assert stats.kstest(u[:, 0].numpy(), cdf).pvalue > 1e-3

    def test_what_is_known_of_a_position_goes_with_it(self) -> None:
        torch.manual_seed(0)
        here, _ = trajectory(two_bumps, at(two_bumps, drawn(50)), self.one, torch.full((50,), 0.7, dtype=DOUBLE), 3)
        anew = at(two_bumps, here.u)
        torch.testing.assert_close(here.values, anew.values)
        torch.testing.assert_close(here.slopes, anew.slopes)

    def test_energies_that_are_no_number_are_refused(self) -> None:
        torch.manual_seed(0)

        def walled(u: Tensor) -> Tensor:
            """A normal that is cut off where u < 0: log of a negative number."""
            return (-0.5 * u.square() + 0 * u.log()).sum(1).unsqueeze(0)

        u = torch.randn(20_000, 1, dtype=DOUBLE).abs()
        here = at(walled, u)
        for _ in range(3):
            here, chance = trajectory(walled, here, self.one, u.new_full((len(u),), 0.8), 3)
        assert bool((chance == 0).any()) and bool((here.u > 0).all())
        near(here.u[:, 0], math.sqrt(2 / math.pi))

    def test_steps_are_led_to_the_wanted_acceptance_for_each_example(self) -> None:
        torch.manual_seed(0)
        scales = torch.tensor([0.01, 1.0, 30.0], dtype=DOUBLE).repeat(20).unsqueeze(1)  # 20 chains of 3 examples

        def terms(u: Tensor) -> Tensor:
            return (-0.5 * (u / scales).square()).sum(1).unsqueeze(0)

        here, steps, late = at(terms, scales * torch.randn(60, 5, dtype=DOUBLE)), Steps(3, 5, scales), []
        for i in range(200):
            here, chance = trajectory(terms, here, self.one, fold(steps.log_step.exp(), 20), 5)
            steps.lead(chance)
            late += [chance.view(20, 3).mean(0)] if i >= 100 else []
        torch.testing.assert_close(
            torch.stack(late).mean(0), torch.full((3,), ACCEPTANCE, dtype=DOUBLE), atol=0.05, rtol=0
        )
        size = steps.log_step.exp() / scales[:3, 0]
        assert float(size.max() / size.min()) < 2


CASES = {"one layer": lambda: linear(3), "two layers": hierarchy, "a wrong encoder": lambda: _spoiled(linear(2))}


def _spoiled(pair: tuple) -> tuple:
    return spoiled(pair[0]), pair[1]


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_weights_have_the_right_mean_however_few_the_degrees(start: str) -> None:
    """E[W] = p(x) upwards and E[W'] = 1/p(x) downwards, with five degrees and trajectories that are often refused."""
    vae = model("StandardNormal", latents=1)
    everything = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=DOUBLE)] * BITS)
    log_p = Integrator(vae).quadrature(Batch(everything), 1e-6).log_p
    assert float(log_p.logsumexp(0)) == pytest.approx(0, abs=1e-6)
    torch.manual_seed(0)
    some = torch.tensor([0, 21, 63])
    batch = Batch(everything[some])
    with still(vae):
        up, chances = _Walk(vae, Annealing(4000, 5, "power", start, 3), batch, lambda share: None).up()
    assert bool((chances > 0.3).all()) and bool((chances < 0.98).all())
    for column, exact in zip(up.T, log_p[some], strict=True):
        assert float(column.std()) > 0.05
        near((column - exact).exp(), 1.0)
    # downwards: one draw from each of many posteriors, x, z ~ p
    batch, values = made(vae, 4000)
    exact = log_p[(batch.x @ 2.0 ** torch.arange(BITS - 1, -1, -1, dtype=DOUBLE)).long()]
    with still(vae):
        down, _ = _Walk(vae, Annealing(2, 5, "power", start, 3), batch, lambda share: None).down(values)
    assert float(down.std()) > 0.05
    near((down + exact).exp().mean(0), 1.0)


@pytest.mark.parametrize("case", CASES)
def test_log_p_of_linear_gaussian_models(case: str) -> None:
    vae, truth = CASES[case]()
    torch.manual_seed(0)
    batch, _ = made(vae, 24)
    found = ais(vae, Annealing(32, 120, start="prior"), batch)
    off = found["log_p"] - truth.log_prob(batch.x)
    assert float(found["error"].mean()) < 0.2
    assert float((off / found["error"]).abs().max()) < 4.5
    assert abs(float(off.mean())) < 4 * float(found["error"].square().mean().sqrt()) / math.sqrt(len(off))
    assert bool((found["ess"] > 8).all()) and bool((found["ess"] <= 32).all())
    assert 0.5 < float(found["acceptance"].mean()) < 0.8


def test_an_exact_posterior_leaves_nothing_to_anneal() -> None:
    vae, truth = linear(3)
    torch.manual_seed(0)
    batch, _ = made(vae, 5)
    for how in (Annealing(2, 2, start="posterior"), Annealing(2, 9, start="posterior")):
        found = ais(vae, how, batch)
        torch.testing.assert_close(found["log_p"], truth.log_prob(batch.x))
        torch.testing.assert_close(found["ess"], torch.full((5,), 2.0, dtype=DOUBLE))


def test_both_sides_hold_log_p_between_them() -> None:
    vae, truth = linear(2)
    torch.manual_seed(3)
    found = bdmc(vae, Annealing(16, 60, start="prior"), 60)
    torch.manual_seed(3)
    exact = truth.log_prob(made(vae, 60)[0].x)  # the examples are what is drawn first
    low, high = found["lower"] - exact, found["upper"] - exact
    assert float(low.mean()) < 4 * float(low.std()) / math.sqrt(60)
    assert float(high.mean()) > -4 * float(high.std()) / math.sqrt(60)
    assert 0 < float((high - low).mean()) < 0.3


def test_more_degrees_bring_both_sides_nearer() -> None:
    vae, _ = linear(3)
    gaps = []
    for temperatures in (3, 40):
        torch.manual_seed(0)
        found = bdmc(vae, Annealing(8, temperatures, start="prior"), 100)
        gaps.append(float((found["upper"] - found["lower"]).mean()))
    assert 0 < gaps[1] < 0.3 * gaps[0]


BITS = 6


def model(prior: str, latents: int = 2, posterior: str = "DiagonalNormal", layers: tuple = (Plain(),)) -> VAE:
    """Six bits and a latent or two, out of their start."""
    torch.manual_seed(0)
    part = Prior.members[prior]
    options: dict = {"components": 5} if prior in ("Mixture", "Vamp", "Autoregressive") else {}
    options |= (
        {"activation": "silu", "transforms": 1 + (prior != "NSF"), "hidden": (8,)}
        if prior in ("RealNVP", "MAF", "NSF")
        else {}
    )
    spec = Model(latents, part(**options), Posterior.members[posterior](), Bernoulli(), MLP(hidden=(16,)), layers)
    vae = spec.build((BITS,), Support("binary", 2), Statistics(torch.full((BITS,), 0.4), torch.full((BITS,), 0.5)))
    with torch.no_grad():
        for weight in vae.parameters():
            weight.add_(0.4 * torch.randn_like(weight) / weight.shape[-1] ** 0.5)
        next(vae.decoder.body.parameters()).mul_(3)
    return vae.double()


def bits(n: int) -> Batch:
    return Batch((torch.rand(n, BITS, dtype=DOUBLE) < 0.4).double())


SERVED = [
    name
    for name, member in sorted(Prior.members.items())
    if member.space in ("real", None) and member.alone and member.exactness == "exact"
]


@pytest.mark.parametrize("prior", SERVED)
def test_every_prior_of_real_numbers_can_be_annealed(prior: str) -> None:
    """Against quadrature; whether a prior knows its noise decides the coordinates and not the answer."""
    posterior = "Cauchy" if prior == "Cauchy" else "DiagonalNormal"
    vae = model(prior, posterior=posterior)
    batch = bits(4)
    truth = Integrator(vae).quadrature(batch, 1e-4)
    torch.manual_seed(1)
    for start in ("prior", "posterior"):
        found = ais(vae, Annealing(40, 20, start=start, leapfrogs=4), batch)
        assert float((found["log_p"] - truth.log_p).abs().mean()) < 0.25
        assert float(found["error"].max()) < 0.6


@pytest.mark.parametrize("posterior", ["FullNormal", "IAF", "Laplace"])
def test_chains_can_start_from_other_posteriors(posterior: str) -> None:
    vae = model("StandardNormal", posterior=posterior)
    batch = bits(6)
    truth = Integrator(vae).quadrature(batch, 1e-4).log_p
    torch.manual_seed(1)
    found = ais(vae, Annealing(24, 30, start="posterior", leapfrogs=5), batch)
    assert float(((found["log_p"] - truth) / (found["error"] + 1e-4)).abs().max()) < 5


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_coordinates_go_there_and_back(start: str) -> None:
    """r(u) w(u) is p(x, z) but for the Jacobian of z(u), and values find their coordinates again."""
    vae, _ = hierarchy()
    torch.manual_seed(0)
    batch, _ = made(vae, 4)
    with torch.no_grad(), still(vae):
        coordinates = Coordinates.of(vae, batch, 2, start)
        u = coordinates.drawn()
        assert u.shape == (8, 3)
        trace, log_base = coordinates.trace(u)
        torch.testing.assert_close(coordinates.of_values([step.z for step in trace.steps]), u)
        log_joint = trace.log_likelihood(coordinates.batch)[0] + trace.log_prior()[0]
        log_det = log_base - trace.log_posterior()[0]  # log |∂z/∂u| = log r(u) − log r(z)
        torch.testing.assert_close(coordinates(u).sum(0), log_joint + log_det)
        normal = DiagonalNormal(torch.zeros_like(u), torch.zeros_like(u))
        torch.testing.assert_close(log_base, normal.log_prob(u))


def test_a_model_that_learns_is_left_as_it_was() -> None:
    vae = model("Vamp")
    vae.train()
    next(vae.decoder.parameters()).requires_grad_(False)
    learning = [weight.requires_grad for weight in vae.parameters()]
    torch.manual_seed(0)
    ais(vae, Annealing(2, 4), bits(2))
    assert vae.training and learning == [weight.requires_grad for weight in vae.parameters()]
    assert all(weight.grad is None for weight in vae.parameters())


def test_one_chain_has_no_error_and_equal_weights_none() -> None:
    vae, _ = linear(2)
    torch.manual_seed(0)
    found = ais(vae, Annealing(1, 5), Batch(torch.zeros(3, 6, dtype=DOUBLE)))
    assert bool(found["error"].isnan().all()) and bool((found["ess"] == 1).all())
    assert float(log_mean_exp(torch.tensor([[1.0], [1.0]]))) == 1.0


def test_ticks_run_to_the_end_and_rise() -> None:
    vae, _ = linear(1)
    torch.manual_seed(0)
    for measure in (lambda tick: ais(vae, Annealing(2, 7), Batch(torch.zeros(2, 6, dtype=DOUBLE)), tick),
                    lambda tick: bdmc(vae, Annealing(2, 7), 2, tick)):  # fmt: skip
        told: list[float] = []
        measure(told.append)
        assert told == sorted(told) and told[-1] == 1.0 and len(set(told)) == len(told)


def test_schedules() -> None:
    for schedule in ("sigmoid", "linear", "power"):
        betas = Annealing(temperatures=11, schedule=schedule).betas()
        assert betas[0] == 0 and betas[-1] == 1 and len(betas) == 11 and bool((betas.diff() > 0).all())
    sigmoid = Annealing(temperatures=11).betas()
    torch.testing.assert_close(sigmoid + sigmoid.flip(0), torch.ones(11, dtype=DOUBLE))
    assert sigmoid[1] < 0.1


@pytest.mark.parametrize(("options", "said"), [
    ({"chains": 0}, "chains: is 0; give 1 or more"),
    ({"temperatures": 1}, "temperatures: is 1; give 2 or more"),
    ({"leapfrogs": 0}, "leapfrogs: is 0; give 1 or more"),
    ({"schedule": "cosine"}, "schedule: is 'cosine'; give sigmoid, linear or power"),
    ({"start": "data"}, "start: is 'data'; give prior or posterior"),
])  # fmt: skip
def test_wrong_settings(options: dict, said: str) -> None:
    with pytest.raises(InputError) as error:
        Annealing(**options)
    assert str(error.value) == said


@pytest.mark.parametrize(("prior", "posterior", "kind"), [
    ("UniformSphere", "VonMisesFisher", "points of a sphere"),
    ("Categorical", "Categorical", "categories"),
    ("Categorical", "VectorQuantised", "categories"),
    ("Bernoulli", "Bernoulli", "zeros and ones"),
    ("Bernoulli", "RelaxedBernoulli", "zeros and ones"),
])  # fmt: skip
def test_latents_that_are_no_real_numbers_are_refused(prior: str, posterior: str, kind: str) -> None:
    vae = model(prior, posterior=posterior)
    with pytest.raises(
        InputError,
        match=rf"^ais: needs latents that are real numbers, and the model's are {kind}; take .* --samples 5000$",
    ):
        require_real(vae, "ais")


def test_other_refusals() -> None:
    with pytest.raises(InputError, match=r"^ais: integrates over latents, and the model has none; .*exact$"):
        require_real(model("StandardNormal", layers=()), "ais")
    point = model("StandardNormal", posterior="Delta")
    require_real(point, "ais")
    with pytest.raises(
        InputError,
        match=r"^start: is posterior, and a point posterior has no density; start from the prior \(--start prior\)$",
    ):
        require_real(point, "ais", "posterior")
    noisy = model("StandardNormal")
    noisy.layers[0].p.forward = lambda h: _Bound(torch.zeros(len(h), 2).double(), torch.zeros(len(h), 2).double())
    with pytest.raises(InputError, match=r"^bdmc: needs exact densities, and _Bound is a bound; read its ELBO$"):
        require_real(noisy, "bdmc")


class _Bound(DiagonalNormal):
    exactness = "bound"
