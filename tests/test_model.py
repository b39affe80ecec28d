"""The walk, against models whose evidence is known exactly.

With a linear decoder x = b + Wz + σε and z ~ N(0, I) the data are N(b, WWᵀ + σ²I), and the posterior is normal with
precision I + WᵀW/σ²: diagonal where the columns of W are orthogonal, so that the diagonal encoder can be exact. There
the bound is the evidence, every log-weight is a constant, and elsewhere both lie where theory puts them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributions import MultivariateNormal

from taut.data import Batch, Data, Feed, Statistics, Support, open_data
from taut.distributions import DiagonalNormal as Normal
from taut.distributions import fold
from taut.layers import Plain
from taut.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood
from taut.model import VAE, Model, centre, draw, follow, pick_prior
from taut.networks import MLP, Conv, ResidualMLP, ResNet
from taut.objectives import ELBO, IWAE, Learner
from taut.posteriors import Delta, Laplace
from taut.priors import Prior
from taut.training import SGD, Training, examine, fit

torch.set_num_threads(1)

D, SIGMA = 6, 0.4
STATISTICS = Statistics(torch.linspace(-3, 2, D), torch.linspace(0.2, 3, D))
REAL, BINARY = Support("real"), Support("binary", 2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def orthogonal(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Columns at right angles and of unlike lengths."""
    q, _ = torch.linalg.qr(torch.randn(rows, columns, generator=seeded(seed), dtype=torch.float64))
    return q * torch.linspace(0.5, 2, columns, dtype=torch.float64)


def gaussian(latents: int, layers: tuple = (Plain(),), statistics: Statistics = STATISTICS) -> VAE:
    torch.manual_seed(0)
    spec = Model(
        latents=latents, likelihood=Gaussian(spread="constant", scale=SIGMA), network=MLP(hidden=()), layers=layers
    )
    return spec.build((D,), REAL, statistics).double()


