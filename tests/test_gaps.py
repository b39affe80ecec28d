"""The gaps of a model whose posterior is known: each part is what theory says, and they add up.

With x = Wz + σε and z ~ N(0, I) the posterior is N(m(x), Λ⁻¹) with Λ = I + WᵀW/σ² and Λm = Wᵀx/σ². The best normal of
independent elements has the same mean and the precisions Λ_dd: KL(q* ‖ p(z|x)) = ½ (Σ_d log Λ_dd − log |Λ|) for every x.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch.distributions import MultivariateNormal

import taut
from taut.api import train
from taut.cli import main
from taut.data import Batch, Statistics, Support
from taut.distributions import Bent, DiagonalNormal, drawn
from taut.errors import InputError
from taut.evaluation.gaps import _of_batch, gaps, in_words
from taut.evaluation.inference import Bending, Local, climb, estimators, require_local, still, weigh
from taut.layers import Plain
from taut.likelihoods import Gaussian
from taut.model import VAE, Model, draw
from taut.networks import MLP, Bend
from taut.objectives import RLOO, STL, Pathwise
from taut.posteriors import Bernoulli, Delta, FullNormal, Posterior, RelaxedBernoulli, VectorQuantised, VonMisesFisher
from taut.posteriors import DiagonalNormal as Diagonal

torch.set_num_threads(1)

GAPS = importlib.import_module("taut.evaluation.gaps")

D, L, SIGMA = 5, 3, 0.7
W = torch.tensor([[0.9, 0.7, 0.5], [0.4, -0.3, 0.6], [0.5, 0.8, 0.6], [-0.5, -0.4, 0.2], [0.3, 0.6, 0.1]]).double()
PRECISION = torch.eye(L).double() + W.T @ W / SIGMA**2
DIAGONAL = PRECISION.diagonal()
APPROXIMATION = 0.5 * float(DIAGONAL.log().sum() - PRECISION.logdet())
EVIDENCE = MultivariateNormal(torch.zeros(D).double(), W @ W.T + SIGMA**2 * torch.eye(D).double())


def put(parameter: torch.Tensor, value: torch.Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(value.reshape(parameter.shape))


def gaussian(posterior: Posterior = Diagonal(), shift: float = 0.0, widening: float = 0.0) -> VAE:
    """The model, with an encoder that gives q* but for its means, ``shift`` off, and its log σ, ``widening`` too great."""
    torch.manual_seed(0)
    likelihood, statistics = Gaussian(spread="constant", scale=SIGMA), Statistics(torch.zeros(D), torch.ones(D))
    spec = Model(latents=L, posterior=posterior, likelihood=likelihood, network=MLP(hidden=()))
    vae = spec.build((D,), Support("real"), statistics).double()
    put(vae.decoder.body[0][0].weight, W)
    put(vae.decoder.head.offset, torch.zeros(D))
    evidence = vae.layers[0].evidence
    weight, bias = torch.zeros_like(evidence.weight), torch.zeros_like(evidence.bias)
    weight[:L] = torch.linalg.solve(PRECISION, W.T / SIGMA**2)
    bias[:L], log_scale = shift, -0.5 * DIAGONAL.log() + widening
    bias[L : 2 * L] = 8 * torch.atanh(log_scale / 8)  # what the family's soft bound makes log σ of
    put(evidence.weight, weight)
    put(evidence.bias, bias)
    return vae


def divergence(shift: float, widening: float) -> float:
    """KL(q ‖ p(z|x)) of such an encoder."""
    variance = math.exp(2 * widening) / DIAGONAL
    trace = (DIAGONAL * variance).sum() + shift**2 * PRECISION.sum() - L
    return 0.5 * float(trace - variance.log().sum() - PRECISION.logdet())


def examples(n: int) -> Batch:
    torch.manual_seed(5)
    return Batch(EVIDENCE.sample((n,)))


def measured(vae: VAE, batch: Batch, samples: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return _of_batch(vae, batch, samples, lambda share: None)


# --- the gaps ------------------------------------------------------------------------------------------------------


def test_the_best_of_the_family_is_that_of_theory():
    vae, batch = gaussian(shift=0.3, widening=0.4), examples(20)
    torch.manual_seed(0)
    with still(vae):
        local = Local(vae, vae.evidence(batch))
        climb(local, batch, [STL()], samples=16, rounds=6, enough=0.0)
    q = vae.layers[0].q(local.evidence[0].detach())
    off = q.mean - torch.linalg.solve(PRECISION, W.T @ batch.x.T / SIGMA**2).T
    squares = ((off @ PRECISION) * off).sum(1) + q.variance @ DIAGONAL
    kl = 0.5 * (squares - L - q.variance.log().sum(1) - PRECISION.logdet())
    assert float(kl.mean()) == pytest.approx(APPROXIMATION, abs=1e-3)
    assert kl.max() < APPROXIMATION + 5e-3


def test_both_gaps_of_a_linear_model_are_those_of_theory():
    shift, widening = 0.3, 0.4
    batch = examples(40)
    found = measured(gaussian(shift=shift, widening=widening), batch, 4000)
    exact, amortisation = EVIDENCE.log_prob(batch.x), divergence(shift, widening) - APPROXIMATION
    assert 0.1 < APPROXIMATION and 0.5 < amortisation, "the case should show both"
    for gap, truth in (
        (found["family"] - found["elbo"], amortisation),
        (found["importance"] - found["family"], APPROXIMATION),
    ):
        error = float(gap.std()) / math.sqrt(40)  # of the draws, since the truth is one for all x
        assert error < 0.01
        assert float(gap.mean()) == pytest.approx(truth, abs=3 * error + 5e-3)
    # a flow holds every normal, and with the posterior itself among the proposals every weight is nearly one
    assert float((exact - found["flow"]).mean()) == pytest.approx(0, abs=5e-3)
    assert (exact - found["importance"]).abs().max() < 0.03
    assert float((exact - found["importance"]).mean()) == pytest.approx(0, abs=3e-3)
    assert found["ess"].min() > 0.5 * 12_000


def test_a_family_that_holds_the_posterior_has_no_gap_of_approximation():
    batch = examples(20)
    found = measured(gaussian(FullNormal(), shift=0.3), batch, 1000)
    exact = EVIDENCE.log_prob(batch.x)
    assert float((exact - found["family"]).mean()) == pytest.approx(0, abs=4e-3)
    assert float((found["importance"] - found["family"]).mean()) == pytest.approx(0, abs=4e-3)
    assert float((found["family"] - found["elbo"]).mean()) > 0.3


def test_an_encoder_that_is_the_best_has_no_gap_of_amortisation():
    vae, batch = gaussian(), examples(40)
    torch.manual_seed(0)
    with still(vae):
        encoder, family = (Local(vae, vae.evidence(batch)) for _ in range(2))
        climbed = climb(family, batch, [STL()])
        gain = (found := weigh(vae, [encoder, family], batch, 2000).elbo)[1] - found[0]
    assert climbed.steps == 100, "the first round raises nothing, and is the last"
    assert abs(float(gain.mean())) < 5 * float(gain.std()) / math.sqrt(40)
    assert gain.abs().max() < 0.15


def test_of_a_hierarchy_too(monkeypatch):
    """z₁ ~ N(0, I), z₂ ~ N(0, 1), x = W₁z₁ + W₂z₂ + σε: what an encoder that says nothing loses is made good by each q."""
    torch.manual_seed(0)
    layers = (Plain(latents=2), Plain(latents=1))
    spec = Model(likelihood=Gaussian(spread="constant", scale=SIGMA), network=MLP(hidden=()), layers=layers)
    vae = spec.build((D,), Support("real"), Statistics(torch.zeros(D), torch.ones(D))).double()
    put(vae.decoder.body[0][0].weight, W)
    put(vae.decoder.head.offset, torch.zeros(D))
    low = vae.layers[1]
    for weight in low.p.parameters():
        put(weight, torch.zeros_like(weight))  # N(0, 1), whatever is above
    with torch.no_grad():
        h = torch.randn(7, 2).double()
        assert torch.equal(low.prior(h).mean, torch.zeros(7, 1).double())
        assert torch.equal(low.prior(h).stddev, torch.ones(7, 1).double())
    batch = examples(10)
    monkeypatch.setattr(GAPS, "BENT", (0.02, 4, 80))
    found, exact = measured(vae, batch, 2000), EVIDENCE.log_prob(batch.x)
    assert float((exact - found["elbo"]).mean()) > 1
    assert (found["family"] > found["elbo"] + 0.1).all()
    assert (found["family"] < exact + 0.05).all()
    assert (exact - found["flow"]).abs().max() < 0.1, "which reads the layer above, and so bends both"
    assert (exact - found["importance"]).abs().max() < 0.03


def bits(latents: int = 4) -> VAE:
    torch.manual_seed(3)
    spec = Model(latents=latents, posterior=Bernoulli(), network=MLP(hidden=(16,)))
    vae = spec.build((8,), Support("binary"), Statistics(torch.zeros(8), torch.ones(8))).double()
    with torch.no_grad():
        vae.decoder.body[0].weight.mul_(3)
        vae.decoder.body[-1][0].weight.mul_(4)
    return vae


def test_of_bits_by_the_score_function_against_all_their_values():
    vae = bits()
    torch.manual_seed(4)
    batch = Batch((torch.rand(6, 8) < 0.5).double())
    found = measured(vae, batch, 4000)
    values = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4))).double()
    with torch.no_grad():
        likelihood = vae.generate(16, lambda site: _put(site, values)).likelihood
        log_joint = torch.stack([likelihood.log_prob(x.expand(16, 8)) for x in batch.x], 1) + vae.layers[0].prior(
            vae.root(16)
        ).log_prob(values).unsqueeze(1)  # (16, B)
    exact = log_joint.logsumexp(0)
    assert "flow" not in found
    assert (exact - found["importance"]).abs().max() < 0.02
    # the best q of independent bits, by exact gradients
    logits = torch.zeros(6, 4).double().requires_grad_()
    optimiser = torch.optim.Adam([logits], 0.05)
    for _ in range(600):
        log_q = torch.nn.functional.logsigmoid(logits * (2 * values.unsqueeze(1) - 1)).sum(2)
        bound = (log_q.exp() * (log_joint - log_q)).sum(0)
        optimiser.zero_grad()
        (-bound.sum()).backward()
        optimiser.step()
    assert float((exact - bound).detach().mean()) > 0.02, "the case should show a gap"
    assert (found["family"] - bound.detach()).abs().max() < 0.06


def _put(site, values):
    from taut.model import Step

    return Step(site.q, site.p, values, torch.zeros(len(values)).double())


# --- parts ---------------------------------------------------------------------------------------------------------


def shaken(bend: Bend, amount: float = 0.4) -> Bend:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in bend.parameters():
            weight.add_(amount * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return bend


def bent(rows: int = 2, size: int = 4, state: int = 3) -> Bend:
    torch.manual_seed(2)
    numbers = [torch.randn(rows, width).double() for width in (size, size, state, state)]
    centre, spread, above, breadth = numbers
    return shaken(Bend(centre, spread.exp(), (above, breadth.exp()), couplings=3, hidden=7))


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("state", [0, 3])
def test_a_bend_has_the_jacobian_that_it_says_and_an_inverse(size, state):
    bend = bent(2, size, state)
    u, h = torch.randn(6, size).double(), torch.randn(6, state).double()
    z, log_det = bend(u, h)
    back, again = bend.inverse(z, h)
    torch.testing.assert_close(back, u)
    torch.testing.assert_close(again, log_det)
    whole = torch.autograd.functional.jacobian(lambda u: bend(u, h)[0], u)  # (6, D, 6, D)
    for i, j in itertools.product(range(6), repeat=2):
        if i == j:
            torch.testing.assert_close(whole[i, :, i].det().abs().log(), log_det[i])
        else:
            assert not whole[i, :, j].any()
    assert (log_det.abs() > 1e-3).all() or state == 0
    if size > 2:
        assert (whole[0, :, 0] != 0).all(), "three couplings and a mixing reach everywhere"


def test_each_example_is_bent_by_its_own_weights():
    bend = bent(rows=2)
    u, h = torch.randn(4, 4).double(), torch.randn(4, 3).double()  # two draws of the first, of the second, alternating
    grown = torch.autograd.grad(bend(u, h)[0][0::2].sum(), list(bend.parameters()))
    for gradient in grown:
        assert gradient[0].any() and not gradient[1].any()


def test_a_bent_density_integrates_to_one_and_draws_know_it():
    torch.manual_seed(0)
    zero, nothing = torch.zeros(1, 2).double(), torch.zeros(1, 0).double()
    bend = shaken(Bend(zero, zero + 1, (nothing, nothing), hidden=6), 0.1)
    line = torch.linspace(-12, 12, 481, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)

    def q(rows: int) -> Bent:
        return Bent(DiagonalNormal(zero.expand(rows, 2), zero.expand(rows, 2)), bend, nothing.expand(rows, 0))

    with torch.no_grad():
        density = q(len(grid)).log_prob(grid).exp()
        assert float(density.sum()) * (24 / 480) ** 2 == pytest.approx(1, abs=1e-3)
        z, log_q = drawn(q(20_000))
        torch.testing.assert_close(q(20_000).log_prob(z), log_q)
        mean = (density.unsqueeze(1) * grid).sum(0) / density.sum()
        assert ((z.mean(0) - mean).abs() < 5 * z.std(0) / math.sqrt(20_000)).all()


def test_a_bending_begins_at_what_it_bends():
    vae, batch = gaussian(shift=0.3), examples(3)
    plain = Local(vae, vae.evidence(batch))
    bending = Bending(vae, plain)
    trace, other = (torch.manual_seed(6) and local(batch, 5) for local in (plain, bending))
    torch.testing.assert_close(other.log_weight(batch), trace.log_weight(batch))


def test_a_local_q_with_the_encoders_evidence_is_the_encoders():
    vae, batch = gaussian(shift=0.3), examples(3)
    local = Local(vae, vae.evidence(batch))
    trace, other = (torch.manual_seed(6) and each(batch, 5, draw) for each in (vae, local))
    assert torch.equal(other.log_weight(batch), trace.log_weight(batch))
    assert torch.equal(other.rate(), trace.rate())


@pytest.mark.parametrize("estimator", [STL(), Pathwise(), RLOO()], ids=lambda each: type(each).__name__)
def test_examples_climb_apart_and_leave_the_model_alone(estimator):
    vae, batch = gaussian(shift=0.3), examples(3)
    vae.train()
    weights = [weight.clone() for weight in vae.parameters()]
    local = Local(vae, vae.evidence(batch))
    start = local.numbers()
    with still(vae):
        assert not vae.training
        assert not any(weight.requires_grad for weight in vae.parameters())
        climb(local, Batch(batch.x), [estimator], rounds=1, steps=3)
    assert vae.training
    assert all(weight.requires_grad and weight.grad is None for weight in vae.parameters())
    assert all(torch.equal(weight, old) for weight, old in zip(vae.parameters(), weights, strict=True))
    assert (local.numbers()[0] != start[0]).any()
    bound = local(batch, 50).log_weight(batch).mean(0)
    (gradient,) = torch.autograd.grad(bound[1], [local.evidence[0]])
    assert gradient[1].any() and not gradient[[0, 2]].any()


def test_a_climb_that_goes_astray_is_not_kept():
    vae, batch = gaussian(), examples(5)
    local = Local(vae, vae.evidence(batch))
    start = local.numbers()
    with still(vae):
        climbed = climb(local, batch, [STL()], rate=1e4, rounds=2, steps=5)
    assert all(torch.equal(now, before) for now, before in zip(local.numbers(), start, strict=True))
    assert climbed.steps == 5 and not climbed.rise.any(), "a round without a rise is the last"


def test_several_qs_together_give_the_evidence_in_the_mean_however_wrong_they_are():
    vae, batch = gaussian(shift=0.5, widening=-0.3), examples(4)
    q = vae.evidence(batch)
    wide = [q[0] + torch.cat([torch.full((L,), -0.8), torch.full((L,), 0.6)]).double()]
    torch.manual_seed(7)
    repeats = 3000
    many = Batch(batch.x.repeat(repeats, 1))
    found = weigh(vae, [Local(vae, [e[0].repeat(repeats, 1)]) for e in (q, wide)], many, 2)
    weights = (found.importance - EVIDENCE.log_prob(many.x)).exp().view(repeats, 4)
    assert ((weights.mean(0) - 1).abs() < 5 * weights.std(0) / math.sqrt(repeats)).all()
    assert (weights.std(0) > 0.1).all(), "the case should be noisy"
    # each bound is the mean of its own weights: log p(x) less the divergence
    error = found.elbo[0].view(repeats, 4).std(0) / math.sqrt(repeats)
    exact = EVIDENCE.log_prob(batch.x) - divergence(0.5, -0.3)
    assert ((found.elbo[0].view(repeats, 4).mean(0) - exact).abs() < 5 * error).all()


def test_the_gradient_is_of_the_path_where_there_is_one():
    batch = Batch((torch.rand(3, 8) < 0.5).float())
    for posterior, kind in (
        (Diagonal(), STL), (VonMisesFisher(), STL), (Bernoulli(), RLOO), (RelaxedBernoulli(), RLOO),
    ):  # fmt: skip
        spec = Model(latents=3, posterior=posterior, network=MLP(hidden=(8,)))
        vae = spec.build((8,), Support("binary"), Statistics(torch.zeros(8), torch.ones(8))).eval()
        assert isinstance(estimators(vae, batch)[0], kind)
        require_local(vae, batch, "gaps")


@pytest.mark.parametrize(("posterior", "word"), [(Delta(), "point"), (VectorQuantised(codes=4), "one value")])
def test_what_has_no_density_to_better_is_refused(posterior, word):
    spec = Model(latents=3, posterior=posterior, network=MLP(hidden=(8,)))
    vae = spec.build((8,), Support("binary"), Statistics(torch.zeros(8), torch.ones(8))).eval()
    with pytest.raises(InputError, match=word):
        require_local(vae, Batch(torch.zeros(2, 8)), "gaps")
    bare = Model(layers=(), network=MLP(hidden=(8,))).build(
        (8,), Support("binary"), Statistics(torch.zeros(8), torch.ones(8))
    )
    with pytest.raises(InputError, match="latents"):
        require_local(bare, Batch(torch.zeros(2, 8)), "gaps")


@pytest.mark.parametrize("name", [name for name in Posterior.members if name not in ("Delta", "VectorQuantised")])
@pytest.mark.parametrize("layers", [1, 2])
def test_whatever_the_posterior_its_bounds_are_in_order(name, layers, monkeypatch):
    for pace in ("PATH", "SCORE", "BENT"):
        monkeypatch.setattr(GAPS, pace, (0.02, 4, 10))
    torch.manual_seed(0)
    posterior = Posterior.members[name]()
    spec = Model(latents=3, posterior=posterior, network=MLP(hidden=(8,)), layers=(Plain(),) * layers)
    vae = spec.build((8,), Support("binary"), Statistics(torch.zeros(8), torch.ones(8)))
    batch = Batch((torch.rand(5, 8) < 0.5).float())
    found = measured(vae, batch, 300)
    assert ("flow" in found) == (posterior.space == "real")
    assert all(torch.isfinite(values).all() for values in found.values())
    # by other draws than those that a climb was judged by, so that noise may lower what a round has raised
    assert float((found["family"] - found["elbo"]).mean()) > -0.05
    assert (found["importance"] > found["family"] - 0.2).all()
    assert (found["ess"] >= 1).all() and (found["ess"] <= 900 + 1e-6).all()


# --- in use --------------------------------------------------------------------------------------------------------

SHORT = {"training": {"steps": 30, "batch": 64}, "model": {"latents": 4, "network": {"part": "MLP", "hidden": [16]}}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "short"
    train("digits", out=folder, **SHORT)
    return folder


def test_the_table_adds_up_and_is_kept(
    run: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GAPS, "BENT", (0.01, 2, 10))
    assert main(["evaluate", str(run), "--samples", "5", "--gaps", "--gaps-limit", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["gaps"]
    value = {key: part["value"] for key, part in found.items() if isinstance(part, dict) and "value" in part}
    assert value["elbo"] + value["amortisation"] == pytest.approx(value["family"])
    assert value["family"] + value["approximation"] == pytest.approx(value["bound"])
    assert value["family"] + value["bending"] == pytest.approx(value["flow"])
    assert value["amortisation"] > 1 and found["n"] == 5 and found["by"] == "IW-3000"
    subject = taut.load(run).subject()
    told: list[float] = []
    again = gaps(subject, 5, progress=lambda done, total: told.append(done))
    assert again["bound"] == found["bound"] and told == [5], "found in the folder of the run"
    other = {"AIS": torch.full((5,), 1.0), "another": torch.full((5,), -1e3)}
    best = gaps(subject, 5, others=other)
    assert best["by"] == "AIS" and best["bound"]["value"] == 1
    assert best["approximation"]["value"] == pytest.approx(1 - value["family"])
    assert main(["evaluate", str(run), "--samples", "5", "--gaps", "--gaps-limit", "5"]) == 0
    lines = capsys.readouterr().out
    assert "+ amortisation" in lines and "IW-3000" in lines and "5 examples at random" in lines
    assert in_words({}) == []
    assert main(["evaluate", str(run), "--samples", "5", "--gaps", "--gaps-limit", "0"]) == 2
    assert "limit: is 0; give 1 or more" in capsys.readouterr().err
