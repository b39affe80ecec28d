"""Relaxed categories and bits: their densities against quadrature, their limits, and the discrete model they stand for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as td

from taut.data import Batch, Data, Feed, Statistics, Support, open_array, open_data
from taut.distributions import Bits, OneHot, RelaxedBits, RelaxedOneHot, StraightThrough, central, divergence
from taut.errors import InputError
from taut.evaluation import Subject, bounds
from taut.model import Model
from taut.networks import MLP
from taut.objectives import ELBO, IWAE, MMD, RLOO, Learner
from taut.posteriors import Bernoulli, Categorical, RelaxedBernoulli, RelaxedCategorical
from taut.priors import Vamp
from taut.runs import load
from taut.training import Training, examine, fit
from taut.training.meter import Meter

torch.set_num_threads(1)

PAIRS = {"categories": (RelaxedCategorical, Categorical), "bits": (RelaxedBernoulli, Bernoulli)}
each_pair = pytest.mark.parametrize(("relaxed", "discrete"), PAIRS.values(), ids=PAIRS)


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 1.5 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- densities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
@torch.no_grad()
def test_densities_are_torchs(temperature):
    a = logits(4, 2, 3)
    q = RelaxedOneHot(OneHot(a), temperature)
    torch.manual_seed(0)
    y = q.rsample()
    torch.testing.assert_close(y.sum(-1), torch.ones(4, 2, dtype=torch.float64))
    known = td.RelaxedOneHotCategorical(torch.tensor(temperature), logits=a, validate_args=False)
    torch.testing.assert_close(q.log_prob_parts(y), known.log_prob(y))
    torch.testing.assert_close(q.log_prob(y), known.log_prob(y).sum(1))
    b = logits(4, 5)
    p = RelaxedBits(Bits(b), temperature)
    y = p.rsample()
    known = td.RelaxedBernoulli(torch.tensor(temperature), logits=b, validate_args=False)
    torch.testing.assert_close(p.log_prob_parts(y), known.log_prob(y), rtol=1e-4, atol=1e-4)  # torch's clamps y


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
@torch.no_grad()
def test_densities_integrate_to_one_and_the_greatest_has_its_probability(temperature):
    u = torch.linspace(-60, 60, 1201, dtype=torch.float64)
    a = logits(1, 1, 3)
    corner = torch.stack([*torch.meshgrid(u, u, indexing="ij"), torch.zeros(1201, 1201)], -1).view(-1, 1, 1, 3)
    y = corner.softmax(-1)
    mass = (
        RelaxedOneHot(OneHot(a), temperature).log_prob(y)[:, 0] + corner.log_softmax(-1).sum((1, 2, 3))
    ).exp() * 0.1**2
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)
    greatest = y.view(-1, 3).argmax(1)
    found = torch.stack([mass[greatest == k].sum() for k in range(3)])
    torch.testing.assert_close(
        found, a.softmax(-1).flatten(), rtol=0, atol=0.02
    )  # the grid's cells straddle the border
    b = logits(1, 1)
    y = u.sigmoid().view(-1, 1, 1)
    mass = (
        RelaxedBits(Bits(b), temperature).log_prob(y)[:, 0] + y.log().flatten() + (1 - y).log().flatten()
    ).exp() * 0.1
    keep = mass.isfinite()  # beyond, y is one in double precision
    assert mass[keep].sum().item() == pytest.approx(1, abs=1e-6)
    assert mass[keep & (u > 0)].sum().item() == pytest.approx(b.sigmoid().item(), abs=0.02)


@pytest.mark.parametrize("temperature", [2.0, 0.3, 1e-3])
@torch.no_grad()
def test_the_nearest_values_have_the_discrete_probabilities_at_every_temperature(temperature):
    n = 40_000
    torch.manual_seed(0)
    for q in (RelaxedOneHot(OneHot(logits(1, 2, 3)), temperature), RelaxedBits(Bits(logits(1, 4)), temperature)):
        y = q.rsample((n,))
        found = q.discrete.nearest(y).mean(0)
        assert ((found - q.mean).abs() < 5 * (q.variance / n).sqrt()).all()
        off = (y - q.discrete.nearest(y)).abs().mean()
        assert off < 1e-3 if temperature == 1e-3 else off > 0.01, "points come to the corners as T falls"
        assert torch.equal(central(q), q.discrete.centre)


def test_a_straight_through_draw_is_a_value_and_its_gradient_the_relaxed_ones():
    for relax, discrete, shape in ((RelaxedOneHot, OneHot, (5, 2, 3)), (RelaxedBits, Bits, (5, 4))):
        one, two = logits(*shape).requires_grad_(), logits(*shape).requires_grad_()
        weight = logits(*shape, seed=1)
        torch.manual_seed(0)
        y = relax(discrete(one), 0.7).rsample()
        torch.manual_seed(0)
        q = StraightThrough(relax(discrete(two), 0.7))
        z = q.rsample()
        assert torch.equal(z, q.discrete.nearest(y))
        assert ((z == 0) | (z == 1)).all()
        gradients = [torch.autograd.grad((weight * x).sum(), leaf)[0] for x, leaf in ((y, one), (z, two))]
        assert gradients[0].abs().min() > 0
        torch.testing.assert_close(*gradients)
        torch.testing.assert_close(q.log_prob(z), q.discrete.log_prob(z))


def test_the_divergence_is_that_of_what_it_stands_for():
    for relax, discrete, shape in ((RelaxedOneHot, OneHot, (5, 2, 3)), (RelaxedBits, Bits, (5, 4))):
        q, p = relax(discrete(logits(*shape)), 0.5), discrete(logits(*shape, seed=1))
        exact = divergence(q.discrete, p, p.centre, p.log_prob(p.centre))
        for each in (q, StraightThrough(q)):
            z = each.rsample()
            found = divergence(each, p, z, each.log_prob(z))
            assert found.kind == "closed"
            assert torch.equal(found.parts, exact.parts)


@pytest.mark.parametrize("temperature", [1.0, 0.05, 1e-3])
def test_single_precision_stays_finite(temperature):
    """Logits far apart and points that are corners to rounding."""
    for relax, discrete, shape in ((RelaxedOneHot, OneHot, (200, 3, 4)), (RelaxedBits, Bits, (200, 12))):
        a = (30 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
        q = relax(discrete(a), temperature)
        torch.manual_seed(0)
        y = q.rsample()
        log_prob = q.log_prob(y)
        assert torch.isfinite(log_prob).all()
        (gradient,) = torch.autograd.grad(y.square().sum() + log_prob.sum(), a)
        assert torch.isfinite(gradient).all()


# --- models ----------------------------------------------------------------------------------------------------------


def built(posterior, **options):
    torch.manual_seed(0)
    statistics = Statistics(torch.full((6,), 0.4), torch.full((6,), 0.5))
    spec = Model(latents=3, posterior=posterior, network=MLP(hidden=(8,)), **options)
    vae = spec.build((6,), Support("binary", 2), statistics)
    with torch.no_grad():
        for weight in vae.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    return vae


BATCH = Batch((torch.rand(32, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float())


@each_pair
@pytest.mark.parametrize("straight_through", [False, True])
def test_training_sees_relaxed_draws_and_everything_that_reads_a_trace_works(relaxed, discrete, straight_through):
    vae = built(relaxed(straight_through=straight_through))
    learner = Learner(vae, ELBO(samples=2, free_bits=0.05, penalties=(MMD(),)))
    meter = Meter("cpu")
    outcome = learner(BATCH, 1.0, 0.3)
    meter.add(1, outcome)
    assert meter.first_broken() is None
    assert meter.read()["rate"] > 0
    gradients = torch.autograd.grad(outcome.loss, list(vae.parameters()))
    assert all(gradient.any() for gradient in gradients)
    (step,) = vae(BATCH, 2).steps
    corners = ((step.z == 0) | (step.z == 1)).float().mean()
    assert corners == 1 if straight_through else corners < 0.5
    plain = built(discrete())
    plain.load_state_dict(vae.state_dict())
    torch.testing.assert_close(vae(BATCH).rate(), plain(BATCH).rate())


@each_pair
def test_the_temperature_falls_exponentially_in_the_course_of_a_run(relaxed, discrete):
    vae = built(relaxed(temperature=2.0, final=0.125))
    learner, q = Learner(vae, ELBO()), vae.layers[0].q
    for progress, temperature in ((0.0, 2.0), (0.25, 1.0), (0.5, 0.5), (1.0, 0.125)):
        learner(BATCH, 1.0, progress)
        assert float(q.temperature) == pytest.approx(temperature)
        assert float(q(torch.zeros(1, q.width)).temperature) == pytest.approx(temperature)
    assert not any("progress" in name for name in vae.state_dict()), "what a run has come to is no weight"


@each_pair
@torch.no_grad()
def test_out_of_training_it_is_the_discrete_model(relaxed, discrete):
    data = open_array(BATCH.x.numpy())
    for straight_through in (False, True):
        vae, plain = built(relaxed(straight_through=straight_through)), built(discrete())
        plain.load_state_dict(vae.state_dict())
        one, two = (bounds(Subject(model, data.train, data.reading, seed=3), 50) for model in (vae, plain))
        assert torch.equal(one.importance, two.importance)
        assert torch.equal(one.rate, two.rate)
        assert torch.equal(one.distortion, two.distortion)
        assert vae.training, "evaluation leaves the mode as it was"
        vae.eval()
        trace = vae(BATCH)
        assert ((trace.steps[0].z == 0) | (trace.steps[0].z == 1)).all()
        assert type(trace.steps[0].q) is type(plain(BATCH).steps[0].q)


def test_a_relaxed_model_learns_as_the_discrete_one_it_is_and_survives_its_folder(tmp_path):
    from taut import train

    data = open_data(Data("digits"))
    for posterior in (RelaxedCategorical(final=0.3), RelaxedBernoulli(straight_through=True)):
        spec = Model(latents=8, posterior=posterior, network=MLP(hidden=(48,)))
        torch.manual_seed(0)
        vae = spec.build(data.reading.shape, data.reading.support, data.statistics())
        feed = Feed(data.valid, data.reading)
        before = examine(vae.eval(), feed)["elbo"]
        trained, _ = fit(vae.train(), ELBO(), data, Training(batch=128), steps=100, seed=0)
        assert examine(trained, feed)["elbo"] > before + 15
        run = train("digits", model=spec, training={"steps": 5})
        again = load(run.save(tmp_path / type(posterior).__name__))
        codes = run.encode(data.test)
        assert (again.encode(data.test) == codes).all()
        assert set(codes.ravel()) <= {0.0, 1.0}
        assert (again.sample(5, seed=1) == run.sample(5, seed=1)).all()


def test_what_cannot_be_is_refused():
    for family in (RelaxedCategorical, RelaxedBernoulli):
        for field in ("temperature", "final"):
            for value in (0.0, -1.0, 1e-30, 1e6, math.inf, math.nan):
                with pytest.raises(InputError, match=rf"^{field}: is .*; give a number from 0.01 to 100"):
                    family(**{field: value})
        spec = Model(latents=3, posterior=family())
        layers = spec.resolved((5,), Support("binary", 2)).layers
        name = family.__name__
        with pytest.raises(
            InputError, match=rf"^objective.estimator: RLOO cannot serve the {name} posterior; .*Pathwise"
        ):
            ELBO(samples=2, estimator=(RLOO(),)).resolved(layers)
        with pytest.raises(
            InputError, match=rf"^objective: IWAE weighs draws by log q\(z\), which {name} does not have"
        ):
            IWAE().resolved(layers)
        with pytest.raises(
            InputError, match=rf"^model.posterior: Vamp mixes posteriors, and {name} has no density to mix"
        ):
            Model(latents=3, posterior=family(), prior=Vamp(10)).resolved((5,), Support("binary", 2))
    with pytest.raises(InputError, match=r"^categories: is 1; give 2 or more"):
        RelaxedCategorical(categories=1)