def put(parameter: torch.Tensor, value: torch.Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(value.reshape(parameter.shape))


def raw(log_scale: torch.Tensor) -> torch.Tensor:
    """What the encoder must say for a log σ: the family bounds it softly."""
    return 8 * torch.atanh(log_scale / 8)


def data_units(vae: VAE, location: torch.Tensor, covariance: torch.Tensor) -> MultivariateNormal:
    """A normal of standardised y as one of x = a + by."""
    scale = vae.decoder.head.scale
    return MultivariateNormal(vae.decoder.head.shift + scale * location, covariance * scale.outer(scale))


def linear(latents: int = 3) -> tuple[VAE, MultivariateNormal]:
    """A linear-Gaussian VAE with its exact posterior as encoder, and its exact evidence."""
    vae = gaussian(latents)
    w, b = orthogonal(D, latents, 1), torch.randn(D, generator=seeded(2), dtype=torch.float64)
    put(vae.decoder.body[0][0].weight, w)
    put(vae.decoder.head.offset, b)
    precision = 1 + w.square().sum(0) / SIGMA**2
    gain = w.T / SIGMA**2 / precision.unsqueeze(1)
    layer = vae.layers[0]
    put(layer.evidence.weight, torch.cat([gain, torch.zeros_like(gain)]))
    put(layer.evidence.bias, torch.cat([-gain @ b, raw(-0.5 * precision.log())]))
    return vae, data_units(vae, b, w @ w.T + SIGMA**2 * torch.eye(D).double())


@dataclass(frozen=True)
class LinearNormal(Prior):
    """p(z | h) = N(A h, s²): a conditional prior that leaves the whole model linear-Gaussian."""

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _LinearNormal(event[0], state)


class _LinearNormal(nn.Module):
    def __init__(self, latents: int, state: int) -> None:
        super().__init__()
        self.a, self.log_scale = nn.Linear(state, latents, bias=False), nn.Parameter(torch.zeros(latents))

    def forward(self, h: torch.Tensor) -> Normal:
        loc = self.a(h)
        return Normal(loc, self.log_scale.expand_as(loc))


def hierarchy() -> tuple[VAE, MultivariateNormal]:
    """z₁ ~ N(0, 1), z₂ ~ N(A z₁, S), y = b + W₁z₁ + W₂z₂ + σε, with q(z₁|x) q(z₂|z₁, x) the exact posterior."""
    vae = gaussian(2, (Plain(latents=1), Plain(latents=2, prior=LinearNormal())))
    top, low = vae.layers
    low.above = nn.Linear(1, 4).double()
    a = torch.tensor([[0.8], [-0.5]]).double()
    s = torch.tensor([0.6, 1.3]).double()
    w2, b = orthogonal(D, 2, 3), torch.randn(D, generator=seeded(4), dtype=torch.float64)
    w1 = torch.randn(D, 1, generator=seeded(5), dtype=torch.float64)
    put(low.p.a.weight, a)
    put(low.p.log_scale, s.log())
    put(vae.decoder.body[0][0].weight, torch.cat([w1, w2], 1))
    put(vae.decoder.head.offset, b)
    eye = torch.eye(D).double()
    # q(z₁|x): z₁ seen through W₁ + W₂A, with the noise of z₂ added to that of x
    through, noise = w1 + w2 @ a, SIGMA**2 * eye + w2 @ s.square().diag() @ w2.T
    weighed = torch.linalg.solve(noise, through)
    precision = 1 + (through.T @ weighed).view(1)
    gain = weighed.T / precision
    put(top.evidence.weight, torch.cat([gain, torch.zeros_like(gain)]))
    put(top.evidence.bias, torch.cat([-gain @ b, raw(-0.5 * precision.log())]))
    # q(z₂|z₁, x): precision S⁻² + W₂ᵀW₂/σ², diagonal
    precision = s.square().reciprocal() + w2.square().sum(0) / SIGMA**2
    gain = w2.T / SIGMA**2 / precision.unsqueeze(1)
    put(low.evidence.weight, torch.cat([gain, torch.zeros_like(gain)]))
    put(low.evidence.bias, torch.cat([-gain @ b, raw(-0.5 * precision.log())]))
    own = a / s.square().unsqueeze(1) / precision.unsqueeze(1) - gain @ w1
    put(low.above.weight, torch.cat([own, torch.zeros_like(own)]))
    put(low.above.bias, torch.zeros(4))
    return vae, data_units(vae, b, through @ through.T + noise)


def spoiled(vae: VAE) -> VAE:
    """The same model with a wrong encoder: means off, scales too wide, as importance sampling likes them."""
    with torch.no_grad():
        for layer in vae.layers:
            latents = layer.event[0]
            layer.evidence.bias[:latents] += 0.2
            layer.evidence.bias[latents:] += 0.3
    return vae


EXACT = {"one layer": linear, "two layers": hierarchy}


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
@torch.no_grad()
def test_with_the_exact_posterior_bound_and_weights_are_the_evidence(make):
    vae, truth = make()
    batch = Batch(truth.sample((20,)))
    torch.manual_seed(0)
    trace = vae(batch, 50)
    exact = truth.log_prob(batch.x)
    weights = trace.log_weight(batch)
    assert weights.shape == (50, 20)
    assert (weights - exact).abs().max() < 1e-6
    assert all(step.kl.kind == "closed" for step in trace.steps)
    if len(trace.steps) == 1:  # E[−distortion] in closed form too, so that no draw is in the bound
        layer, head = vae.layers[0], vae.decoder.head
        q, w = trace.steps[0].q, vae.decoder.body[0][0].weight
        y = (batch.x - head.shift) / head.scale
        middle = y - head.offset[0] - q.mean[:20] @ w.T
        squares = middle.square().sum(1) + (w.square() @ q.variance[:20].T).sum(0)
        distortion = 0.5 * squares / SIGMA**2 + D * math.log(SIGMA * math.sqrt(2 * math.pi)) + head.scale.log().sum()
        elbo = -distortion - trace.rate()[0]
        assert (elbo - exact).abs().max() < 1e-6
        assert layer.event == (3,)
    iw = weights.logsumexp(0) - math.log(50)
    assert (iw - exact).abs().max() < 1e-6


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
@torch.no_grad()
def test_bounds_rise_to_the_evidence_and_never_pass_it(make):
    vae, truth = make()
    spoiled(vae)
    batch = Batch(truth.sample((4,)))
    exact = truth.log_prob(batch.x)
    torch.manual_seed(1)
    repeats, most = 120, 100
    weights = vae(batch, repeats * most).log_weight(batch).view(repeats, most, 4)
    earlier = None
    for k in (1, 5, 25, 100):
        bounds = (weights.view(-1, k, 4).logsumexp(1) - math.log(k)).mean(1)  # each row a bound, all examples together
        value, error = bounds.mean(), bounds.std() / math.sqrt(len(bounds))
        assert value < exact.mean() + 5 * error
        if k == 1:
            assert value < exact.mean() - 5 * error  # the gap is there
        else:
            assert value > earlier
        earlier = value
    assert (value - exact.mean()).abs() < 5 * error + 0.02
    trace = vae(batch, 4000)
    terms = -(trace.distortion(batch) + trace.rate())
    error = terms.std(0) / math.sqrt(4000)
    assert (terms.mean(0) < exact + 5 * error).all()
    # the closed form of the rate and its sampled form are one expectation
    sampled = trace.log_posterior() - trace.log_prior()
    gap = (sampled - trace.rate()).mean(0)
    assert (gap.abs() < 5 * (sampled - trace.rate()).std(0) / math.sqrt(4000)).all()


@torch.no_grad()
def test_the_objectives_are_the_bounds():
    vae, truth = linear()
    batch = Batch(truth.sample((5,)))
    exact = truth.log_prob(batch.x).mean()
    spoiled(vae)
    for objective in (ELBO(samples=3), IWAE(samples=3), ELBO(beta=0.0), ELBO(beta=2.5), IWAE(beta=2.5)):
        torch.manual_seed(3)
        outcome = Learner(vae, objective)(batch, objective.beta)
        torch.manual_seed(3)
        trace = vae(batch, objective.samples)
        ratio = trace.log_prior() - trace.log_posterior()
        if isinstance(objective, ELBO):
            expected = (trace.distortion(batch) + objective.beta * trace.rate()).mean()
        else:
            weights = -trace.distortion(batch) + objective.beta * ratio
            expected = -(weights.exp().mean(0).log()).mean()
        torch.testing.assert_close(outcome.loss, expected)
        torch.testing.assert_close(outcome.distortion, trace.distortion(batch).mean())
        torch.testing.assert_close(outcome.rate, trace.rate().mean())
    vae, truth = linear()
    assert Learner(vae, IWAE(samples=4))(batch, 1.0).loss.item() == pytest.approx(-exact.item(), abs=1e-6)


# --- folding and picking -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_sample_k_of_example_b_is_at_k_b():
    vae, truth = linear()
    batch = Batch(truth.sample((4,)))
    alone = vae(batch)
    trace = vae(batch, 3)
    means, z, weights = trace.unfold(trace.steps[0].q.mean), trace.unfold(trace.steps[0].z), trace.log_likelihood(batch)
    assert means.shape == z.shape == (3, 4, 3)
    for k in range(3):
        torch.testing.assert_close(means[k], alone.steps[0].q.mean)
        for b in range(4):
            one = vae.generate(1, follow([z[k, b : b + 1]]))
            expected = one.log_likelihood(Batch(batch.x[b : b + 1]))
            torch.testing.assert_close(weights[k, b], expected[0, 0])
    assert not torch.allclose(z[0], z[1])
    x = torch.arange(6).view(3, 2)
    assert fold(x, 2).tolist() == [*x.tolist(), *x.tolist()]


@torch.no_grad()
def test_masks_are_folded_with_their_examples():
    vae, truth = linear()
    x = truth.sample((4,))
    mask = torch.rand(x.shape, generator=seeded(8)) < 0.6
    torch.manual_seed(0)
    trace = vae(Batch(x, mask), 3)
    alone = trace.unfold(trace.likelihood.base.log_prob(fold(x, 3)))
    torch.testing.assert_close(trace.log_likelihood(Batch(x, mask)), (alone * mask).sum(-1))


def test_what_is_not_observed_reaches_nothing():
    """Neither the code, the bound nor a gradient changes with what a missing cell holds."""
    vae, truth = linear()
    x = truth.sample((4,))
    mask = torch.rand(x.shape, generator=seeded(8)) < 0.6
    results = []
    for hidden in (0.0, 1e3, math.nan):
        torch.manual_seed(0)
        batch = Batch(torch.where(mask, x, hidden), mask)
        loss = Learner(vae, ELBO())(batch, 1.0).loss
        results.append((loss.detach(), *torch.autograd.grad(loss, list(vae.parameters()))))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            torch.testing.assert_close(one, two)
            assert torch.isfinite(one).all()


@torch.no_grad()
def test_picks():
    vae, truth = hierarchy()
    batch = Batch(truth.sample((5,)))
    code = vae(batch, pick=centre)
    again = vae(batch, pick=centre)
    for one, two in zip(code.steps, again.steps, strict=True):
        assert torch.equal(one.z, two.z)
        assert torch.equal(one.z, one.q.mean)
    torch.testing.assert_close(code.likelihood.mean, again.likelihood.mean)
    # decoding the code is the reconstruction
    decoded = vae.generate(5, follow([step.z for step in code.steps]))
    torch.testing.assert_close(decoded.likelihood.mean, code.likelihood.mean)
    # given values are taken, and their density is q's
    values = [torch.ones(5, 1).double(), torch.zeros(5, 2).double()]
    trace = vae(batch, pick=follow(values))
    for step, value in zip(trace.steps, values, strict=True):
        assert step.z is value
        torch.testing.assert_close(step.log_q, step.q.log_prob(value))


@torch.no_grad()
def test_generation_is_the_model():
    """x ~ p(x) has the mean and the covariance of the exact evidence; at a temperature only z's spread changes."""
    vae, truth = hierarchy()
    torch.manual_seed(2)
    n = 40_000
    trace = vae.generate(n, pick_prior())
    assert (trace.rate() == 0).all()
    assert all(step.q is step.p for step in trace.steps)
    x = trace.likelihood.sample()
    error = truth.covariance_matrix.diagonal().sqrt() / math.sqrt(n)
    assert ((x.mean(0) - truth.mean).abs() < 5 * error).all()
    deviations = truth.covariance_matrix.diagonal().sqrt()
    assert ((x.T.cov() - truth.covariance_matrix).abs() < 8 * deviations.outer(deviations) / math.sqrt(n)).all()
    cold = vae.generate(n, pick_prior(0.1)).steps[0].z
    assert cold.std().item() == pytest.approx(0.1, rel=0.05)
    torch.testing.assert_close(trace.log_weight(Batch(x)), trace.log_likelihood(Batch(x)))


@torch.no_grad()
def test_a_layer_without_evidence_follows_its_prior():
    vae, truth = hierarchy()
    batch = Batch(truth.sample((5,)))
    evidence = vae.evidence(batch)
    for given in ([True, False], [False, True], [False, False]):
        partial = [e if keep else None for e, keep in zip(evidence, given, strict=True)]
        trace = vae.descend(vae.root(5), partial, draw)
        for step, keep in zip(trace.steps, given, strict=True):
            assert (step.q is step.p) == (not keep)
            assert (step.kl.total == 0).all() == (not keep)
            assert step.kl.kind == "closed"
        torch.testing.assert_close(trace.rate()[0], sum(step.kl.total for step in trace.steps))
    with pytest.raises(ValueError, match="zip"):
        vae.descend(vae.root(5), evidence[:1], draw)


# --- odd models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        MLP(hidden=(8,)),
        MLP(hidden=()),
        ResidualMLP(width=8),
        Conv(channels=(4,), hidden=8),
        Conv(channels=(4,), hidden=0),
    ],
    ids=str,
)
def test_a_model_without_latents_is_its_likelihood(network):
    """Nothing comes into the decoder, the offset starts at the data, and the rate is nought."""
    shape, probability = (1, 4, 4), 0.3
    statistics = Statistics(torch.full(shape, probability), torch.ones(shape))
    vae = Model(likelihood=Bernoulli(), network=network, layers=()).build(shape, BINARY, statistics)
    batch = Batch((torch.rand(7, *shape, generator=seeded(0)) < probability).float())
    trace = vae(batch, 2)
    assert trace.likelihood.mean.shape == (14, *shape)
    assert ((trace.likelihood.mean - probability).abs() < 0.25).all()
    assert trace.rate().shape == trace.log_prior().shape == trace.log_posterior().shape == (2, 7)
    assert (trace.rate() == 0).all()
    assert trace.proper
    torch.testing.assert_close(trace.log_weight(batch), -trace.distortion(batch))
    assert vae.generate(3, pick_prior()).likelihood.mean.shape == (3, *shape)
    for objective in (ELBO(), IWAE()):
        vae.zero_grad()
        Learner(vae, objective)(batch, 1.0).loss.backward()
        assert [name for name, p in vae.named_parameters() if p.grad is None] == []
    assert not any(name.startswith("encoder") for name in vae.state_dict())


