"""Gradient estimators against the exact gradient.

With one latent a layer and few samples the expectation of a bound over the noise is an integral in few dimensions: by
Gauss–Hermite quadrature it is exact to rounding, and so is its gradient. What each estimator gives on average must be that,
for every parameter of encoder, decoder and prior.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from taut.data import Batch, Statistics, Support
from taut.errors import InputError
from taut.layers import Plain
from taut.likelihoods import Bernoulli
from taut.model import VAE, Model, Site, Step
from taut.networks import MLP
from taut.objectives import (
    ELBO,
    IWAE,
    RLOO,
    STL,
    VIMCO,
    Capacity,
    Constant,
    DReG,
    Learner,
    Linear,
    Pathwise,
    Score,
    TotalCorrelation,
)
from taut.posteriors import Delta
from taut.priors import RealNVP, StandardNormal, Vamp

torch.set_num_threads(1)

D = 3
X = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)


def model(layers: int = 1, prior=None) -> VAE:
    torch.manual_seed(0)
    spec = Model(
        latents=1,
        prior=prior or StandardNormal(),
        likelihood=Bernoulli(),
        network=MLP(hidden=(3,), activation="tanh"),
        layers=tuple(Plain(hidden=2, activation="tanh") for _ in range(layers)),
    )
    statistics = Statistics(torch.full((D,), 0.4), torch.full((D,), 0.5))
    vae = spec.build((D,), Support("binary", 2), statistics).double()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.3 / layers * torch.randn_like(parameter))
        for layer in vae.layers:  # q narrower than p, so that no expectation hangs on its tails
            layer.evidence.bias[1] -= 0.7
            if layer.above is not None:
                layer.above[2].weight[1] *= 0.2
    return vae


def exact_gradient(vae: VAE, objective, beta: float, nodes: int = 14) -> dict[str, torch.Tensor]:
    """∂/∂θ of the expected loss on X, by quadrature over the noise of every layer and sample."""
    layers, k = len(vae.layers), objective.samples
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = torch.tensor(np.array(list(itertools.product(points, repeat=layers * k))))  # (B, layers·K)
    weight = torch.tensor([math.prod(w) for w in itertools.product(weights, repeat=layers * k)])
    weight = weight / weight.sum()
    noise = grid.view(-1, layers, k).permute(1, 2, 0)  # (layers, K, B)

    def pick(site: Site) -> Step:
        eps = noise[site.index].reshape(-1, 1)
        z = site.q.mean + site.q.stddev * eps
        return Step(site.q, site.p, z, site.q.log_prob(z))

    batch = Batch(X.expand(len(grid), D))
    trace = vae(batch, k, pick)
    ratio = beta * (trace.log_prior() - trace.log_posterior())
    if isinstance(objective, IWAE):
        value = (ratio - trace.distortion(batch)).logsumexp(0) - math.log(k)
    else:
        value = (ratio - trace.distortion(batch)).mean(0)
    vae.zero_grad()
    (-(weight * value).sum()).backward()
    return {name: parameter.grad.clone() for name, parameter in vae.named_parameters()}


def estimated(vae: VAE, objective, beta: float, repeats: int, copies: int) -> dict[str, torch.Tensor]:
    """The gradients of ``repeats`` batches of ``copies`` of X, stacked."""
    learner = Learner(vae, objective).double()
    batch = Batch(X.expand(copies, D))
    torch.manual_seed(1)
    rows: dict[str, list[torch.Tensor]] = {name: [] for name, _ in vae.named_parameters()}
    for _ in range(repeats):
        vae.zero_grad()
        learner(batch, beta).loss.backward()
        for name, parameter in vae.named_parameters():
            rows[name].append(parameter.grad.clone())
    return {name: torch.stack(row) for name, row in rows.items()}


def furthest(exact: dict[str, torch.Tensor], estimates: dict[str, torch.Tensor]) -> float:
    """The largest z-score of a parameter: how many standard errors its mean is from the truth."""
    scores = []
    for name, rows in estimates.items():
        error = rows.std(0) / math.sqrt(len(rows))
        scores.append(((rows.mean(0) - exact[name]).abs() / (error + 1e-12)).max())
    return float(max(scores))


REPEATS, COPIES = 50, 2000  # 10⁵ draws
CASES = {
    "pathwise elbo": (ELBO(estimator=(Pathwise(),)), {}),
    "pathwise iwae": (IWAE(samples=2, estimator=(Pathwise(),)), {}),
    "stl elbo": (ELBO(estimator=(STL(),)), {}),
    "stl elbo, two samples": (ELBO(samples=2, estimator=(STL(),)), {}),
    "dreg elbo": (ELBO(estimator=(DReG(),)), {}),
    "dreg iwae": (IWAE(samples=2, estimator=(DReG(),)), {}),
    "dreg iwae, vamp": (IWAE(samples=2, estimator=(DReG(),)), {"prior": Vamp(components=3)}),
    "stl elbo, vamp": (ELBO(estimator=(STL(),)), {"prior": Vamp(components=3)}),
    "score elbo": (ELBO(estimator=(Score("none"),)), {}),
    "running score elbo": (ELBO(estimator=(Score(),)), {}),
    "score iwae": (IWAE(samples=2, estimator=(Score("none"),)), {}),
    "rloo elbo": (ELBO(samples=2, estimator=(RLOO(),)), {}),
    "rloo iwae": (IWAE(samples=2, estimator=(RLOO(),)), {}),
    "vimco elbo": (ELBO(samples=2, estimator=(VIMCO(),)), {}),
    "vimco iwae": (IWAE(samples=2, estimator=(VIMCO(),)), {}),
    "vimco iwae, vamp": (IWAE(samples=2, estimator=(VIMCO(),)), {"prior": Vamp(components=3)}),
    "pathwise iwae, two layers": (IWAE(samples=2, estimator=(Pathwise(),) * 2), {"layers": 2}),
    "stl elbo, two layers": (ELBO(estimator=(STL(),) * 2), {"layers": 2}),
    "dreg iwae, two layers": (IWAE(samples=2, estimator=(DReG(),) * 2), {"layers": 2}),
    "score elbo, two layers": (ELBO(estimator=(Score("none"),) * 2), {"layers": 2}),
    "rloo elbo, two layers": (ELBO(samples=2, estimator=(RLOO(),) * 2), {"layers": 2}),
    "vimco iwae, two layers": (IWAE(samples=2, estimator=(VIMCO(),) * 2), {"layers": 2}),
    "pathwise below vimco": (IWAE(samples=2, estimator=(VIMCO(), Pathwise())), {"layers": 2}),
    "dreg below vimco": (IWAE(samples=2, estimator=(VIMCO(), DReG())), {"layers": 2}),
    "vimco below dreg": (IWAE(samples=2, estimator=(DReG(), VIMCO())), {"layers": 2}),
    "score below stl": (ELBO(estimator=(STL(), Score("none"))), {"layers": 2}),
}
WEIGHED = ("pathwise iwae", "dreg iwae", "vimco iwae", "dreg iwae, two layers", "rloo elbo")  # where β may go wrong


@pytest.mark.parametrize(
    ("name", "beta"), [(name, beta) for name in CASES for beta in ((1.0, 0.6) if name in WEIGHED else (1.0,))]
)
def test_estimators_give_the_exact_gradient_on_average(name: str, beta: float) -> None:
    objective, options = CASES[name]
    vae = model(**options)
    exact = exact_gradient(vae, objective, beta)
    estimates = estimated(vae, objective, beta, REPEATS, COPIES)
    assert furthest(exact, estimates) < 4.5
    size = max(float(gradient.abs().max()) for gradient in exact.values())
    assert size > 0.01, "the truth is so small that everything would pass"


def test_the_test_can_fail() -> None:
    """STL under IWAE leaves out a term: the bias is there to be seen, and DReG is what takes it away."""
    vae = model()
    objective = IWAE(samples=2, estimator=(STL(),))
    assert furthest(exact_gradient(vae, objective, 1.0), estimated(vae, objective, 1.0, REPEATS, COPIES)) > 6


# --- properties that each was made for ---------------------------------------------------------------------------


def gradient_rows(vae: VAE, objective, name: str) -> torch.Tensor:
    return estimated(vae, objective, 1.0, 150, 5)[name].flatten(1)


def test_stl_has_no_noise_where_q_is_the_posterior() -> None:
    """With a decoder that ignores z the posterior is the prior: there the pathwise gradient is noise alone, STL's is nought."""
    vae = model()
    layer = vae.layers[0]
    with torch.no_grad():
        vae.decoder.body[0].weight.zero_()
        layer.evidence.weight.zero_()
        layer.evidence.bias.zero_()
    noisy = gradient_rows(vae, IWAE(samples=1, estimator=(Pathwise(),)), "layers.0.evidence.bias")
    quiet = gradient_rows(vae, ELBO(estimator=(STL(),)), "layers.0.evidence.bias")
    assert float(noisy.std(0).max()) > 0.1
    assert float(quiet.abs().max()) < 1e-12


