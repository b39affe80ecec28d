"""Annealed importance sampling: log p(x) from a walk that turns the prior into the posterior by degrees (Neal 2001).

In the coordinates u of :mod:`taut.evaluation.coordinates`, with 0 = β_1 < … < β_T = 1,

    f_t(u) = r(u) w(u)^β_t          f_1 = r, which can be drawn from,   f_T = r w = p(x, u),   ∫ f_T = p(x)

    u_1 ~ r,   u_t ~ K_t(u_{t−1} → ·) for t = 2 … T − 1,   log W = Σ_{t=1}^{T−1} (β_{t+1} − β_t) log w(u_t)

where K_t, one trajectory of Hamiltonian Monte Carlo, keeps f_t. Then E[W] = p(x) whatever K_t and T are, so that of K chains

    log p̂ = log (1/K) Σ_k W_k,   E[log p̂] ≤ log p(x)

and the more degrees there are, the nearer (Wu et al. 2017). That is a lower bound on average. An upper one wants a draw from
the posterior to start from, which none has for data, but anyone for x that the model made of a z it drew (bidirectional Monte
Carlo: Grosse, Ghahramani and Adams 2015). The same walk taken backwards, u_{T−1} ~ p(u|x), down to f_2, has

    log W' = −Σ_{t=1}^{T−1} (β_{t+1} − β_t) log w(u_t),   E[W'] = 1/p(x),   E[−log (1/K) Σ_k W'_k] ≥ log p(x)

with all K chains starting at the one z. The two sides hold log p(x) between them on average, and the distance between
them is what the walk can be wrong by, together, on such data.

**Sizes of steps.** K_t must not look at where the chain has been, or E[W] = p(x) fails. So a pilot walks first, over a tenth
of the degrees, its steps led towards an acceptance of 0.65; what it finds for each example is read off for all degrees, held
fixed and used by all chains in both directions. The pilot's chains count for nothing else.

**Where to start.** Wu et al. start from r = p(z): w is then p(x|z), every posterior lies inside, and the answer owes the
encoder nothing. From r = q(z|x) the way is shorter: on the trained models that were looked at, 300 degrees from q come nearer
than 1,000 from the prior, also where q misses its posterior by several of its own widths. So that is the usual choice. Where q
leaves out a peak of the posterior that chains do not find either, the sides of BDMC part, and the prior is the better start.

**Schedules** for s = (t − 1)/(T − 1):   linear β = s;   power β = s⁴;   sigmoid β ∝ σ(8s − 4) − σ(−4), whose slope is
least at both ends, where r w^β changes fastest (Wu et al.).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from taut.data import Batch
from taut.distributions import fold
from taut.errors import InputError
from taut.evaluation.coordinates import Coordinates, Start, still
from taut.evaluation.hamiltonian import Position, Steps, at, trajectory
from taut.model import VAE, pick_prior

__all__ = ["Annealing", "ais", "bdmc", "log_mean_exp", "made"]

PILOT = 10  # the pilot takes one degree for so many,
LEAST = 30  # and no fewer than these


@dataclass(frozen=True)
class Annealing:
    """How to anneal.

    Args:
        chains: K, of each example.
        temperatures: T, degrees from r to p(x, z), both counted.
        schedule: how they are spread.
        start: r, where the chains begin: q(z|x), or the prior p(z).
        leapfrogs: of each trajectory.
    """

    chains: int = 16
    temperatures: int = 1000
    schedule: Literal["sigmoid", "linear", "power"] = "sigmoid"
    start: Start = "posterior"
    leapfrogs: int = 10

    def __post_init__(self) -> None:
        for name, least in (("chains", 1), ("temperatures", 2), ("leapfrogs", 1)):
            if getattr(self, name) < least:
                raise InputError(name, f"is {getattr(self, name)}", f"give {least} or more")
        for name, known in (("schedule", ("sigmoid", "linear", "power")), ("start", get_args(Start))):
            if getattr(self, name) not in known:
                raise InputError(name, f"is {getattr(self, name)!r}", f"give {', '.join(known[:-1])} or {known[-1]}")

    def betas(self, temperatures: int | None = None) -> Tensor:
        """β_1 … β_T, (T,), in double precision.

        >>> Annealing(schedule="power").betas(3)
        tensor([0.0000, 0.0625, 1.0000], dtype=torch.float64)
        """
        s = torch.linspace(0, 1, temperatures or self.temperatures, dtype=torch.float64)
        if self.schedule == "linear":
            return s
        if self.schedule == "power":
            return s**4
        bent = (8 * s - 4).sigmoid()
        return (bent - bent[0]) / (bent[-1] - bent[0])


def ais(
    vae: VAE, how: Annealing, batch: Batch, tick: Callable[[float], None] = lambda share: None
) -> dict[str, Tensor]:
    """log p(x) of B examples, from below; draws from the default generator.

    Args:
        vae: a model that :func:`taut.evaluation.coordinates.require_real` lets through.
        how: the settings.
        batch: the examples.
        tick: told the share that is done.

    Returns:
        a row an example, float64: ``log_p``, nats; ``error``, its standard error by the spread of the chains' weights, nan for
        one chain; ``ess``, the effective number of chains, 1 to K; ``acceptance``, the mean share of trajectories accepted.
    """
    with still(vae):
        walk = _Walk(vae, how, batch, tick)
        log_w, chances = walk.up()
    return {**_summed(log_w), "acceptance": chances}


def bdmc(
    vae: VAE, how: Annealing, examples: int, tick: Callable[[float], None] = lambda share: None
) -> dict[str, Tensor]:
    """log p(x) of B examples that the model makes, from below and from above; draws from the default generator.

    Returns:
        a row an example, float64: ``lower``, ``upper``, nats; ``ess`` of the chains upwards, ``acceptance`` of all.
    """
    with still(vae):
        batch, values = made(vae, examples)
        walk = _Walk(vae, how, batch, tick, ways=2)
        up, chances = walk.up()
        down, others = walk.down(values)
    forward, backward = _summed(up), _summed(down)
    return {
        "lower": forward["log_p"],
        "upper": -backward["log_p"],
        "ess": forward["ess"],
        "acceptance": (chances + others) / 2,
    }


@torch.no_grad()
def made(vae: VAE, examples: int) -> tuple[Batch, list[Tensor]]:
    """x ~ p(x|z), (B, *shape), and the z ~ p(z) it was made of, (B, *event) for each layer: a draw from p(z|x)."""

    trace = vae.generate(examples, pick_prior())
    return Batch(trace.likelihood.sample()), [step.z for step in trace.steps]


def log_mean_exp(values: Tensor) -> Tensor:
    """log (1/K) Σ_k e^{v_k} over the first axis."""
    return values.logsumexp(0) - math.log(len(values))


def _summed(log_w: Tensor) -> dict[str, Tensor]:
    """The estimate from log-weights (K, B), with its error by the delta method and its effective number of chains."""
    chains = len(log_w)
    ess = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
    error = ((1 / ess - 1 / chains).clamp_min(0) * chains / (chains - 1)).sqrt() if chains > 1 else ess * math.nan
    return {"log_p": log_mean_exp(log_w), "error": error, "ess": ess}


class _Walk:
    """The walk of K chains of each of B examples, with steps that a pilot has found.

    Args:
        ways: how many walks are to follow the pilot, for ``tick``.
    """

    def __init__(self, vae: VAE, how: Annealing, batch: Batch, tick: Callable[[float], None], ways: int = 1) -> None:
        self.how, self.tick, self.examples = how, tick, len(batch.x)
        self.coordinates = Coordinates.of(vae, batch, how.chains, how.start)
        self.betas = how.betas()
        pilots = max(LEAST, -(-how.temperatures // PILOT)) if how.temperatures > 2 else 2
        self.done, self.all = 0, pilots - 2 + ways * (how.temperatures - 2)
        self.steps = self._pilot(pilots)

    def up(self) -> tuple[Tensor, Tensor]:
        """log W (K, B), float64, and the mean chance of acceptance (B,)."""
        return self._along(at(self.coordinates, self.coordinates.drawn()), up=True)

    def down(self, values: list[Tensor]) -> tuple[Tensor, Tensor]:
        """log W' (K, B) of chains that start at one exact draw z (B, *event) of each layer, and the chance of acceptance."""
        z = [fold(value, self.how.chains) for value in values]
        return self._along(at(self.coordinates, self.coordinates.of_values(z)), up=False)

    def _along(self, here: Position, up: bool) -> tuple[Tensor, Tensor]:
        rises, last = self.betas.diff(), len(self.betas) - 1
        log_w = torch.zeros_like(here.values[1], dtype=torch.float64)
        chances = torch.zeros_like(here.values[1])
        for i in range(last):
            # upwards from β_t to β_{t+1} and a trajectory there; downwards the mirror image
            t = i if up else last - 1 - i
            log_w = log_w + (1 if up else -1) * rises[t].item() * here.values[1].double()
            if i < last - 1:
                turn = t + 1 if up else t
                here, chance = self._move(here, self.betas[turn].item(), self.steps[turn - 1])
                chances = chances + chance
        fold_away = (self.how.chains, self.examples)
        return log_w.view(fold_away), chances.double().view(fold_away).mean(0) / max(1, last - 1)

    def _pilot(self, degrees: int) -> Tensor:
        """ε at each β_t between the ends, (T − 2, B)."""
        here = at(self.coordinates, self.coordinates.drawn())
        steps = Steps(self.examples, here.u.shape[1], here.u)
        found = [steps.log_step]
        for beta in self.how.betas(degrees)[1:-1].tolist():
            here, chance = self._move(here, beta, steps.log_step.exp())
            steps.lead(chance)
            found.append(steps.log_step)
        log_steps = torch.stack(found[1:] or found, 1).unsqueeze(0)  # (1, B, pilots − 2)
        return interpolate(log_steps, size=len(self.betas), mode="linear", align_corners=True)[0].T[1:-1].exp()

    def _move(self, here: Position, beta: float, step: Tensor) -> tuple[Position, Tensor]:
        c = here.u.new_tensor([[1.0], [beta]])
        moved = trajectory(self.coordinates, here, c, fold(step, self.how.chains), self.how.leapfrogs)
        self.done += 1
        self.tick(self.done / self.all)
        return moved
