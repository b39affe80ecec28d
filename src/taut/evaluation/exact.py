"""log p(x) and p(z|x) of models with one or two latents, by quadrature to as many digits as are asked for.

In the coordinates u of :mod:`taut.evaluation.coordinates` (from the prior: noise where it knows its noise),

    p(x) = ∫ f(u) du,   f(u) = r(u) p(x|z(u))

The posterior may be a ridge or a few needles in a plane where f is nothing elsewhere. So space is cut into cells, and a cell
into halves along each axis, until of each

    it cannot matter   (greatest log f seen in it) + (how far log f varies over it) + log volume ≤ log δ p̂(x); or
    it is known        log f varies over it by no more than 20 nats, and two Gauss–Legendre rules differ by no more than δ p̂(x)

The first looks at log f, which is as smooth as the network: where f has a needle, log f is a hill, seen from afar by its slope.
It is looked at in the cell's corners and middles; the rules, of six and eight nodes an axis, are for cells that are nearly
known. The first box is grown by doubling until what is added is below δ.

The error that is told adds up the differences of the rules, what could lie in cells that were left out, and the last growth.
For smooth networks it is far above the true one; where the network has corners (ReLU) the two are about the same, and cells are
cut only so often.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from taut.data import Batch
from taut.distributions import fold
from taut.errors import InputError
from taut.evaluation.coordinates import Coordinates, require_real
from taut.model import VAE, follow
from taut.model import centre as centre_of

__all__ = ["MOST", "Grid", "Integrator", "Quadrature", "modes", "require_small"]

MOST = 2
"""Latents of a model that can be integrated over."""

VARIES = 20.0  # nats, at most, over a cell that is known
DOUBT = 12.0  # nats by which p(x) may be overrated where it is only glanced at
DEPTH, CELLS = 40, 4000  # cuts of a cell, and cells of an example at once, at most
DOUBLINGS = 60
ROWS = 2**14  # of u at once
DRAWS = 400


@dataclass(frozen=True)
class Quadrature:
    """Of B examples.

    Attributes:
        log_p: log p(x), (B,) nats.
        error: of it, (B,) nats.
        draws: z ~ p(z|x), nodes of the rule by their mass, (B, S, D), layers side by side.
    """

    log_p: Tensor
    error: Tensor
    draws: Tensor


@dataclass(frozen=True)
class Grid:
    """Densities of one example's z on a grid, their natural logarithms.

    Attributes:
        axes: the values of each latent, D of (G,).
        posterior: log p(z|x), (G,) or (G, G), the first axis the first latent's.
        q: log q(z|x) likewise; none for a point posterior.
        prior: log p(z) likewise.
        centre: what q has for its mean, (D,).
    """

    axes: tuple[np.ndarray, ...]
    posterior: np.ndarray
    q: np.ndarray | None
    prior: np.ndarray
    centre: np.ndarray


def require_small(vae: VAE, what: str = "exact") -> None:
    """Refuse a model of more than two latents, or of latents that are not numbers.

    Raises:
        InputError: with what serves instead.
    """
    require_real(vae, what)
    size = sum(math.prod(layer.event) for layer in vae.layers)
    if size > MOST:
        mend = "anneal instead (--ais), or train with --model.latents 2"
        raise InputError(what, f"sums over a grid of 1 or {MOST} latents, and the model has {size}", mend)


class Integrator:
    """What quadrature tells of a model; it works on a copy.

    Args:
        vae: a model that :func:`require_small` lets through.
        dtype: of the model. In single precision, several times faster where decoders are large, log p(x|z) has some four
            decimals, and a tolerance below 1e-3 is not met; sums are in double precision in any case.
    """

    vae: VAE
    sizes: list[int]

    def __init__(self, vae: VAE, dtype: torch.dtype = torch.float64) -> None:
        self.vae = copy.deepcopy(vae).cpu().to(dtype).eval().requires_grad_(False)
        self.sizes = [math.prod(layer.event) for layer in vae.layers]

    @torch.no_grad()
    def quadrature(self, batch: Batch, tolerance: float = 1e-4) -> Quadrature:
        """log p(x) of B examples to within a tolerance in nats, and draws from p(z|x) by the default generator."""
        cells = _Cells(self.vae, self._own(batch), tolerance)
        log_p, error = cells.sum()
        return Quadrature(log_p, error, cells.draws(DRAWS))

    @torch.no_grad()
    def guesses(self, batch: Batch) -> Tensor:
        """z ~ q(z|x), (B, S, D), layers side by side."""
        trace = self.vae(self._own(batch), DRAWS)
        z = torch.cat([step.z.flatten(1) for step in trace.steps], 1).double()
        return z.view(DRAWS, len(batch.x), -1).transpose(0, 1)

    @torch.no_grad()
    def grid(self, batch: Batch, log_p: float, limits: Sequence[tuple[float, float]], points: int) -> Grid:
        """The densities of one example.

        Args:
            batch: the one.
            log_p: its log p(x), nats.
            limits: from where to where, for each latent.
            points: along each axis.
        """
        batch = self._own(batch)
        axes = [torch.linspace(low, high, points, dtype=batch.x.dtype) for low, high in limits]
        evidence = self.vae.evidence(batch)
        found: list[tuple[Tensor, ...]] = []
        for places in torch.cartesian_prod(*axes).view(-1, len(axes)).split(ROWS):
            n = len(places)
            values = [
                part.view(n, *layer.event)
                for part, layer in zip(places.split(self.sizes, 1), self.vae.layers, strict=True)
            ]
            trace = self.vae.descend(
                self.vae.root(n, batch.condition), [fold(e, n) for e in evidence], follow(values), n
            )
            log_prior = trace.log_prior().flatten()
            log_joint = trace.log_likelihood(batch).flatten() + log_prior
            found.append((log_joint - log_p, trace.log_posterior().flatten(), log_prior))
        shape = (points,) * len(axes)
        posterior, q, prior = (torch.cat(part).view(shape).numpy() for part in zip(*found, strict=True))
        centre = torch.cat([step.q.mean.flatten(1) for step in self.vae(batch, pick=centre_of).steps], 1)[0].numpy()
        return Grid(tuple(axis.numpy() for axis in axes), posterior, q if trace.proper else None, prior, centre)

    def _own(self, batch: Batch) -> Batch:
        """The batch where the copy is and in its precision."""
        return Batch(
            *(None if field is None else field.cpu() for field in batch._replace(x=batch.x.to(self.vae.shift.dtype)))
        )


def modes(log_density: np.ndarray, share: float = 0.05, dip: float = 0.1) -> int:
    """How many separate peaks a density on a grid has.

    A peak counts if it is at least so large a ``share`` of the highest, and if every way from it to a higher one leads at least
    ``dip`` nats down.

    >>> modes(np.array([0.0, -2.0, -1.0, -1.05, -1.0])), modes(np.array([0.0, -2.0, -9.0, -8.0]))
    (2, 1)
    """
    padded = np.pad(log_density.astype(np.float64), 1, constant_values=-np.inf)
    heights = padded.ravel()
    strides = np.array(padded.strides) // padded.itemsize
    around = [int(np.dot(strides, step)) for step in product((-1, 0, 1), repeat=padded.ndim) if any(step)]
    above = np.flatnonzero(heights >= heights.max() + math.log(share))
    root: dict[int, int] = {}  # of the places seen so far, the peak of whose slope they are

    def peak(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    count = 0
    for i in above[np.argsort(-heights[above], kind="stable")].tolist():
        peaks = sorted({peak(i + step) for step in around if i + step in root}, key=lambda p: -heights[p])
        root[i] = peaks[0] if peaks else i
        count += not peaks
        for lower in peaks[1:]:  # two slopes meet here: the lower peak ends
            root[lower] = peaks[0]
            count -= heights[lower] - heights[i] < dip
    return int(count)


class _Rule:
    """A product rule on [−1, 1]^D: nodes (N, D) and the logarithms of their weights (N,)."""

    def __init__(self, nodes: np.ndarray, weights: np.ndarray, size: int) -> None:
        points, parts = (torch.from_numpy(np.asarray(column, dtype=np.float64)) for column in (nodes, weights))
        self.nodes = torch.cartesian_prod(*[points] * size).view(-1, size)
        self.log_weights = torch.cartesian_prod(*[parts] * size).view(-1, size).log().sum(1)

    def places(self, centre: Tensor, half: Tensor) -> Tensor:
        """The nodes in cells of these centres and half-widths (C, D): (C, N, D)."""
        return centre.unsqueeze(1) + half.unsqueeze(1) * self.nodes


class _Cells:
    """The integral of f over the coordinates of each of B examples, cell by cell.

    A cell has a centre (D,), half-widths (D,) and an owner, the example that it is of.
    """

    def __init__(self, vae: VAE, batch: Batch, tolerance: float) -> None:
        self.vae, self.batch, self.tolerance = vae, batch, tolerance
        self.small = tolerance / 1000  # of p(x), in one cell
        self.size = sum(math.prod(layer.event) for layer in vae.layers)
        self.glance = _Rule([-1, 0, 1], [1 / 3, 4 / 3, 1 / 3], self.size)
        self.rule, self.finer = (_Rule(*np.polynomial.legendre.leggauss(n), self.size) for n in (6, 8))
        self.known: list[tuple[Tensor, Tensor, Tensor]] = []  # u of nodes, log of their mass, whose they are
        n = len(batch.x)
        self.total = torch.full((n,), -math.inf, dtype=torch.float64)  # log of the integral over known cells
        self.error = torch.zeros(n, dtype=torch.float64)  # as a share of it

    def sum(self) -> tuple[Tensor, Tensor]:
        """log p(x) and its error, (B,) nats each."""
        growing, reach = torch.arange(len(self.batch.x)), self._first_reach()
        self._refine(*self._block(growing, reach, 2))
        for _ in range(DOUBLINGS):
            before = self.total.clone()
            centre, half, owner = self._block(growing, 2 * reach, 2)
            outside = (centre.abs() > reach).any(1)
            self._refine(centre[outside], half[outside], owner[outside])
            added = -torch.expm1(before - self.total)
            reach *= 2
            growing = torch.nonzero(added > self.tolerance / 4).flatten()
            if not len(growing):
                return self.total, self.error + added
        raise InputError("exact", "finds no end to the posterior's tails", "anneal instead: --ais")

    def draws(self, count: int) -> Tensor:
        """Nodes drawn by their mass, as z, (B, count, D)."""
        nodes, log_mass, owner = (torch.cat(column) for column in zip(*self.known, strict=True))
        points = []
        for example in range(len(self.batch.x)):
            own = torch.nonzero(owner == example).flatten()
            mass = (log_mass[own] - self.total[example]).exp()
            points.append(nodes[own[torch.multinomial(mass, count, replacement=True)]])
        owners = torch.arange(len(points)).repeat_interleave(count)
        trace, _ = self._coordinates(owners).trace(torch.cat(points).to(self.batch.x.dtype))
        return torch.cat([step.z.flatten(1) for step in trace.steps], 1).double().view(len(points), count, self.size)

    def _first_reach(self) -> float:
        """Half the side of a box that holds nearly all of the prior, and all posterior means."""
        n = len(self.batch.x)
        drawn = self._coordinates(torch.arange(n).repeat(-(-1000 // n))).drawn().abs()
        trace = self.vae(self.batch)
        means = self._coordinates(torch.arange(n)).of_values([step.q.mean for step in trace.steps])
        return max(8.0, 1.5 * float(drawn.quantile(0.99)), 1.5 * float(means.abs().max()))

    def _block(self, owners: Tensor, reach: float, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """[−reach, reach]^D in 2·side cells along each axis, for each of the owners."""
        half = reach / (2 * side)
        middles = torch.arange(-2 * side + 1, 2 * side, 2, dtype=torch.float64) * half
        centre = torch.cartesian_prod(*[middles] * self.size).view(-1, self.size)
        owner = owners.repeat_interleave(len(centre))
        centre = centre.repeat(len(owners), 1)
        return centre, torch.full_like(centre, half), owner

    def _refine(self, centre: Tensor, half: Tensor, owner: Tensor) -> None:
        """Cut cells until each is known or cannot matter."""
        corners = torch.tensor(list(product((-1.0, 1.0), repeat=self.size)), dtype=torch.float64)
        n = len(self.total)
        for depth in range(DEPTH):
            log_volume = half.log().sum(1)
            log_f = self._log_f(self.glance, centre, half, owner)
            highest = log_f.amax(1)
            varies = highest - log_f.amin(1)
            rough = (log_f + self.glance.log_weights).logsumexp(1) + log_volume
            log_p = torch.logaddexp(self.total, _by_owner(rough, owner, n) - DOUBT)
            most = (highest + varies + log_volume + self.size * math.log(2) - log_p[owner]).exp()
            matters = most > self.small
            self.error.index_add_(0, owner[~matters], most[~matters])
            last = depth == DEPTH - 1 or len(centre) > CELLS * n
            ready = torch.nonzero(matters & ((varies <= VARIES) | last)).flatten()
            if len(ready):
                known = self._settle(centre[ready], half[ready], owner[ready], last)
                matters[ready[known]] = False
            centre, half, owner = centre[matters], half[matters], owner[matters]
            if not len(centre):
                return
            centre = (centre.unsqueeze(1) + 0.5 * half.unsqueeze(1) * corners).flatten(0, 1)
            half, owner = 0.5 * half.repeat_interleave(len(corners), 0), owner.repeat_interleave(len(corners))

    def _settle(self, centre: Tensor, half: Tensor, owner: Tensor, last: bool) -> Tensor:
        """Which cells are known, (C,); their integrals are added up, and their nodes kept to draw from."""
        log_volume = half.log().sum(1, keepdim=True)
        masses = [
            self._log_f(rule, centre, half, owner) + rule.log_weights + log_volume for rule in (self.rule, self.finer)
        ]
        coarse, fine = (mass.logsumexp(1) for mass in masses)
        n = len(self.total)
        log_p = torch.logaddexp(self.total, _by_owner(fine, owner, n))[owner]
        error = ((coarse - log_p).exp() - (fine - log_p).exp()).abs()
        known = torch.ones_like(error, dtype=torch.bool) if last else error <= self.small
        self.error.index_add_(0, owner[known], error[known])
        self.total = torch.logaddexp(self.total, _by_owner(fine[known], owner[known], n))
        nodes = self.finer.places(centre[known], half[known]).flatten(0, 1)
        self.known.append((nodes, masses[1][known].flatten(), owner[known].repeat_interleave(len(self.finer.nodes))))
        return known

    def _log_f(self, rule: _Rule, centre: Tensor, half: Tensor, owner: Tensor) -> Tensor:
        """log f at the nodes of each cell, (C, N)."""
        u = rule.places(centre, half).flatten(0, 1).to(self.batch.x.dtype)
        owners = owner.repeat_interleave(len(rule.nodes))
        parts = zip(u.split(ROWS), owners.split(ROWS), strict=True)
        found = [self._coordinates(whose)(some).double().sum(0) for some, whose in parts]
        return torch.cat(found).view(len(centre), -1)

    def _coordinates(self, owner: Tensor) -> Coordinates:
        """The coordinates of examples, one sample each."""
        some = Batch(*(None if field is None else field[owner] for field in self.batch))
        return Coordinates(self.vae, some, [None] * len(self.vae.layers))


def _by_owner(log_values: Tensor, owner: Tensor, n: int) -> Tensor:
    """log Σ e^v for each owner, (n,)."""
    most = torch.full((n,), -math.inf, dtype=torch.float64).scatter_reduce(0, owner, log_values, "amax")
    shifted = (log_values - most[owner]).exp()
    return most + torch.zeros(n, dtype=torch.float64).index_add(0, owner, shifted).log()