def test_a_point_posterior_has_no_bound():
    torch.manual_seed(0)
    vae = Model(latents=2, posterior=Delta(), network=MLP(hidden=(8,))).build((D,), REAL, STATISTICS)
    batch = Batch(torch.randn(5, D, generator=seeded(0)))
    trace = vae(batch)
    assert not trace.proper
    assert trace.steps[0].kl.kind == "improper"
    torch.testing.assert_close(trace.rate(), -trace.log_prior())
    assert torch.equal(vae(batch).steps[0].z, trace.steps[0].z)
    assert vae.generate(2, pick_prior()).proper


def test_what_no_layer_would_use_is_refused():
    layers = (Plain(latents=3, posterior=Delta()), Plain(latents=4, posterior=Delta()))
    with pytest.raises(ValueError, match=r"^model.latents: is given, and every layer of model.layers has its own; "):
        Model(latents=5, layers=layers).resolved((10,), REAL)
    with pytest.raises(ValueError, match=r"^model.posterior: is given, and every layer"):
        Model(posterior=Laplace(), layers=layers).resolved((10,), REAL)
    spec = Model(layers=layers).resolved((10,), REAL)
    assert (spec.latents, spec.posterior) == (3, Delta())
    assert spec.resolved((10,), REAL) == spec


def test_latents_are_chosen_by_the_size_of_the_data_and_a_layers_own_number_stands():
    spec = Model(layers=(Plain(latents=3), Plain())).resolved((10,), REAL)
    assert [layer.latents for layer in spec.layers] == [3, 5]
    assert [type(layer.prior).__name__ for layer in spec.layers] == ["StandardNormal", "ConditionalNormal"]
    for latents in (0, -2):
        with pytest.raises(ValueError, match=f"latents: is {latents}; give 1 or more"):
            Model(latents=latents)