def test_baselines_take_noise_away() -> None:
    vae, name = model(), "layers.0.evidence.bias"
    spread = {
        kind: float(gradient_rows(vae, objective, name).var(0).sum())
        for kind, objective in {
            "none": ELBO(samples=4, estimator=(Score("none"),)),
            "running": ELBO(samples=4, estimator=(Score(),)),
            "rloo": ELBO(samples=4, estimator=(RLOO(),)),
            "path": ELBO(samples=4, estimator=(Pathwise(),)),
        }.items()
    }
    assert spread["path"] < spread["rloo"] < spread["running"] < spread["none"]


def test_the_signal_of_the_encoder_fades_under_pathwise_iwae_and_not_under_dreg() -> None:
    """Signal to noise goes as K^−½ for the one, as K^½ for the other (Rainforth et al. 2018, Tucker et al. 2019)."""

    def slope(estimator) -> float:
        ratios = []
        for k in (4, 64):
            vae = model()
            with torch.no_grad():  # q wider than the posterior: the weights must have a variance
                vae.layers[0].evidence.bias[1] += 1.0
            rows = estimated(vae, IWAE(samples=k, estimator=(estimator,)), 1.0, 200, 50)["layers.0.evidence.bias"]
            ratios.append(float(rows.mean(0).norm() / rows.std(0).norm()))
        return math.log(ratios[1] / ratios[0]) / math.log(16)

    assert slope(Pathwise()) < -0.25
    assert slope(DReG()) > 0.25


