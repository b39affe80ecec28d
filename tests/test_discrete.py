"""Discrete latents, against models small enough that every value of z can be visited.

Such a model has its evidence, every bound, and every gradient as a finite sum, and so has the mean of an estimator: it is
the sum over all that could be drawn of the estimate times its probability. An unbiased one is exact in this to rounding.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import logsigmoid

from taut.data import Batch, Statistics, Support
from taut.distributions import Bits, OneHot, central, divergence, tempered
from taut.errors import InputError
from taut.layers import Plain
from taut.likelihoods import Bernoulli as Pixels
from taut.model import VAE, Model, follow
from taut.networks import MLP
from taut.objectives import ELBO, IWAE, RLOO, STL, VIMCO, Capacity, Learner, Objective, Score
from taut.posteriors import Bernoulli, Categorical, DiagonalNormal
from taut.priors import AutoregressiveCategorical
from taut.priors import Bernoulli as BernoulliPrior
from taut.priors import Categorical as CategoricalPrior

torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- densities -----------------------------------------------------------------------------------------------------


def rows(variables: int, categories: int) -> Tensor:
    """Every value of so many categories, (K^L, L, K)."""
    index = torch.tensor(list(itertools.product(range(categories), repeat=variables)))
    return torch.eye(categories, dtype=torch.float64)[index]


def words(bits: int) -> Tensor:
    """Every value of so many bits, (2^D, D)."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=bits)), dtype=torch.float64)


def categories(seed: int, n: int = 5) -> OneHot:
    return OneHot(2 * torch.randn(n, 2, 3, generator=seeded(seed), dtype=torch.float64))


def bits(seed: int, n: int = 5) -> Bits:
    return Bits(2 * torch.randn(n, 4, generator=seeded(seed), dtype=torch.float64))


FAMILIES = {"categories": (categories, rows(2, 3)), "bits": (bits, words(4))}
each_family = pytest.mark.parametrize(("make", "values"), FAMILIES.values(), ids=FAMILIES)


@each_family
def test_probabilities_sum_to_one_and_have_their_moments(make, values):
    p = make(0)
    z = values.unsqueeze(1).expand(-1, 5, *values.shape[1:])
    mass = p.log_prob(z).exp()
    torch.testing.assert_close(mass.sum(0), torch.ones(5, dtype=torch.float64))
    weights = mass.view(*mass.shape, *[1] * (z.dim() - 2))
    torch.testing.assert_close((weights * z).sum(0), p.mean)
    torch.testing.assert_close((weights * (z - p.mean).square()).sum(0), p.variance)
    assert torch.equal(p.centre, z[mass.argmax(0), torch.arange(5)])
    assert torch.equal(central(p), p.centre)
    torch.testing.assert_close(p.log_prob_parts(z).sum(-1), p.log_prob(z))


@each_family
def test_draws_follow_the_probabilities(make, values):
    p, n = make(0, 1), 100_000
    torch.manual_seed(0)
    drawn = p.sample((n,))[:, 0]
    mass = p.log_prob(values.unsqueeze(1))[:, 0].exp()
    counts = (drawn.unsqueeze(1) == values).flatten(2).all(2).double().sum(0)
    assert counts.sum() == n, "nothing else is drawn"
    statistic = ((counts - n * mass).square() / (n * mass)).sum()
    free = len(values) - 1
    assert statistic < free + 5 * math.sqrt(2 * free)


@each_family
def test_the_divergence_is_the_sum_over_all_values(make, values):
    q, p = make(0), make(1)
    z = values.unsqueeze(1).expand(-1, 5, *values.shape[1:])
    log_ratio = q.log_prob_parts(z) - p.log_prob_parts(z)
    exact = (q.log_prob(z).exp().unsqueeze(-1) * log_ratio).sum(0)
    found = divergence(q, p, q.centre, q.log_prob(q.centre))
    assert found.kind == "closed"
    torch.testing.assert_close(found.parts, exact)