# --- gradients and weights ---------------------------------------------------------------------------------------

NETWORKS = (
    MLP(hidden=(8,)),
    ResidualMLP(width=8, blocks=1),
    Conv(channels=(4, 6), hidden=8),
    ResNet(channels=(4,), hidden=0),
)
KINDS = (BINARY, Support("integers", 5), Support("counts"), REAL, Support("positive"), Support("real", whole=True))
FITS = {
    name: next(s for s in KINDS if member().fits(s))
    for name, member in sorted(Likelihood.members.items())
    if not member().fits(Support("columns", columns=(REAL,)))  # tables have tests of their own
}


def small(network, likelihood, support: Support, shape=(1, 5, 4), **options) -> tuple[VAE, Batch]:
    """A model shaken out of its start, where some weights are zero, and some data."""
    torch.manual_seed(0)
    top = (support.levels or 2) - 1
    statistics = Statistics(torch.full(shape, 0.4 * top), torch.full(shape, 0.5 * top))
    vae = Model(latents=3, likelihood=likelihood, network=network, **options).build(shape, support, statistics)
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randint(0, top + 1, (6, *shape)).float() if support.discrete else torch.rand(6, *shape)
    return vae, Batch(x)


def without_gradient(vae: VAE, batch: Batch, objective, beta: float) -> list[str]:
    vae.zero_grad()
    Learner(vae, objective)(batch, beta).loss.backward()
    return [
        name for name, p in vae.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]


