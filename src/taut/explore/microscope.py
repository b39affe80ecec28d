"""One example under the microscope: what q says of it, what that rebuilds, and how tight the bound on it is.

With z_1 … z_K ~ q(z|x) and log w_k = log p(x, z_k) − log q(z_k|x),

    IW-k = E log (1/k) Σ_{i ≤ k} w_i

rises from the ELBO to log p(x). The expectation is taken over disjoint groups of k of the K weights that were drawn, so that
small k have many groups, and the spread of these groups is seen. The same of draws from p(z), weighed by p(x|z), is the naive
estimate of p(x) = ∫ p(x|z) p(z) dz: right on average, and for most draws far too low.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from taut.data import Batch
from taut.distributions import DiagonalNormal, fold, moments
from taut.distributions.exactness import in_words
from taut.errors import InputError
from taut.evaluation.bounds import samples_at_once
from taut.evaluation.evaluate import NOISY, POINT
from taut.evaluation.exact import Grid, Integrator, modes, require_small
from taut.evaluation.ledger import Ledger
from taut.model import VAE, centre, draw, follow
from taut.runs import Run
from taut.training import seeded

__all__ = [
    "Examined", "Growth", "Noised", "Posterior", "exact_posterior", "examine", "growth", "log_weights", "noised",
    "posteriors_of", "steps_to",
]  # fmt: skip

GROUPS = 8  # at least so many estimates, to know the spread of one
TOLERANCE = 1e-3  # nats, of quadrature


@dataclass(frozen=True)
class Growth:
    """An estimate of log p(x) by k weights, as k grows.

    Attributes:
        k: (S,) how many weights.
        mean: (S,) its mean over the groups, nats.
        low, high: (S,) where the middle eight tenths of the groups lie, nats.
    """

    k: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Posterior:
    """q of one layer beside its prior, for one example; of a hierarchy with the layers above at their centres.

    Attributes:
        mean, std: (D,) of q; ``std`` is nan where it has none.
        prior_mean, prior_std: (D,) likewise of p.
        kl: (G,) nats, for each dimension where q and p come apart, else one number for all.
        measured: whether mean and std of q are those of draws, as the family has no closed form of them.
    """

    mean: np.ndarray
    std: np.ndarray
    prior_mean: np.ndarray
    prior_std: np.ndarray
    kl: np.ndarray
    measured: bool


@dataclass(frozen=True)
class Examined:
    """What was found of one example.

    Attributes:
        posteriors: one a layer, top first.
        distortion: −log p(x|z), mean over the draws, nats.
        rate: mean KL(q‖p), nats; None for a point posterior.
        log_weights: (K,) nats; None where weights are not exact, or q has no density.
        importance: IW-k as k grows; likewise.
        prior: the naive estimate as k grows, from p(z); None where p(x|z) is not exact.
        rebuilt: (N, *raw shape), decoded from draws of q, the first from its centre.
        codes: (N, latents) of these.
        why: why there is no bound or none but the ELBO; empty where there is one.
    """

    posteriors: list[Posterior]
    distortion: float
    rate: float | None
    log_weights: np.ndarray | None
    importance: Growth | None
    prior: Growth | None
    rebuilt: np.ndarray
    codes: np.ndarray
    why: str


@dataclass(frozen=True)
class Noised:
    """z = μ + σ ε of one example, and what the loss of that one draw tells μ and σ.

    Attributes:
        mean, std, noise, code: (D,) each.
        by_code: (D,) ∂ distortion/∂z = ∂ distortion/∂μ.
        by_std: (D,) ∂ distortion/∂σ = ε ∂ distortion/∂z.
        kl: (D,) nats.
        distortion: of the draw, nats.
    """

    mean: np.ndarray
    std: np.ndarray
    noise: np.ndarray
    code: np.ndarray
    by_code: np.ndarray
    by_std: np.ndarray
    kl: np.ndarray
    distortion: float


def steps_to(count: int) -> np.ndarray:
    """Numbers 1, 2, 5, 10, … of which ``count`` things make enough groups.

    >>> steps_to(1000)
    array([  1,   2,   5,  10,  20,  50, 100])
    """
    steps = [m * 10**e for e in range(12) for m in (1, 2, 5)]
    return np.array([k for k in steps if k * GROUPS <= count] or [1])


def growth(log_weights: np.ndarray, k: np.ndarray | None = None) -> Growth:
    """The estimate of log E w by k of the weights (K,), over disjoint groups of them.

    >>> growth(np.log([1.0, 3.0, 1.0, 3.0]), np.array([1, 2])).mean.round(3)
    array([0.549, 0.693])
    """
    log_weights = np.asarray(log_weights, dtype=np.float64)
    k = steps_to(len(log_weights)) if k is None else np.asarray(k)
    rows = []
    for size in k.tolist():
        groups = log_weights[: len(log_weights) // size * size].reshape(-1, size)
        found = np.logaddexp.reduce(groups, axis=1) - math.log(size)
        rows.append((found.mean(), *np.quantile(found, (0.1, 0.9))))
    mean, low, high = np.array(rows).T
    return Growth(k, mean, low, high)


@torch.no_grad()
def examine(run: Run, example: int, draws: int = 8, samples: int = 1000, seed: int = 0) -> Examined:
    """Look at one example of the run's test split.

    Args:
        run: the model.
        example: its number.
        draws: how many to decode, the centre besides.
        samples: K, of the weights.
        seed: of the draws.

    Raises:
        InputError: for an example that is not there, or a model without latents.
    """
    batch, vae = _batch(run, example), run.vae
    with seeded(seed, batch.x.device):
        few = vae(batch, draws)
        trace = vae(batch, max(64, draws))
        proper, exact = trace.proper, trace.exactness == "exact"
        posteriors = posteriors_of(vae, batch)
        weights = log_weights(vae, batch, samples) if proper and exact else None
        naive = log_weights(vae, batch, samples, prior=True) if exact else None
    codes = np.concatenate([
        np.concatenate([p.mean for p in posteriors])[None],
        torch.cat([step.z.flatten(1) for step in few.steps], 1).cpu().numpy(),
    ]).astype(np.float32)  # fmt: skip
    codes[0] = run.place(codes[:1])[0]
    return Examined(
        posteriors,
        float(trace.distortion(batch).mean()),
        float(trace.rate().mean()) if proper else None,
        weights,
        None if weights is None else growth(weights),
        None if naive is None else growth(naive),
        run.decode(codes, batch.condition, None if batch.offset is None else batch.offset.expand(len(codes), -1)),
        codes,
        POINT if not proper else "" if exact else NOISY.format(in_words(trace.exactness)),
    )


def noised(run: Run, example: int, noise: np.ndarray | None = None, seed: int = 0) -> Noised:
    """One draw of one example by its noise, and the gradient of its distortion.

    Args:
        run: a model of one layer of normals.
        example: its number in the test split.
        noise: ε, (D,); drawn if left open.
        seed: of the noise.

    Raises:
        InputError: where z is not μ + σ ε.
    """
    batch, vae = _batch(run, example), run.vae
    with torch.no_grad():
        step = vae(batch, pick=centre).steps[0]
    if len(vae.layers) != 1 or not isinstance(step.q, DiagonalNormal):
        raise InputError(
            "reparameterisation",
            "is shown for one layer of normals, and the model has another posterior",
            "see another run",
        )
    mean, std = (value[0].flatten().clone().requires_grad_() for value in (step.q.mean, step.q.stddev))
    drawn = np.random.default_rng(seed).standard_normal(len(mean)) if noise is None else np.asarray(noise)
    eps = torch.as_tensor(drawn, dtype=mean.dtype, device=mean.device)
    with torch.enable_grad():
        z = mean + std * eps
        trace = vae.generate(1, follow([z.view(1, *vae.layers[0].event)]), batch.condition)
        distortion = trace.distortion(batch).sum()
        by_code, by_std = torch.autograd.grad(distortion, (mean, std))
    kl = step.kl.parts[0] if step.kl.parts.shape[1] == len(mean) else torch.full_like(mean, math.nan)
    values = (t.detach().cpu().numpy() for t in (mean, std, eps, z, by_code, by_std, kl))
    return Noised(*values, float(distortion.detach()))


def exact_posterior(run: Run, example: int, points: int = 81, seed: int = 0) -> tuple[float, int, Grid]:
    """log p(x) of a test example by quadrature, how many peaks p(z|x) has, and the densities on a grid around it.

    Raises:
        InputError: for a model of more than two latents, or of others than real numbers.
    """
    require_small(run.vae)
    batch, integrator = _batch(run, example), Integrator(run.vae, torch.float32)
    with seeded(seed):
        found = integrator.quadrature(batch, TOLERANCE)
        both = torch.cat([found.draws, integrator.guesses(batch)], 1)[0]
    low, high = both.quantile(0.004, 0), both.quantile(0.996, 0)
    margin = 0.25 * (high - low)
    limits = torch.stack([low - margin, high + margin], 1).tolist()
    grid = integrator.grid(batch, float(found.log_p), limits, points if len(limits) > 1 else points * 5)
    return float(found.log_p), modes(grid.posterior), grid


def _batch(run: Run, example: int) -> Batch:
    if not run.vae.layers:
        raise InputError("model.layers", "is empty, so no example has a posterior", "sample it, or see its training")
    subject = replace(run.subject(), ledger=Ledger())
    if not 0 <= example < len(subject):
        raise InputError("example", f"is {example}", f"give one from 0 to {len(subject) - 1}")
    return subject.batch(torch.tensor([example]))


@torch.no_grad()
def log_weights(vae: VAE, batch: Batch, samples: int, prior: bool = False) -> np.ndarray:
    """log p(x, z_k) − log q(z_k|x) of one example, (K,) nats, z_k ~ q(z|x); or log p(x|z_k), z_k ~ p(z)."""
    evidence = [None] * len(vae.layers) if prior else vae.evidence(batch)
    found, size = [], samples_at_once(vae, 1)
    for k in [min(size, samples - done) for done in range(0, samples, size)]:
        told = [None if e is None else fold(e, k) for e in evidence]
        trace = vae.descend(vae.root(k, batch.condition), told, draw, k)
        weight = trace.log_likelihood(batch).double()
        if not prior:
            weight = weight + (trace.log_prior() - trace.log_posterior()).double()
        found.append(weight[:, 0])
    return torch.cat(found).cpu().numpy()


@torch.no_grad()
def posteriors_of(vae: VAE, batch: Batch, draws: int = 400) -> list[Posterior]:
    """q of each layer beside its prior, for the one example of a batch; what has no moments in closed form is drawn."""
    found = []
    for i, step in enumerate(vae(batch, pick=centre).steps):
        own, prior = _first(moments(step.q)), _first(moments(step.p))
        mean, std = own or _spread(vae(batch, draws).steps[i].z)
        prior_mean, prior_std = prior or _spread(vae.generate(draws, draw, batch.condition).steps[i].z)
        kl = step.kl.parts[0].double().cpu().numpy()
        found.append(Posterior(mean, std, prior_mean, prior_std, kl, own is None))
    return found


def _first(known: tuple[Tensor, Tensor] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Of mean and standard deviation the first row, (D,) each."""
    return None if known is None else (_host(known[0][0]), _host(known[1][0]))


def _spread(drawn: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The same of draws (N, *event)."""
    return _host(drawn.mean(0)), _host(drawn.std(0))


def _host(values: Tensor) -> np.ndarray:
    return values.flatten().double().cpu().numpy()