@pytest.mark.parametrize("far", [0.0, 10.0, 60.0, 200.0, 1e4])
@pytest.mark.parametrize("other", [-200.0, 0.0, 200.0])
def test_single_precision_is_exact_at_extreme_logits(far, other):
    """A variable of two values is a bit with the difference of the logits as its log-odds."""
    for shift in (0.0, 3.0):
        a, b = torch.tensor(far), torch.tensor(other + shift)
        wide, other_wide = a.double(), b.double()
        exact = wide.sigmoid() * (logsigmoid(wide) - logsigmoid(other_wide)) + (-wide).sigmoid() * (
            logsigmoid(-wide) - logsigmoid(-other_wide)
        )
        leaves = [a.view(1, 1).requires_grad_(), b.view(1, 1).requires_grad_()]
        pairs = [torch.stack([leaf, torch.zeros_like(leaf)], -1) for leaf in leaves]
        for q, p in ((Bits(leaves[0]), Bits(leaves[1])), (OneHot(pairs[0]), OneHot(pairs[1]))):
            kl = divergence(q, p, q.centre, q.log_prob(q.centre)).total
            torch.testing.assert_close(kl.double()[0], exact, rtol=1e-6, atol=1e-6)
            assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(kl.sum(), leaves))
            torch.testing.assert_close(q.log_prob(q.centre).double()[0], logsigmoid(wide.abs()), rtol=1e-6, atol=1e-7)


def test_what_cannot_be_costs_nothing():
    """With 0 log 0 = 0 a category of no probability is none."""
    three = OneHot(torch.tensor([[[0.5, 1.0, -math.inf]]]))
    two = OneHot(torch.tensor([[[0.5, 1.0]]]))
    other = OneHot(torch.tensor([[[0.0, 2.0, -math.inf]]])), OneHot(torch.tensor([[[0.0, 2.0]]]))
    kl = [divergence(q, p, q.centre, q.log_prob(q.centre)).total for q, p in zip((three, two), other, strict=True)]
    torch.testing.assert_close(kl[0], kl[1])
    sure = Bits(torch.tensor([[math.inf, -math.inf]]))
    assert sure.log_prob(torch.tensor([[1.0, 0.0]])) == 0
    assert torch.isfinite(three.log_prob(three.sample()))


@each_family
def test_a_temperature_divides_the_logits(make, values):
    p = make(0)
    z = values.unsqueeze(1).expand(-1, 5, *values.shape[1:])
    assert tempered(p, 1) is p
    for temperature in (0.5, 3.0):
        expected = (p.log_prob(z) / temperature).log_softmax(0)
        torch.testing.assert_close(tempered(p, temperature).log_prob(z), expected)
    with pytest.raises(InputError, match=r"temperature: is -1; give a number above 0"):
        tempered(p, -1)


# --- parts -----------------------------------------------------------------------------------------------------------


def test_priors_start_uniform():
    for prior, event, chance in ((CategoricalPrior(), (2, 3), 1 / 3), (BernoulliPrior(), (4,), 1 / 2)):
        for state in (0, 5):
            p = prior.build(event, state)(torch.randn(7, state))
            torch.testing.assert_close(p.mean, torch.full((7, *event), chance))
    p = AutoregressiveCategorical().build((2, 3), 0)(torch.zeros(9, 0))
    assert (p.log_prob(rows(2, 3).float()) + math.log(9)).abs().max() < 0.05


@torch.no_grad()
def test_below_the_top_the_state_is_read():
    for prior, event in ((CategoricalPrior(hidden=4), (2, 3)), (BernoulliPrior(hidden=4), (4,))):
        module = prior.build(event, 5)
        module.network[-1].weight.normal_()
        p = module(torch.randn(2, 5))
        assert (p.mean[0] - p.mean[1]).abs().max() > 1e-3