@pytest.mark.parametrize("likelihood", FITS)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: type(n).__name__)
def test_every_parameter_gets_a_gradient(network, likelihood):
    vae, batch = small(network, Likelihood.members[likelihood](), FITS[likelihood])
    for objective in (ELBO(), IWAE(samples=3)):
        assert without_gradient(vae, batch, objective, 1.0) == []


@pytest.mark.parametrize("objective", [ELBO(), ELBO(samples=2), IWAE(samples=3)], ids=str)
def test_every_parameter_of_a_hierarchy_gets_a_gradient(objective):
    vae, batch = small(
        MLP(hidden=(8,)), Bernoulli(), BINARY, layers=(Plain(latents=2, hidden=6), Plain(latents=3, hidden=6))
    )
    assert without_gradient(vae, batch, objective, 1.0) == []


@pytest.mark.parametrize("spread", ["learned", "shared", "optimal", "constant"])
def test_every_parameter_of_a_density_gets_a_gradient(spread):
    vae, batch = small(MLP(hidden=(8,)), Gaussian(spread=spread), REAL)
    assert without_gradient(vae, batch, ELBO(), 1.0) == []


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: type(n).__name__)
def test_every_parameter_of_a_plain_autoencoder_gets_a_gradient(network):
    vae, batch = small(network, Bernoulli(), BINARY, posterior=Delta())
    assert without_gradient(vae, batch, ELBO(beta=0.0), 0.0) == []


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: type(n).__name__)
def test_weights_survive_a_safetensors_file(network, tmp_path):
    layers = (Plain(latents=2, hidden=6), Plain(latents=3, hidden=6))
    vae, batch = small(network, Categorical(), Support("integers", 5), layers=layers)
    state = vae.state_dict()
    places = [tensor.data_ptr() for tensor in state.values() if tensor.numel()]
    assert len(set(places)) == len(places), "a tensor is registered twice"
    save_file(state, tmp_path / "model.safetensors")
    other, _ = small(network, Categorical(), Support("integers", 5), layers=layers)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.zero_()
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    one, two = vae(batch, pick=centre), other(batch, pick=centre)
    assert torch.equal(one.distortion(batch), two.distortion(batch))
    assert torch.equal(one.rate(), two.rate())


