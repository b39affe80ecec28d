"""Vector quantisation: assignment and gradients as they should be, and a model whose every code can be visited."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from taut.console import result_lines
from taut.data import Batch, Data, Statistics, Support, open_array, open_data
from taut.distributions import Embedded, Mixture, OneHot, Quantised, divergence, nearest_code, tempered
from taut.errors import InputError
from taut.evaluation import Subject, bounds, evaluate
from taut.likelihoods import Bernoulli as Pixels
from taut.model import VAE, Model, follow
from taut.networks import MLP
from taut.objectives import ELBO, IWAE, STL, Learner
from taut.posteriors import Categorical, VectorQuantised
from taut.priors import AutoregressiveCategorical, Prior
from taut.priors import Categorical as CategoricalPrior
from taut.runs import load
from taut.training import Stage, Training

torch.set_num_threads(1)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- densities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_point_goes_to_the_nearest_code(dtype):
    points, codebook = randn(50, 3, 4).to(dtype), randn(7, 4, seed=1).to(dtype)
    found = nearest_code(points, codebook)
    assert torch.equal(found.argmax(-1), torch.cdist(points.view(-1, 4), codebook).argmin(1).view(50, 3))
    assert torch.equal(found.sum(-1), torch.ones(50, 3, dtype=dtype))
    assert torch.equal(nearest_code(codebook, codebook), torch.eye(7, dtype=dtype))


def quantised(seed: int = 0) -> tuple[Quantised, Tensor, Tensor]:
    points, codebook = randn(6, 3, 4, seed=seed).requires_grad_(), randn(7, 4, seed=9).requires_grad_()
    return Quantised(points, codebook, commitment=0.3), points, codebook


def test_a_draw_is_the_code_and_its_gradient_passes_straight_through():
    q, points, codebook = quantised()
    z, log_q = q.rsample_and_log_prob()
    assert torch.equal(z, codebook[q.index.argmax(-1)])
    assert torch.equal(log_q, torch.zeros(6, dtype=torch.float64))
    weight = randn(6, 3, 4, seed=2)
    assert torch.equal(torch.autograd.grad((weight * z).sum(), points, retain_graph=True)[0], weight)
    assert torch.autograd.grad((weight * z).sum(), codebook, allow_unused=True)[0] is None
    assert torch.equal(q.rsample((2,)), torch.stack([z, z]))
    assert torch.equal(q.mean, z)
    assert not q.variance.any()


def test_the_two_terms_and_their_gradients():
    q, points, codebook = quantised()
    apart = points - codebook[q.index.argmax(-1)]
    squares = apart.square().sum((1, 2))
    torch.testing.assert_close(q.extras["codebook"], squares)
    torch.testing.assert_close(q.extras["commitment"], 0.3 * squares)
    pull = torch.autograd.grad(q.extras["codebook"].sum(), [codebook, points], allow_unused=True, retain_graph=True)
    expected = torch.zeros(7, 4, dtype=torch.float64)
    expected.index_add_(0, q.index.argmax(-1).flatten(), -2 * apart.detach().view(-1, 4))
    torch.testing.assert_close(pull[0], expected)
    assert pull[1] is None
    hold = torch.autograd.grad(q.extras["commitment"].sum(), [codebook, points], allow_unused=True)
    assert hold[0] is None
    torch.testing.assert_close(hold[1], 0.6 * apart)


def every(latents: int, codes: int) -> Tensor:
    """All one-hot rows, (K^L, L, K)."""
    index = torch.tensor(list(itertools.product(range(codes), repeat=latents)))
    return torch.eye(codes, dtype=torch.float64)[index]


def test_all_mass_is_on_one_value():
    q, _, codebook = quantised()
    z = every(3, 7) @ codebook
    log_prob = q.log_prob(z.unsqueeze(1).expand(-1, 6, 3, 4))
    assert torch.equal(log_prob.exp().sum(0), torch.ones(6, dtype=torch.float64))
    assert torch.equal(
        log_prob.max(0).indices, (q.index.unsqueeze(0) == every(3, 7).unsqueeze(1)).all((2, 3)).max(0).indices
    )


PRIORS = {
    "independent": lambda: CategoricalPrior().build((3, 4), 0),
    "autoregressive": lambda: AutoregressiveCategorical(hidden=(8,)).build((3, 4), 0),
    "mixture": lambda: lambda h: Mixture(OneHot(randn(5, 3, 4)), torch.zeros(5, dtype=torch.float64), len(h)),
}


def shaken(module):
    if isinstance(module, torch.nn.Module):
        module.double()
        with torch.no_grad():
            for i, weight in enumerate(module.parameters()):
                weight.add_(randn(*weight.shape, seed=i))
    return module


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_of_indices_is_one_of_codes(name):
    torch.manual_seed(0)
    p = shaken(PRIORS[name]())(torch.zeros(6, 0, dtype=torch.float64))
    codebook = randn(4, 2, seed=3)
    embedded = Embedded(p, codebook)
    assert embedded.event_shape == (3, 2)
    rows = every(3, 4).unsqueeze(1).expand(-1, 6, 3, 4)
    with torch.no_grad():
        mass = embedded.log_prob(rows @ codebook)
        torch.testing.assert_close(mass, p.log_prob(rows))
        torch.testing.assert_close(mass.exp().sum(0), torch.ones(6, dtype=torch.float64))
        drawn = embedded.sample((20_000,))
        assert drawn.shape == (20_000, 6, 3, 2)
        index = nearest_code(drawn, codebook)
        assert torch.equal(index @ codebook, drawn), "only codes are drawn"
        expected = (mass.exp().view(-1, 6, 1, 1) * rows).sum(0)
        assert (index.mean(0) - expected).abs().max() < 5 * math.sqrt(0.25 / 20_000)
        if name == "independent":
            torch.testing.assert_close(embedded.mean, p.mean @ codebook)
    q = Quantised(randn(6, 3, 2), codebook)
    found = divergence(q, embedded, q.mean, q.log_prob(q.mean))
    assert found.kind == "closed"
    assert hasattr(embedded, "log_prob_parts") == (name != "mixture")
    assert found.parts.shape == (6, 1 if name == "mixture" else 3)
    torch.testing.assert_close(found.total, -p.log_prob(q.index))
    if name != "mixture":
        torch.testing.assert_close(found.parts, -embedded.log_prob_parts(q.mean))
        torch.testing.assert_close(tempered(embedded, 0.5).log_prob(q.mean), tempered(p, 0.5).log_prob(q.index))


# --- models ----------------------------------------------------------------------------------------------------------

X = (torch.rand(24, 3, generator=torch.Generator().manual_seed(1)) < 0.5).double()


def built(prior: Prior, commitment: float = 0.25) -> VAE:
    torch.manual_seed(0)
    statistics = Statistics(torch.full((3,), 0.4), torch.full((3,), 0.5))
    posterior = VectorQuantised(codes=4, width=2, commitment=commitment)
    spec = Model(latents=2, prior=prior, posterior=posterior, likelihood=Pixels(), network=MLP(hidden=(5,)))
    return shaken(spec.build((3,), Support("binary", 2), statistics))


each_prior = pytest.mark.parametrize(
    "prior", [CategoricalPrior(), AutoregressiveCategorical(hidden=(6,))], ids=lambda prior: type(prior).__name__
)


@each_prior
@torch.no_grad()
def test_the_bound_is_exact_and_below_the_evidence(prior):
    vae, batch = built(prior), Batch(X)
    trace = vae(batch, 3)
    assert trace.proper
    (step,) = trace.steps
    assert step.kl.kind == "closed"
    assert step.kl.parts.shape == (72, 2)
    elbo = -(trace.distortion(batch) + trace.rate())
    torch.testing.assert_close(trace.log_weight(batch), elbo)
    assert (elbo == elbo[0]).all(), "every draw is the same"
    codebook = vae.layers[0].q.codebook
    values = every(2, 4) @ codebook
    whole = vae.descend(vae.root(16 * 24), [None], follow([values.repeat_interleave(24, 0)]), 16)
    joint = whole.log_likelihood(batch) + whole.log_prior()
    torch.testing.assert_close(whole.log_prior().exp().sum(0), torch.ones(24, dtype=torch.float64))
    assert (elbo[0] < joint.logsumexp(0)).all()
    chosen = (values.unsqueeze(1) == step.z[:24]).all((2, 3)).double().argmax(0)
    torch.testing.assert_close(joint[chosen, torch.arange(24)], elbo[0])


@each_prior
def test_the_terms_are_of_the_loss_and_of_no_bound(prior):
    vae, batch = built(prior), Batch(X)
    outcome = Learner(vae, ELBO()).double()(batch, 0.7)
    (step,) = vae(batch).steps
    assert set(step.extras) == {"codebook", "commitment"}
    extra = sum(term.mean() for term in step.extras.values())
    assert extra.detach() > 0
    torch.testing.assert_close(outcome.loss.detach(), outcome.distortion + 0.7 * outcome.rate + extra.detach())
    held = built(prior, commitment=5.0)
    other = Learner(held, ELBO()).double()(batch, 0.7)
    assert other.loss.detach() > outcome.loss.detach()
    assert torch.equal(other.distortion, outcome.distortion)
    assert torch.equal(other.rate, outcome.rate)
    # no rate moves a code: its gradient is the prior's alone
    rates = torch.autograd.grad(vae(batch).rate().sum(), list(vae.parameters()), allow_unused=True)
    own = {id(weight) for weight in vae.layers[0].p.parameters()}
    for weight, gradient in zip(vae.parameters(), rates, strict=True):
        assert (gradient is not None) == (id(weight) in own)
    assert all(gradient.any() for gradient in torch.autograd.grad(outcome.loss, list(vae.parameters())))


def test_more_samples_say_nothing_more():
    vae = built(CategoricalPrior()).float()
    data = open_array(X.numpy())
    subject = Subject(vae, data.train, data.reading)
    found = bounds(subject, 20)
    torch.testing.assert_close(found.importance, -found.distortion - found.rate, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.ess, torch.full_like(found.ess, 20.0))
    assert evaluate(subject)["kl_per_dim"] == pytest.approx(found.kl[0].tolist(), rel=1e-4)


def test_stages_learn_codes_and_then_their_prior():
    vae = built(AutoregressiveCategorical(hidden=(6,)))
    for which, prior in (("codes", False), ("prior", True)):
        vae.learn(which)
        learning = {name for name, weight in vae.named_parameters() if weight.requires_grad}
        assert learning == {name for name, _ in vae.named_parameters() if (".p." in name) == prior}
        Learner(vae, ELBO())(Batch(X), 1.0).loss.backward()


@torch.no_grad()
def test_what_is_made_by_hand_goes_to_the_nearest_code():
    module = built(CategoricalPrior()).layers[0].q
    z = randn(9, 2, 2)
    placed = module.place(z)
    distances = torch.cdist(placed.view(-1, 2), module.codebook)
    assert (distances.min(1).values < 1e-9).all()
    assert torch.equal(module.place(placed), placed)
    torch.testing.assert_close(module.codebook.square().mean(1), torch.ones(4, dtype=torch.float64))
    one_hot = Categorical(categories=4).build((2, 4))
    assert torch.equal(one_hot.place(torch.tensor([[[0.3, 0.2, 0.4, 0.1]]])), torch.tensor([[[0.0, 0, 1, 0]]]))


def test_codes_come_into_use_and_their_prior_shortens_them(tmp_path):
    from taut import train

    data = open_data(Data("digits"))
    model = Model(latents=8, prior=AutoregressiveCategorical(), posterior=VectorQuantised(codes=32), network=MLP())
    training = {"steps": 400, "stages": [{"learn": "codes"}, {"learn": "prior"}]}
    run = train("digits", model=model, objective={"schedule": "Constant"}, training=training)
    assert any("IW-3" in line and "no tighter" in line for line in result_lines(run.evaluate(samples=3))), (
        "q is one point"
    )
    bound = evaluate(Subject(run.vae, data.valid, data.reading), samples=1)
    assert bound["distortion"] < 100  # 255 at the start
    assert bound["rate"] < 8 * math.log(32) - 4
    codes = run.encode(data.train)
    book = run.vae.layers[0].q.codebook
    index = nearest_code(torch.as_tensor(codes).view(-1, 8, 4), book)
    torch.testing.assert_close(torch.as_tensor(codes).view(-1, 8, 4), index @ book)
    share = index.mean((0, 1))
    perplexity = math.exp(-(share * share.clamp_min(1e-9).log()).sum())
    assert (share > 0).sum() > 28
    assert perplexity > 20
    again = load(run.save(tmp_path / "run"))
    assert (again.encode(data.test) == run.encode(data.test)).all()
    assert (again.reconstruct(data.test) == run.reconstruct(data.test)).all()
    assert (again.sample(5, seed=1) == run.sample(5, seed=1)).all()
    assert run.sample(3, temperature=0.5, seed=1).shape == (3, 8, 8)


def test_beside_it_a_plain_autoencoder_has_no_prior_to_learn():
    from taut.comparison import plain_autoencoder
    from taut.experiment import Experiment

    stages = (Stage("codes"), Stage("prior"))
    model = Model(prior=AutoregressiveCategorical(), posterior=VectorQuantised())
    plain = plain_autoencoder(Experiment(Data("digits"), model, training=Training(stages=stages)))
    assert plain.training == Training()


def test_what_cannot_be_is_refused():
    for field, value, line in (
        ("codes", 1, "codes: is 1; give 2 or more"),
        ("width", 1, "width: is 1, which has two directions; give 2 or more"),
        ("commitment", -1.0, "commitment: is -1; give 0 or more"),
        ("commitment", math.inf, "commitment: is inf; give 0 or more"),
    ):
        with pytest.raises(InputError, match=f"^{line}"):
            VectorQuantised(**{field: value})
    binary = Support("binary", 2)
    model = Model(latents=2, posterior=VectorQuantised())
    layers = model.resolved((3,), binary).layers
    assert isinstance(layers[0].prior, CategoricalPrior)
    with pytest.raises(InputError, match=r"^objective: IWAE weighs draws by log q\(z\), which VectorQuantised"):
        IWAE().resolved(layers)
    with pytest.raises(
        InputError, match=r"^objective.estimator: STL cannot serve the VectorQuantised posterior; .*Pathwise"
    ):
        ELBO(estimator=(STL(),)).resolved(layers)
    for prior in ("StandardNormal", "Bernoulli", "Vamp"):
        with pytest.raises(
            InputError, match=r"^model.posterior: .*; with VectorQuantised go the priors Autoregressive"
        ):
            dataclasses.replace(model, prior=Prior.members[prior]()).resolved((3,), binary)