@torch.no_grad()
def test_bounds_stay_in_single_precision_whatever_the_networks_compute_in():
    for prior, event, z in (
        (CategoricalPrior(), (2, 3), rows(2, 3).float()), (BernoulliPrior(), (4,), words(4).float()),
        (AutoregressiveCategorical(), (2, 3), rows(2, 3).float()),
    ):  # fmt: skip
        module = prior.build(event, 5)
        with torch.autocast("cpu", torch.bfloat16):
            p = module(torch.randn(len(z), 5))
            log_prob = p.log_prob(z)
        assert log_prob.dtype == torch.float32
        assert (log_prob - p.log_prob(z)).abs().max() < 1e-6


def in_order(state: int = 0, n: int = 5):
    """Three variables of three values one after the other, their weights far from their start."""
    module = AutoregressiveCategorical(hidden=(11, 7)).build((3, 3), state).double()
    with torch.no_grad():
        for i, weight in enumerate(module.parameters()):
            weight.add_(torch.randn(weight.shape, generator=seeded(i), dtype=torch.float64))
    return module(torch.randn(n, state, generator=seeded(9), dtype=torch.float64))


@pytest.mark.parametrize("state", [0, 4])
def test_variables_in_order_are_a_probability_and_see_what_came_before_them_alone(state):
    p, z = in_order(state), rows(3, 3)
    every = z.unsqueeze(1).expand(-1, 5, 3, 3)
    mass = p.log_prob(every).exp()
    torch.testing.assert_close(mass.sum(0), torch.ones(5, dtype=torch.float64))
    assert bool((mass[:, 0] - mass[:, 1]).abs().max() > 1e-3) == bool(state), "below the top the state is read"
    parts = p.log_prob_parts(every).detach()
    for i in range(3):  # those that agree up to i agree in the probability of i, and sum to one over its values
        for seen, same in itertools.groupby(range(27), key=lambda n: n // 3 ** (3 - i)):
            conditional = parts[list(same), :, i].view(3, -1, 5)
            torch.testing.assert_close(conditional, conditional[:, :1].expand_as(conditional), msg=f"{i} after {seen}")
            torch.testing.assert_close(conditional[:, 0].exp().sum(0), torch.ones(5, dtype=torch.float64))
    assert (parts[0, :, 2] - parts[3, :, 2]).abs().min() > 1e-6, "and do see it"


@torch.no_grad()
def test_draws_in_order_follow_the_probabilities_at_every_temperature():
    n, z = 50_000, rows(3, 3)
    for temperature in (1.0, 0.5):
        p = tempered(in_order(n=1), temperature)
        mass = p.log_prob(z.unsqueeze(1))[:, 0].exp()
        torch.manual_seed(0)
        counts = (p.sample((n,))[:, 0].unsqueeze(1) == z).flatten(2).all(2).double().sum(0)
        assert counts.sum() == n
        statistic = ((counts - n * mass).square() / (n * mass).clamp_min(1e-9)).sum()
        assert statistic < 26 + 5 * math.sqrt(52)
    plain, cold = in_order(n=1), tempered(in_order(n=1), 0.5)
    first = plain.log_prob_parts(z.unsqueeze(1))[::9, 0, 0]
    torch.testing.assert_close(cold.log_prob_parts(z.unsqueeze(1))[::9, 0, 0], (2 * first).log_softmax(0))


def test_what_does_not_go_together_is_refused():
    with pytest.raises(InputError, match=r"^categories: is 1; give 2 or more"):
        Categorical(categories=1)
    with pytest.raises(InputError, match=r"^hidden: is 0; give 1 or more"):
        CategoricalPrior(hidden=0)
    binary = Support("binary", 2)
    for posterior, prior, line in (
        (Categorical(), BernoulliPrior(), "Categorical draws categories, and the Bernoulli prior is of zeros and ones"),
        (Bernoulli(), CategoricalPrior(), "Bernoulli draws zeros and ones, and the Categorical prior is of categories"),
        (DiagonalNormal(), BernoulliPrior(), "DiagonalNormal draws real numbers, and the Bernoulli prior is of zeros"),
    ):
        with pytest.raises(InputError, match=f"^model.posterior: {line}.*; with "):
            Model(latents=2, posterior=posterior, prior=prior).resolved((5,), binary)
    layers = Model(latents=2, posterior=Categorical()).resolved((5,), binary).layers
    with pytest.raises(InputError, match=r"^objective.estimator: .* cannot serve the Categorical posterior"):
        ELBO(estimator=(STL(),)).resolved(layers)
    assert ELBO().resolved(layers).estimator == (Score(),)
    assert ELBO(samples=4).resolved(layers).estimator == (RLOO(),)
    assert IWAE(samples=4).resolved(layers).estimator == (VIMCO(),)


# --- models small enough to enumerate --------------------------------------------------------------------------------

SHAPE = (3,)
X = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def built(**options) -> VAE:
    """A tiny model of three pixels whose weights are far from their start."""
    torch.manual_seed(0)
    statistics = Statistics(torch.full(SHAPE, 0.4), torch.full(SHAPE, 0.5))
    spec = Model(likelihood=Pixels(), network=MLP(hidden=()), **options)
    vae = spec.build(SHAPE, Support("binary", 2), statistics).double()
    random = seeded(5)
    with torch.no_grad():
        for weight in vae.parameters():
            weight.add_(torch.randn(weight.shape, generator=random, dtype=torch.float64))
    return vae


def of_categories() -> VAE:
    return built(latents=2, posterior=Categorical(categories=3))


def of_categories_in_order() -> VAE:
    prior = AutoregressiveCategorical(hidden=(5,))
    return built(latents=2, posterior=Categorical(categories=3), prior=prior)


def of_bits() -> VAE:
    return built(latents=4, posterior=Bernoulli())


def bits_over_bits() -> VAE:
    below = Plain(latents=2, hidden=3, prior=BernoulliPrior(hidden=3))
    return built(posterior=Bernoulli(), layers=(Plain(latents=1), below))


VALUES = {
    of_categories: (rows(2, 3),),
    of_categories_in_order: (rows(2, 3),),
    of_bits: (words(4),),
    bits_over_bits: (words(1), words(2)),
}
each_model = pytest.mark.parametrize("make", VALUES, ids=lambda make: make.__name__)


def everything(make: Callable) -> list[Tensor]:
    """Every value that all layers together can take, (C, *event) a layer."""
    index = list(itertools.product(*(range(len(values)) for values in VALUES[make])))
    return [values[torch.tensor(column)] for values, column in zip(VALUES[make], zip(*index, strict=True), strict=True)]


def visit(vae: VAE, make: Callable, x: Tensor):
    """The trace that holds every value of z as a sample of each example, C samples of B."""
    values = [z.repeat_interleave(len(x), 0) for z in everything(make)]
    return vae(Batch(x), len(values[0]) // len(x), follow(values))


@each_model
@torch.no_grad()
def test_the_bounds_are_ordered_and_end_at_the_evidence(make):
    vae = make()
    trace = visit(vae, make, X)
    batch = Batch(X)
    log_joint = trace.log_likelihood(batch) + trace.log_prior()
    torch.testing.assert_close(trace.log_prior().exp().sum(0), torch.ones(2, dtype=torch.float64))
    q = trace.log_posterior().exp()
    torch.testing.assert_close(q.sum(0), torch.ones(2, dtype=torch.float64))
    evidence = log_joint.logsumexp(0)
    weights = log_joint - trace.log_posterior()
    torch.testing.assert_close(trace.log_weight(batch), weights)
    kinds = {step.kl.kind for step in trace.steps}
    assert kinds == {"sampled" if make is of_categories_in_order else "closed"}
    elbo = (q * weights).sum(0)
    torch.testing.assert_close(-(q * (trace.distortion(batch) + trace.rate())).sum(0), elbo)
    bounds = [elbo, *(importance(weights, q, k) for k in (2, 3))]
    assert all((low < high).all() for low, high in itertools.pairwise([*bounds, evidence]))
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    total = visit(vae, make, every)
    mass = (total.log_likelihood(Batch(every)) + total.log_prior()).exp().sum()
    assert float(mass) == pytest.approx(1, rel=1e-9), "the model is a probability of x"


def importance(values: Tensor, q: Tensor, k: int) -> Tensor:
    """E log (1/K) Σ_k exp v_k over all K-tuples, of values and probabilities (C, B)."""
    tuples = torch.cartesian_prod(*[torch.arange(len(values))] * k).view(-1, k)
    return (q[tuples].prod(1) * (values[tuples].logsumexp(1) - math.log(k))).sum(0)


# --- gradients -------------------------------------------------------------------------------------------------------


def expected_loss(vae: VAE, make: Callable, objective: Objective, beta: float, x: Tensor) -> Tensor:
    """The mean of the loss over everything that a step could draw."""
    trace, batch, k = visit(vae, make, x), Batch(x), objective.samples
    q = trace.log_posterior().exp()
    if isinstance(objective, IWAE):
        values = beta * (trace.log_prior() - trace.log_posterior()) - trace.distortion(batch)
        return -importance(values, q, k).mean()
    rates = [trace.unfold(step.kl.parts) for step in trace.steps]  # (C, B, G) each
    if isinstance(objective, Capacity) or objective.free_bits:
        draws = tuples_of(len(q), k * len(x)).view(-1, k, len(x))
        chance = torch.stack([q[draws[:, :, b], b].prod(1) for b in range(len(x))]).prod(0)
        mean = lambda part: torch.stack([part[draws[:, :, b], b] for b in range(len(x))]).mean((0, 2))  # noqa: E731
        groups = [mean(rate) for rate in rates]
        distortion = mean(trace.distortion(batch))
        if isinstance(objective, Capacity):
            excess = sum(group.sum(1) for group in groups) - objective.capacity * beta / objective.beta
            return (chance * (distortion + objective.beta * excess.abs())).sum()
        if objective.group == "layer":
            groups = [group.sum(1, keepdim=True) for group in groups]
        weighed = sum(group.clamp_min(objective.free_bits).sum(1) for group in groups)
        return (chance * (distortion + beta * weighed)).sum()
    rate = sum(rate.sum(2) for rate in rates)
    return (q * (trace.distortion(batch) + beta * rate)).sum(0).mean()


def tuples_of(values: int, draws: int) -> Tensor:
    """Every outcome of so many draws, (values^draws, draws)."""
    return torch.cartesian_prod(*[torch.arange(values)] * draws).view(-1, draws)


def expected_gradient(
    vae: VAE, make: Callable, objective: Objective, beta: float, x: Tensor, monkeypatch
) -> dict[str, Tensor]:
    """The mean of the gradient that a step takes, over everything that it could draw."""
    learner = Learner(vae, objective)
    values, k = everything(make), objective.samples
    draws = tuples_of(len(values[0]), k * len(x))  # sample-major, as in a pass
    with torch.no_grad():
        q = visit(vae, make, x).log_posterior().exp()
        chance = torch.stack([q[draws[:, i], i % len(x)] for i in range(k * len(x))]).prod(0)
    parameters = dict(learner.named_parameters())
    buffers = {name: buffer.expand(len(draws), *buffer.shape).clone() for name, buffer in learner.named_buffers()}
    for name, buffer in buffers.items():  # a baseline that has already seen something
        if name.startswith("baselines"):
            buffer.fill_(1.0 if name.endswith("seen") else -2.0)

    def estimate(parameters: dict[str, Tensor], buffers: dict[str, Tensor], draws: Tensor) -> Tensor:
        left = [z[draws] for z in values]
        for family in (OneHot, Bits):
            monkeypatch.setattr(family, "sample", lambda self: left.pop(0))
        return functional_call(learner, (parameters, buffers), (Batch(x), beta)).loss

    found = vmap(grad(estimate), (None, 0, 0), chunk_size=4096)(parameters, buffers, draws)
    return {name.removeprefix("vae."): torch.tensordot(chance, each, 1) for name, each in found.items()}


def require_unbiased(make: Callable, objective: Objective, beta: float, x: Tensor, monkeypatch) -> None:
    vae = make()
    loss = expected_loss(vae, make, objective, beta, x)
    names, weights = zip(*vae.named_parameters(), strict=True)
    exact = dict(zip(names, torch.autograd.grad(loss, weights), strict=True))
    found = expected_gradient(vae, make, objective, beta, x, monkeypatch)
    for name in names:
        torch.testing.assert_close(found[name], exact[name], rtol=1e-8, atol=1e-10, msg=lambda m: f"{name}: {m}")  # noqa: B023


ESTIMATORS = {
    "none": Score(baseline="none"),
    "running": Score(),
    "RLOO": RLOO(),
    "VIMCO": VIMCO(),
}


@each_model
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_estimators_are_unbiased_under_the_elbo(make, estimator, beta, monkeypatch):
    objective = ELBO(samples=2, estimator=(estimator,) * len(VALUES[make]))
    require_unbiased(make, objective, beta, X[:1], monkeypatch)


@each_model
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_estimators_are_unbiased_under_importance_weights(make, estimator, beta, monkeypatch):
    objective = IWAE(samples=3, estimator=(estimator,) * len(VALUES[make]))
    require_unbiased(make, objective, beta, X[:1], monkeypatch)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("objective", [ELBO(free_bits=0.3), ELBO(free_bits=1.0, group="layer"), Capacity(capacity=1.2)],
                         ids=["dimension", "layer", "capacity"])  # fmt: skip
def test_estimators_are_unbiased_where_the_batch_decides_what_a_rate_costs(objective, estimator, monkeypatch):
    """The clamp of free bits, and the sign of an excess, depend on all that is drawn in a batch."""
    for make, samples, x in (
        (bits_over_bits, 2, X[:1]), (bits_over_bits, 1, X), (bits_over_bits, 2, X), (of_categories_in_order, 2, X[:1]),
    ):  # fmt: skip
        if samples >= estimator.least:
            spec = dataclasses.replace(objective, samples=samples, estimator=(estimator,) * len(VALUES[make]))
            require_unbiased(make, spec, objective.beta, x, monkeypatch)


@pytest.mark.parametrize("objective", [ELBO(samples=2, estimator=(RLOO(), Score())), IWAE(samples=3, estimator=(VIMCO(),) * 2)],
                         ids=["ELBO", "IWAE"])  # fmt: skip
def test_what_is_drawn_has_the_expected_gradient(objective):
    """The same with nothing put in its place: batches of one example many times over, their gradients averaged."""
    vae, copies, batches = bits_over_bits(), 500, 200
    loss = expected_loss(vae, bits_over_bits, objective, 0.7, X[:1])
    exact = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(vae.parameters()))])
    learner, batch = Learner(vae, objective).double(), Batch(X[:1].repeat(copies, 1))
    torch.manual_seed(0)
    found = torch.stack([
        torch.cat([part.flatten() for part in torch.autograd.grad(learner(batch, 0.7).loss, list(vae.parameters()))])
        for _ in range(batches)
    ])  # fmt: skip
    error = found.std(0) / math.sqrt(batches)
    assert ((found.mean(0) - exact).abs() < 4.5 * error + 1e-12).all()
    assert error.max() < 0.02 * exact.abs().max(), "a bias would be seen"


def test_each_layer_may_have_an_estimator_of_its_own(monkeypatch):
    objective = ELBO(samples=2, estimator=(RLOO(), Score()))
    require_unbiased(bits_over_bits, objective, 1.0, X[:1], monkeypatch)
