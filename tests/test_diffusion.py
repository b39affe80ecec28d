"""Diffusion models against exact truth: normal data and independent levels, whose best denoisers are known, have bounds
in closed form; and nothing that exponentiates a weight takes a noisy one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import taut
from taut.cli import main
from taut.config import parse, to_tree
from taut.data import Batch, Data, Statistics, Support, open_data
from taut.diff import difference
from taut.distributions import Chain, DiagonalNormal, Diffusion, Levels, Reals, Sampling, divergence, tempered, worst
from taut.errors import InputError
from taut.evaluation import Subject, bounds, evaluate, gaps
from taut.evaluation.coordinates import require_real
from taut.experiment import Experiment, resolve
from taut.layers import Spatial
from taut.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, PixelCNN
from taut.likelihoods import Diffusion as DiffusionLikelihood
from taut.model import Model, draw
from taut.networks import MLP, DenoisingMLP, Noise, Pyramid, UNet
from taut.objectives import ELBO, IWAE
from taut.priors import Diffusion as DiffusionPrior
from taut.runs import Run
from taut.training import seeded

torch.set_num_threads(1)

DOUBLE = torch.float64
ENDS = (-10.0, 6.0)
COURSES = [Noise(), Noise("cosine"), Noise("learned"), Noise(gamma=(-10.0, -2.0, 0.0, 6.0))]


def named(noise: Noise) -> str:
    return noise.course + str(len(noise.gamma) or "")


def unit() -> Reals:
    return Reals(torch.zeros((), dtype=DOUBLE), torch.ones((), dtype=DOUBLE))


def best(spread: float = 1.0, mean: float = 0.0):
    """The velocity of N(m, s²) in each element: E[ αε − σy | z ]."""

    def velocity(z, gamma):
        gamma = gamma.view(-1, *[1] * (z.dim() - 1))
        a2, s2 = (-gamma).sigmoid(), gamma.sigmoid()
        alpha, sigma = a2.sqrt(), s2.sqrt()
        gain = alpha * spread**2 / (a2 * spread**2 + s2)
        y = mean + gain * (z - alpha * mean)
        return (alpha * z - y) / sigma

    return velocity


def normal(rows: int, spread: float = 1.0, mean: float = 0.0, noise: Noise = COURSES[0], **options) -> Diffusion:
    like = torch.zeros(rows, dtype=DOUBLE)
    return Diffusion(best(spread, mean), noise.build(ENDS).double(), unit(), (2,), like, **options)


@torch.no_grad()
def expected(spread: float, steps: int | None, course: nn.Module) -> float:
    """The bound of one element by T steps, or by infinitely many, mean over y ~ N(0, s²), in closed form."""
    first, last = course.double().ends
    s2, log_sigmoid = spread**2, torch.nn.functional.logsigmoid
    if steps is None:  # ½ ∫ s²/(s² + e^γ) dγ
        between = 0.5 * (last - first - (s2 + last.exp()).log() + (s2 + first.exp()).log())
    else:
        gamma = first + (last - first) * course.between(torch.linspace(0, 1, steps + 1, dtype=DOUBLE))[0]
        between = (0.5 * torch.expm1(gamma.diff()) * s2 / (s2 + gamma[1:].exp())).sum()
    prior = 0.5 * ((-last).sigmoid() * (s2 - 1) - log_sigmoid(last))
    end = 0.5 * (math.log(2 * math.pi) + log_sigmoid(first) + first.sigmoid() * s2 + (-first).sigmoid())
    return -float(end + between + prior)


def entropy(spread: float) -> float:
    return 0.5 * (math.log(2 * math.pi * spread**2) + 1)


def near(values: torch.Tensor, truth: float, errors: float = 4.0) -> bool:
    """Whether the mean of independent values is the truth, by their own spread."""
    return bool(abs(values.mean() - truth) <= errors * values.std() / math.sqrt(len(values)) + 1e-9)


@pytest.mark.parametrize("noise", COURSES, ids=named)
@pytest.mark.parametrize("spread", [1.0, 0.5, 2.0])
def test_the_bound_rises_to_the_exact_value_as_steps_grow(noise, spread):
    course = noise.build(ENDS)
    values = [expected(spread, steps, course) for steps in (1, 2, 5, 10, 100, 1000, 10_000, 100_000)]
    limit = expected(spread, None, course)
    assert [*values, limit] == sorted([*values, limit])
    assert limit - values[-1] < 3e-3
    # what is left at the ends: z_1 is not quite N(0, I), and p(y|z_0) not quite exact, where the spread is not 1
    assert 0 <= -entropy(spread) - limit + 1e-12 < (1e-11 if spread == 1 else 1e-4)


@pytest.mark.parametrize("noise", COURSES, ids=named)
def test_the_estimate_is_unbiased_of_the_exact_value_at_every_x(noise):
    torch.manual_seed(0)
    p = normal(400, noise=noise)
    x = torch.tensor([1.3, -0.4], dtype=DOUBLE).expand(400, 2)
    exact = float(torch.distributions.Normal(0, 1).log_prob(x[0]).sum())
    with torch.no_grad():  # rows of one call share their times, calls do not
        assert near(torch.stack([p.log_prob(x).mean() for _ in range(200)]), exact)
        few = normal(20, noise=noise, draws=20)
        assert near(torch.stack([few.log_prob(x[:20]).mean() for _ in range(200)]), exact)


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_steps_drawn_and_all_steps_are_estimates_of_the_same_bound(steps):
    torch.manual_seed(1)
    noise = Noise(gamma=(-3.0, 2.0))
    p = normal(500, 0.7, noise=noise, steps=steps)
    truth = 2 * expected(0.7, steps, noise.build())
    drawn, summed = [], []
    for _ in range(100):
        x = 0.7 * torch.randn(500, 2, dtype=DOUBLE)
        drawn.append(p.log_prob(x).mean())
        summed.append(p.stepwise(x, steps).mean())
    assert near(torch.stack(drawn), truth)
    assert near(torch.stack(summed), truth)
    assert torch.stack(summed).std() <= torch.stack(drawn).std() * 1.2, "no times are drawn"


def test_a_step_is_the_divergence_of_the_two_transitions():
    torch.manual_seed(2)
    net = nn.Linear(2, 2).double()
    p = Diffusion(lambda z, gamma: net(z), Noise().build().double(), unit(), (2,), torch.zeros(5, dtype=DOUBLE))
    y, t = torch.randn(5, 2, dtype=DOUBLE), torch.tensor([0.1, 0.3, 0.5, 0.9, 1.0], dtype=DOUBLE)
    s = t - 0.1
    torch.manual_seed(3)
    found = p._step(y, t, s)
    torch.manual_seed(3)
    noise = torch.randn(5, 2, dtype=DOUBLE)
    gamma_t, gamma_s = (ENDS[0] + 16 * time.unsqueeze(1) for time in (t, s))
    (a_t, s_t), (a_s, s_s) = (((-g).sigmoid().sqrt(), g.sigmoid().sqrt()) for g in (gamma_t, gamma_s))
    z = a_t * y + s_t * noise
    along = a_t / a_s
    between = s_t**2 - along**2 * s_s**2
    log_scale = 0.5 * (between * s_s**2 / s_t**2).log().expand(5, 2)
    mean = lambda guess: along * s_s**2 / s_t**2 * z + a_s * between / s_t**2 * guess  # noqa: E731
    q, model = DiagonalNormal(mean(y), log_scale), DiagonalNormal(mean(a_t * z - s_t * net(z)), log_scale)
    torch.testing.assert_close(found, divergence(q, model, z, z).total)


@pytest.mark.parametrize("noise", COURSES, ids=named)
def test_noise_rises_from_end_to_end_and_knows_its_slope(noise):
    course = noise.build(ENDS).double()
    t = torch.linspace(0, 1, 1001, dtype=DOUBLE, requires_grad=True)
    u, slope = course.between(t)
    assert (u.diff() > 0).all()
    torch.testing.assert_close(course.ends.detach(), torch.tensor(ENDS, dtype=DOUBLE))
    torch.testing.assert_close(u[[0, -1]].detach(), torch.tensor([0.0, 1.0], dtype=DOUBLE))
    (gradient,) = torch.autograd.grad(u.sum(), t)
    torch.testing.assert_close(gradient, slope.detach())


def test_a_learned_course_makes_the_estimate_less_noisy_and_the_bound_no_other():
    torch.manual_seed(4)
    p = normal(500, 0.05, noise=Noise("learned", pieces=16))
    x = 0.05 * torch.randn(500, 2, dtype=DOUBLE)
    learning = [p.course.weights]
    before = torch.stack([p.log_prob(x).detach() for _ in range(100)])
    optimiser = torch.optim.Adam(learning, 0.03)
    for _ in range(300):
        optimiser.zero_grad()
        (-p.log_prob(x).mean()).backward()
        optimiser.step()
    after = torch.stack([p.log_prob(x).detach() for _ in range(100)])
    assert after.std(0).mean() < 0.75 * before.std(0).mean()
    assert near(after.mean(1), float(before.mean()), 5)


def test_learned_ends_follow_the_gradient_of_the_bound():
    torch.manual_seed(5)
    p = normal(4000, 0.7, noise=Noise("learned", gamma=(-2.0, 1.0)))
    x = 0.7 * torch.randn(4000, 2, dtype=DOUBLE)
    grads = []
    for _ in range(60):
        grads.append(torch.stack(torch.autograd.grad(p.log_prob(x).mean(), [p.course.first, p.course.log_width])))
    course = Noise("learned", gamma=(-2.0, 1.0)).build().double()
    s2 = float(x.square().mean())
    first, last = course.ends
    bound = lambda g: -g + (s2 + g.exp()).log()  # noqa: E731  # ∫ s²/(s² + e^γ) dγ = γ − log(s² + e^γ)
    prior = 0.5 * ((-last).sigmoid() * (s2 - 1) - torch.nn.functional.logsigmoid(last))
    end = 0.5 * (torch.nn.functional.logsigmoid(first) + first.sigmoid() * s2 + (-first).sigmoid())
    exact = torch.autograd.grad(
        -2 * (end + prior + 0.5 * (bound(first) - bound(last))), [course.first, course.log_width]
    )
    for i in range(2):  # the denoiser is the best for spread 0.7, and x nearly so spread
        assert abs(float(torch.stack(grads)[:, i].mean()) - float(exact[i])) < 0.05


@pytest.mark.parametrize("draws", [1, 4])
def test_times_leave_no_gaps_and_each_is_uniform(draws):
    seen = []

    def velocity(z, gamma):
        seen.append((gamma.double() - ENDS[0]) / 16)
        return torch.zeros_like(z)

    torch.manual_seed(6)
    p = Diffusion(velocity, Noise().build().double(), unit(), (2,), torch.zeros(8, dtype=DOUBLE), draws=draws)
    for _ in range(2000):
        p.log_prob(torch.zeros(8, 2, dtype=DOUBLE))
    times = torch.stack(seen)
    n = 8 * draws
    assert times.shape == (2000, n)
    gaps = times.sort(1).values.diff(dim=1)
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / n))
    for row in times.sort(0).values.T[:3]:  # Kolmogorov and Smirnov, at one in a thousand
        assert (row - (torch.arange(2000) + 0.5) / 2000).abs().max() < 1.95 / math.sqrt(2000)
    own = times.view(2000, draws, 8)[..., 0].sort(1).values.diff(dim=1)
    torch.testing.assert_close(own, torch.full_like(own, 1 / draws))


@pytest.mark.parametrize(("way", "steps"), [("ancestral", 500), ("ddim", 200)])
def test_draws_have_the_moments_of_the_data(way, steps):
    torch.manual_seed(7)
    p = normal(8000, 0.5, 1.5, Noise("cosine", gamma=(-10.0, 12.0)), sampling=Sampling(way, steps))
    x = p.sample()
    assert x.shape == (8000, 2)
    assert abs(x.mean() - 1.5) < 0.02
    assert abs(x.std() - 0.5) < 0.015
    assert torch.corrcoef(x.T)[0, 1].abs() < 0.04
    few = normal(10, 0.5, 1.5, sampling=Sampling(way, 10))
    assert few.sample((3,)).shape == (3, 10, 2)
    cold = tempered(normal(2000, 0.5, 1.5, sampling=Sampling(way, 50)), 0.5).sample()
    assert cold.std() < 0.3


def test_fewer_steps_do_without_noise():
    torch.manual_seed(8)
    off = {
        way: abs(float(normal(50_000, 0.5, sampling=Sampling(way, 20)).sample().std()) - 0.5)
        for way in ("ancestral", "ddim")
    }
    assert off["ddim"] < 0.6 * off["ancestral"]


def test_what_stands_for_a_density_is_always_the_same():
    p = normal(3, 0.5, 1.5)
    assert torch.equal(p.centre, p.centre)
    assert torch.equal(p.centre[0], p.centre[1])
    assert (p.centre - 1.5).abs().max() < 2


@pytest.mark.parametrize("gamma", [-9.0, -4.0, -1.0, 2.0])
def test_probabilities_of_levels_sum_to_one(gamma):
    torch.manual_seed(9)
    gamma = torch.tensor(gamma, dtype=DOUBLE)
    end = Levels(torch.tensor([3.1, 8.0, 0.2], dtype=DOUBLE), torch.tensor(4.0, dtype=DOUBLE), 17)
    x = torch.randint(0, 17, (300, 3)).double()
    noise = torch.randn(300, 3, dtype=DOUBLE)
    z = (-gamma).sigmoid().sqrt() * end.spell(x) + gamma.sigmoid().sqrt() * noise
    log_probs = end.log_probs(z, gamma)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(300, 3, dtype=DOUBLE))
    own = log_probs.gather(-1, x.long().unsqueeze(-1)).squeeze(-1).sum(1)
    torch.testing.assert_close(end.expected(x, gamma, noise), own, rtol=0, atol=1e-12)  # from a window of levels alone
    assert torch.equal(end.read(z, gamma, draw=False), log_probs.argmax(-1).double())
    many = torch.stack([end.read(z[:1], gamma, draw=True) for _ in range(2000)]).squeeze(1)
    share = nn.functional.one_hot(many.long(), 17).double().mean(0)
    assert (share - log_probs[0].exp()).abs().max() < 0.06


@pytest.mark.parametrize(
    ("support", "each"), [(Support("binary", 2), Bernoulli()), (Support("integers", 5), Categorical())], ids=str
)
def test_beliefs_in_independent_elements_are_bounded_by_their_own_probability(support, each):
    """Where the denoiser is the best there is, the bound is log P(x), at every x."""
    torch.manual_seed(10)
    shape, top = (1, 2, 2), support.levels - 1
    statistics = Statistics(torch.full(shape, 0.4 * top), torch.full(shape, 0.35 * top))
    spec = DiffusionLikelihood(DenoisingMLP(width=8, blocks=1), noise=Noise(gamma=(-9.0, 12.0)), draws=300)
    head = spec.build(shape, support, statistics).double()
    rows = each.build(shape, support, statistics).double()(torch.zeros(30, each.outputs(support), *shape, dtype=DOUBLE))
    x = rows.sample()
    support.check(x, "x")
    p = head(torch.zeros(30, spec.maps, *shape, dtype=DOUBLE))
    with torch.no_grad():
        off = torch.stack([(p.log_prob(x) - rows.log_prob(x)).mean() for _ in range(20)])
    assert near(off, 0.0)
    assert off.std() < 0.3
    drawn = head(torch.zeros(2000, spec.maps, *shape, dtype=DOUBLE)).sample()
    assert abs(drawn.mean() - rows.mean.detach().mean()) < 0.1 * top


LEVELLED = [name for name, member in sorted(Likelihood.members.items()) if not member.joint and not member.continuous]


@pytest.mark.parametrize(
    "name", [name for name in LEVELLED if Likelihood.members[name]().fits(Support("integers", 256))]
)
def test_any_likelihood_of_levels_is_a_belief(name):
    torch.manual_seed(0)
    shape, support = (1, 4, 4), Support("integers", 256)
    spec = DiffusionLikelihood(belief=Likelihood.members[name](), sampling=Sampling(steps=5))
    assert parse(Likelihood, to_tree(spec)) == spec
    head = spec.build(shape, support, Statistics(torch.full(shape, 100.0), torch.full(shape, 60.0)))
    with torch.no_grad():
        head.denoiser.last.weight.normal_(std=0.1)
    out = torch.randn(3, spec.maps, *shape).requires_grad_()
    x = torch.randint(0, 256, (3, *shape)).float()
    log_prob = head(out).log_prob(x)
    assert torch.isfinite(log_prob).all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), out)
    assert torch.isfinite(gradient).all()
    assert gradient.any()
    support.check(head(out).sample(), "x")


@pytest.mark.parametrize("support", [Support("real"), Support("unit"), Support("real", whole=True)], ids=str)
def test_a_density_is_of_the_data_in_their_own_units(support):
    shape, half = (3,), 0.5 if support.whole else 0.0
    found = []
    for unit_of in (1.0, 10.0):
        statistics = Statistics(unit_of * torch.tensor([0.1, 0.4, 0.2]) - half, unit_of * torch.tensor([0.3, 0.2, 0.5]))
        torch.manual_seed(0)
        head = DiffusionLikelihood().build(shape, support, statistics)
        assert head.dequantise == support.whole
        torch.manual_seed(1)
        found.append(
            head(torch.zeros(50, 4, 3)).log_prob(
                unit_of * torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
            )
        )
    torch.testing.assert_close(found[0] - found[1], torch.full((50,), 3 * math.log(10)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("support", [Support("real"), Support("binary", 2), Support("integers", 256)], ids=str)
@pytest.mark.parametrize(
    "noise", [Noise(gamma=(-20.0, 20.0)), Noise("learned", gamma=(-20.0, 20.0)), Noise(gamma=(19.0, 20.0))], ids=str
)
def test_gradients_are_finite_at_the_extremes(support, noise):
    torch.manual_seed(11)
    shape, top = (1, 4, 4), (support.levels or 2) - 1
    statistics = Statistics(torch.full(shape, 0.5 * top), torch.full(shape, 0.01 * top))
    head = DiffusionLikelihood(noise=noise, draws=8).build(shape, support, statistics)
    out = (1e3 * torch.randn(16, 4, *shape)).requires_grad_()
    x = torch.randint(0, top + 1, (16, *shape)).float() * (1 if support.discrete else 100)
    log_prob = head(out).log_prob(x)
    assert torch.isfinite(log_prob).all()
    log_prob.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (out, *head.parameters()) if p.grad is not None)
    assert torch.isfinite(head(out.detach()).sample()).all()


# what follows is of whole models

SMALL = {"part": "Diffusion", "denoiser": {"part": "DenoisingMLP", "width": 32}, "sampling": {"steps": 5}}
DIGITS = {
    "prior": {"likelihood": "Binomial", "prior": SMALL},
    "decoder": {"likelihood": {**SMALL, "denoiser": {"part": "UNet", "channels": [8, 8]}}},
    "alone": {"layers": [], "likelihood": SMALL},
}


def plan(name: str, **sections) -> dict:
    model = {"network": {"part": "MLP", "hidden": [32]}, **DIGITS[name]}
    model |= {"latents": 4} if name != "alone" else {}
    return {"model": model, "training": {"steps": 30, "validations": 1}, **sections}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, taut.Run]:
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for name in DIGITS:
        run = taut.train("digits", **plan(name))
        run.save(folder / name)
        found[name] = run
    exact = taut.train(
        "digits", model={"latents": 4, "network": {"part": "MLP", "hidden": [32]}}, training={"steps": 30}
    )
    exact.save(folder / "exact")
    return found | {"exact": exact}


@pytest.mark.parametrize("name", sorted(DIGITS))
def test_a_noisy_model_has_an_elbo_and_no_importance_weights(name, runs):
    run = runs[name]
    batch = Batch(run.test_split().x[:4].float())
    assert run.vae(batch).exactness == "noisy"
    assert runs["exact"].vae(batch).exactness == "exact"
    found = run.evaluate(samples=3, limit=50)
    assert found["exactness"] == "noisy"
    assert found["elbo"] < 0 < found["elbo_stderr"]
    assert found["iw"]["value"] is found["iw"]["ess"] is None
    assert found["iw"]["k"] == 3
    assert "noisy" in found["iw"]["why"]
    parts = bounds(run.subject(), 3, torch.arange(50))
    assert parts.importance is None
    assert parts.ess is None
    assert run.evaluate(samples=50, limit=50, iw_limit=10)["iw"]["value"] is None
    assert run.sample(3, seed=0).shape == (3, 8, 8)
    assert np.array_equal(run.sample(3, seed=0), run.sample(3, seed=0))


def test_the_error_of_the_elbo_holds_the_noise():
    data = open_data(Data("digits"))
    model = Model(layers=(), likelihood=DiffusionLikelihood(), network=MLP(hidden=()))
    torch.manual_seed(0)
    vae = model.build(data.reading.shape, data.reading.support, data.statistics()).eval()
    same = data.test.take(torch.zeros(200, dtype=torch.long))  # one example, many times: all that varies is noise
    found = [evaluate(Subject(vae, same, data.reading, seed=seed), samples=k) for seed in (0, 1) for k in (1, 16)]
    assert found[0]["elbo_stderr"] > 2 * found[1]["elbo_stderr"] > 0
    for one, other in ((0, 2), (1, 3)):
        error = math.hypot(found[one]["elbo_stderr"], found[other]["elbo_stderr"])
        assert abs(found[one]["elbo"] - found[other]["elbo"]) < 4 * error


@pytest.mark.parametrize("name", sorted(DIGITS))
@pytest.mark.parametrize("option", ["--ais", "--bdmc", "--exact", "--gaps"])
def test_what_exponentiates_weights_refuses_noisy_ones(name, option, runs, capsys):
    assert main(["evaluate", str(runs[name].folder), option, "--quiet"]) == 2
    assert "needs exact densities, and Diffusion is noisy; read its ELBO" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "more"), [("alone", []), ("prior", []), ("decoder", ["--baselines", "--gaps-limit", "2"])]
)
def test_words_say_elbo_and_noise(name, more, runs, capsys):
    assert main(["evaluate", str(runs[name].folder), "--limit", "20", "--samples", "2", "--quiet", *more]) == 0
    told = capsys.readouterr().out
    line = told.splitlines()[1]
    assert line.startswith("ELBO")
    assert "2 draws an example; ± holds their noise" in line
    assert "IW-2" not in told
    assert "exact: there are no latents" not in told
    assert not more or "DiagonalNormal" in told or "needs exact densities" in told


def test_a_bound_is_called_one_while_it_trains_and_in_the_report(tmp_path, capsys):
    """Whether log p(x) is known, and not whether there are latents, says what it is called."""
    alone = ["--model.layers", "[]", "--model.network", "MLP", "--model.network.hidden", "8", "--training.steps", "3"]
    small = ["--model.likelihood", "Diffusion", "--model.likelihood.denoiser.width", "8", "--model.likelihood.denoiser",
             "DenoisingMLP", "--model.likelihood.sampling.steps", "3"]  # fmt: skip
    words = {}
    for name, options in (("noisy", small), ("exact", [])):
        assert main(["train", "digits", "--out", str(tmp_path / name), *alone, *options]) == 0
        told = capsys.readouterr().out
        report = (tmp_path / name / "report.html").read_text("utf-8")
        words[name] = [line for line in told.splitlines() if line.startswith("step")], report
    assert all("ELBO −" in line and "log p(x)" not in line for line in words["noisy"][0])
    assert all("log p(x) −" in line and "ELBO" not in line for line in words["exact"][0])
    assert "the ELBO is log p(x)" not in words["noisy"][1]
    assert "the ELBO is log p(x)" in words["exact"][1]


@pytest.mark.parametrize("command", ["traverse", "interpolate", "reconstruct"])
def test_without_layers_there_are_no_codes_to_move(command, runs, capsys):
    assert main([command, str(runs["alone"].folder)]) == 2
    assert capsys.readouterr().err.startswith("taut: model.layers: is empty, so the run has no latents")


def test_without_layers_no_temperature_has_an_effect(runs, capsys):
    assert main(["sample", str(runs["alone"].folder), "--temperature", "0.7"]) == 2
    assert "temperature: is 0.7, and the model has no latents whose prior" in capsys.readouterr().err
    assert runs["alone"].sample(2, temperature=1.0, seed=0).shape == (2, 8, 8)


def test_a_page_that_decodes_is_refused_without_advice_that_could_not_help(runs, capsys):
    assert main(["export", str(runs["decoder"].folder), "--web"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("taut: --web: is a page that decodes, and x given z has no mean under Diffusion")
    assert "--only" not in told


def test_the_codec_refuses_them_by_name(runs):
    x = runs["prior"].dataset().test.x[:2, 0].numpy()
    with pytest.raises(InputError, match=r"^model.prior: is Diffusion, which cannot be coded"):
        runs["prior"].compress(x)
    with pytest.raises(
        InputError, match=r"^model.likelihood: is Diffusion, which cannot be coded: it has no probabilities"
    ):
        runs["alone"].compress(x)


def test_differences_are_of_elbos_of_as_many_draws_as_are_asked_for(runs, capsys):
    folders = [str(runs[name].folder) for name in ("exact", "alone")]
    found = {k: difference(runs["exact"], runs["alone"], k, 60)[0] for k in (1, 30)}
    assert found[30].bounds == ("ELBO of 30 draws",) * 2
    assert found[30].stderr < found[1].stderr, "the error holds the noise of the draws"
    fresh = [Run(run.vae, run.experiment, run.reading, run.facts, {}) for run in (runs["exact"], runs["alone"])]
    assert difference(*fresh)[0].bounds == ("ELBO of 100 draws",) * 2, (
        "with nothing kept, as many as an evaluation takes"
    )
    for folder, samples in zip(folders, ("100", "120"), strict=True):
        assert main(["evaluate", folder, "--samples", samples, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["diff", *folders, "--quiet"]) == 0  # of what is kept of both, and means of any number can be compared
    told = capsys.readouterr().out
    assert "ELBO of 100 draws" in told
    assert "ELBO of 120 draws" in told
    assert "IW" not in told


@pytest.mark.parametrize("name", sorted(DIGITS))
@pytest.mark.parametrize("estimator", [[], ["DReG"], ["VIMCO"]], ids=str)
def test_training_on_exponentiated_weights_is_refused_before_it_begins(name, estimator):
    data, layered = open_data(Data("digits")), name != "alone"
    for part, refused in (("IWAE", True), ("ELBO", False)):
        objective = {"part": part, "samples": 2, "estimator": estimator if layered else []}
        experiment = parse(Experiment, {"data": Data("digits"), **plan(name, objective=objective)})
        if refused:
            with pytest.raises(InputError, match=r"^objective: IWAE exponentiates weights, .* is noisy; choose ELBO"):
                resolve(experiment, data)
        else:
            resolve(experiment, data)


def test_weights_are_as_good_as_their_worst_part():
    assert worst(Chain, Diffusion, object()) == "noisy"
    assert worst(IWAE(), ELBO(), Gaussian()) == "exact"
    assert worst(DiffusionPrior(), Gaussian()) == worst(DiffusionLikelihood()) == "noisy"

    class Bounded:
        exactness = "bound"

    assert worst(Bounded(), Chain) == "bound"
    assert worst(Diffusion, Bounded()) == "noisy"


def test_refusals():
    with pytest.raises(InputError, match=r"^data: has missing cells"):
        normal(2).log_prob(torch.zeros(2, 2, dtype=DOUBLE), torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"^conditional: is Diffusion, itself a model of all elements"):
        PixelCNN(conditional=DiffusionLikelihood())
    for belief in (PixelCNN(), Gaussian()):
        with pytest.raises(InputError, match=rf"^belief: is {type(belief).__name__}"):
            DiffusionLikelihood(belief=belief)
    with pytest.raises(
        InputError, match=r"^model.prior.noise.gamma: is 6, -10, and noise must grow at every time; give rising"
    ):
        parse(Model, {"prior": {"part": "Diffusion", "noise": {"gamma": [6, -10]}}}, "model")
    for posterior in ("Categorical", "Bernoulli", "VectorQuantised", "VonMisesFisher"):
        with pytest.raises(
            InputError, match=r"^model.posterior: .* draws .*, and the Diffusion prior is of real numbers; with"
        ):
            parse(Model, {"posterior": posterior, "prior": "Diffusion"}).resolved((5,), Support("real"))
    with pytest.raises(InputError, match=r"^model.likelihood: Diffusion is no likelihood of counts from 0"):
        parse(Model, {"likelihood": "Diffusion"}).resolved((5,), Support("counts"))
    with pytest.raises(
        InputError, match=r"^model.likelihood.belief: Bernoulli is no .*; integers 0 to 16 fit Beta.*Cat"
    ):
        parse(Model, {"likelihood": {"part": "Diffusion", "belief": "Bernoulli"}}).resolved(
            (1, 8, 8), Support("integers", 17)
        )


@pytest.mark.parametrize("owner", ["likelihood", "prior"])
def test_a_denoiser_that_does_not_fit_is_named_with_what_does(owner):
    layers = () if owner == "likelihood" else ({"part": "Plain", "latents": 4},)

    def build(shape, denoiser):
        spec = parse(Model, {owner: {"part": "Diffusion", "denoiser": denoiser}, "layers": layers})
        return spec.build(shape, Support("real"), Statistics(torch.zeros(shape), torch.ones(shape)))

    with pytest.raises(
        InputError, match=rf"^model.{owner}.denoiser: is UNet, which needs images.*; choose DenoisingMLP$"
    ):
        build((4,), "UNet")
    build((4,), "DenoisingMLP")  # the advice, taken


def test_scales_of_a_denoiser_are_counted_as_they_are_given():
    def build(*channels):
        return UNet(channels).build((1, 8, 8))

    with pytest.raises(InputError, match=r"^denoiser.channels: has 5 scales for images of 8×8; give at most 4$"):
        build(8, 8, 8, 8, 8)
    assert build(8, 8, 8, 8)(torch.zeros(2, 1, 8, 8), torch.zeros(2)).shape == (2, 1, 1, 8, 8)


def test_missing_cells_are_refused_before_training_in_words_of_the_data(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(
        "a,b,c\n" + "".join(f"{i % 7}.5,{'' if i % 5 == 0 else i / 3},{i * i % 11}.25\n" for i in range(60))
    )
    with pytest.raises(
        InputError,
        match=r"^model.likelihood: is Diffusion, a model of all elements .* cells of the data are missing; fill",
    ) as refused:
        taut.train(table, model={"likelihood": "Diffusion"}, training={"steps": 1})
    assert "choose Columns, Gaussian" in str(refused.value)
    with pytest.raises(
        InputError, match=r"^model.likelihood: PixelCNN is no .* some of them missing, fit Columns, Gaussian"
    ):
        taut.train(table, model={"likelihood": "PixelCNN"}, training={"steps": 1})


def test_exact_measures_name_what_is_noisy(runs):
    for run in (runs[name] for name in DIGITS):
        with pytest.raises(InputError, match="Diffusion is noisy"):
            gaps(run.subject(), 2)
        with pytest.raises(InputError, match="Diffusion is noisy"):
            require_real(run.vae, "ais")


def test_a_prior_learns_codes_that_no_longer_move():
    stages = [{"learn": "codes", "share": 1}, {"learn": "prior", "share": 1}]
    tree = plan("prior", objective={"part": "ELBO", "schedule": "Constant"})
    found = []
    for count in (2, 1):  # the first stage alone takes half as many steps
        tree["training"] = {"steps": 10 * count, "average": None, "validations": 1, "stages": stages[:count]}
        found.append(taut.train("digits", **tree).vae)
    for (name, both), one in zip(found[0].named_parameters(), found[1].parameters(), strict=True):
        if "layers.0.p." not in name:
            assert torch.equal(both, one), name
    assert found[0].layers[0].p.denoiser.last.weight.any()
    assert not found[1].layers[0].p.denoiser.last.weight.any(), "a prior that has not learnt is N(0, I)"


def test_a_rate_is_log_q_less_log_p(runs):
    vae = runs["prior"].vae
    trace = vae(Batch(runs["prior"].test_split().x[:6].float()), 2, draw)
    torch.testing.assert_close(trace.rate(), trace.log_posterior() - trace.log_prior())


def test_a_layer_below_is_told_of_those_above():
    shape, statistics = (5,), Statistics(torch.zeros(5), torch.ones(5))
    layers = [{"part": "Plain", "latents": 3}, {"part": "Plain", "latents": 2, "prior": "Diffusion"}]
    model = parse(Model, {"layers": layers, "network": {"part": "MLP", "hidden": [8]}, "likelihood": "Gaussian"})
    vae = model.build(shape, Support("real"), statistics)
    vae.generate(4, lambda site: draw(site))
    p = vae.layers[1].prior(torch.randn(4, 3))
    with torch.no_grad():
        vae.layers[1].p.denoiser.last.weight.normal_()
        vae.layers[1].p.denoiser.blocks[0].write[1].weight.normal_()
    z = torch.zeros(4, 2)
    found = [p.velocity(z, torch.zeros(4)), vae.layers[1].prior(torch.zeros(4, 3)).velocity(z, torch.zeros(4))]
    assert not torch.allclose(*found)


def test_a_prior_of_latents_on_a_map_has_a_network_of_maps():
    """At the top of a hierarchy on maps z is one flat event that a U-Net sees as the map it is; untrained it is N(0, I)."""
    spec = Model(
        network=Pyramid((4,), patch=2, cells=1), prior=DiffusionPrior(UNet((8, 8))), layers=(Spatial(latents=2),)
    )
    vae = spec.build((1, 8, 8), Support("binary", 2), Statistics(torch.zeros(1, 8, 8), torch.ones(1, 8, 8)))
    p = vae.layers[0].p(torch.zeros(500, 0))
    z = torch.randn(500, 32, generator=torch.Generator().manual_seed(0))
    assert p.sample().shape == (500, 32)
    truth = -0.5 * (z.square().sum(1) + 32 * math.log(2 * math.pi))
    with seeded(0), torch.no_grad():
        assert float(p.log_prob(z).mean()) == pytest.approx(float(truth.mean()), abs=3)
    assert any(isinstance(module, nn.Conv2d) for module in vae.layers[0].p.modules())