def test_two_layers_train():
    """The list of two layers learns on the digits: its bound ends above where it began."""
    data = open_data(Data("digits"))
    torch.manual_seed(0)
    spec = Model(network=MLP(hidden=(64,)), layers=(Plain(latents=3, hidden=32), Plain(latents=5, hidden=32)))
    vae = spec.build(data.reading.shape, data.reading.support, data.statistics())
    feed = Feed(data.valid, data.reading)
    before = examine(vae, feed)
    trained, facts = fit(vae, ELBO(), data, Training(batch=128), steps=66, seed=0)
    after = examine(trained, feed)
    assert facts["steps"] == 66
    assert after["elbo"] > before["elbo"] + 10
    assert after["elbo"] == pytest.approx(-after["distortion"] - after["rate"])
    assert after["rate"] > 0.5
    assert 0 < after["active_units"] <= 8


def test_a_linear_model_learns_its_evidence():
    """Trained by gradient, the bound of a linear-Gaussian model comes to the best that any such model has."""
    generator = seeded(11)
    w = torch.randn(4, 1, generator=generator)
    x = torch.randn(2000, 1, generator=generator) @ w.T + 0.5 * torch.randn(2000, 4, generator=generator)
    from taut.data import open_array

    data = open_array(x.numpy())
    torch.manual_seed(0)
    spec = Model(latents=1, likelihood=Gaussian(spread="shared"), network=MLP(hidden=()))
    vae = spec.build((4,), REAL, data.statistics())
    trained, _ = fit(vae, ELBO(), data, Training(optimiser=SGD(lr=0.02), clip=10.0, average=0.99), steps=600, seed=0)
    held_out = data.valid.x
    elbo = examine(trained, Feed(data.valid, data.reading))["elbo"]
    covariance = w @ w.T + 0.25 * torch.eye(4)
    truth = MultivariateNormal(torch.zeros(4), covariance).log_prob(held_out).mean().item()
    assert elbo == pytest.approx(truth, abs=0.25)


def test_without_latents_there_are_no_codes():
    import taut

    run = taut.train("digits", model={"layers": []}, training={"steps": 2})
    for use in (lambda: run.encode(run.dataset().test), lambda: run.decode(torch.zeros(1, 2))):
        with pytest.raises(ValueError, match=r"^model.layers: is empty, so the run has no latents and no codes; "):
            use()
    assert "quality" not in run.summary