def test_the_running_mean_is_of_earlier_steps_and_is_saved() -> None:
    learner = Learner(model(), ELBO(estimator=(Score(),))).double()
    batch = Batch(X.expand(5, D))
    seen = []
    for _ in range(3):
        learner(batch, 1.0)
        seen.append(float(learner.baselines[0].mean))
    assert len(set(seen)) == 3
    assert {"baselines.0.mean", "baselines.0.seen"} <= set(learner.state_dict())


def test_the_loss_that_is_shown_is_the_objectives_own() -> None:
    """Whatever an estimator adds has the value nought."""
    for estimator in (Score("none"), RLOO(), VIMCO(), STL(), DReG()):
        objective = IWAE(samples=3, estimator=(estimator,))
        learner = Learner(model(), objective).double()
        torch.manual_seed(3)
        shown = float(learner(Batch(X.expand(5, D)), 1.0).loss.detach())
        plain = Learner(model(), IWAE(samples=3, estimator=(Pathwise(),))).double()
        torch.manual_seed(3)
        assert shown == pytest.approx(float(plain(Batch(X.expand(5, D)), 1.0).loss.detach()), rel=1e-9)


# --- refusals ----------------------------------------------------------------------------------------------------


def resolved(objective, **options):
    return objective.resolved(Model(**options).resolved((D,), Support("binary", 2)).layers)


def test_what_an_estimator_cannot_do_is_refused_before_training() -> None:
    with pytest.raises(
        InputError, match=r"^objective.estimator: STL cannot serve the Delta posterior; Delta takes Pathwise$"
    ):
        resolved(ELBO(estimator=(STL(),)), posterior=Delta())
    with pytest.raises(
        InputError, match=r"^objective.samples: is 1, and RLOO compares draws of one example; give 2 or more"
    ):
        resolved(ELBO(estimator=(RLOO(),)))
    with pytest.raises(
        InputError, match=r"^objective.estimator: names 3, and the model has 2 layers; name one for all"
    ):
        resolved(ELBO(estimator=(STL(),) * 3), layers=(Plain(), Plain()))
    with pytest.raises(InputError, match=r"^objective: IWAE weighs draws by log q\(z\), which Delta does not have"):
        resolved(IWAE(), posterior=Delta())
    with pytest.raises(
        InputError, match=r"^objective.penalties: TotalCorrelation acts through the path of z, which Score"
    ):
        resolved(ELBO(estimator=(Score(),), penalties=(TotalCorrelation(),)))
    with pytest.raises(InputError, match=r"^samples: is 0; give 1 or more"):
        IWAE(samples=0)


def test_estimators_are_chosen_by_layer() -> None:
    mixed = resolved(ELBO(samples=2, estimator=(RLOO(), STL())), layers=(Plain(), Plain()))
    assert [type(estimator).__name__ for estimator in mixed.estimator] == ["RLOO", "STL"]
    one = resolved(Capacity(estimator=(STL(),), schedule=Linear()), layers=(Plain(), Plain()))
    assert one.estimator == (STL(), STL())
    assert resolved(ELBO(schedule=Constant()), prior=RealNVP(), latents=3).estimator == (Pathwise(),)
