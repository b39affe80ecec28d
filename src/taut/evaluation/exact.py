"""log p(x) and p(z|x) of models with one or two latents, by quadrature to as many digits as are asked for.

In the coordinates u of :mod:`taut.evaluation.coordinates` (from the prior: noise where it knows its noise),

    p(x) = ∫ f(u) du,   f(u) = r(u) p(x|z(u))

The posterior may be a ridge or a few needles in a plane where f is nothing elsewhere. So space is cut into cells, and a cell into
halves along each axis until it is done. With I the Gauss–Legendre rule of a cell, a cell is done when

    it is known        |I − Σ I of its parts| ≤ δ p̂(x), and log f varies over it by no more than 12 nats; or
    it cannot matter   (greatest log f seen in it) + (how far log f varies over it) + log volume ≤ log δ p̂(x)

The second looks at log f, which is as smooth as the network: where f has a needle, log f is a hill, seen from afar by its slope.
The first box is grown by doubling until what is added is below δ. Everything is in double precision. The errors of done cells
and the last shell add up to a bound that holds unless the network hides a hill between nodes.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from taut.data import Batch
from taut.errors import InputError
from taut.evaluation.coordinates import Coordinates, require_real, still
from taut.model import VAE, follow

__all__ = ["Grid", "Quadrature", "modes", "on_grid", "quadrature", "require_small"]

MOST = 2  # latents
NODES = 4  # of the rule, along each axis
VARIES = 12.0  # nats, at most, over a cell that is known
DEPTH, DOUBLINGS = 60, 60
ROWS = 2**14  # of u at once
DRAWS = 400


@dataclass(frozen=True)
class Quadrature:
    """Of B examples.

    Attributes:
        log_p: log p(x), (B,) nats.
        error: of it, (B,) nats.
        draws: z from p(z|x), as near as the cells are small, (B, S, D), layers side by side.
    """

    log_p: Tensor
    error: Tensor
    draws: Tensor


@dataclass(frozen=True)
class Grid:
    """Densities of one example's z on a grid, natural logarithms.

    Attributes:
        axes: the values of each latent, D of (G,).
        posterior: log p(z|x), (G,) or (G, G), the first axis the first latent's.
        q: log q(z|x) likewise; none for a point posterior.
        prior: log p(z) likewise.
        centre: where q has its mean, (D,).
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


def quadrature(vae: VAE, batch: Batch, tolerance: float = 1e-6) -> Quadrature:
    """log p(x) of B examples to within a tolerance in nats, and draws from the exact posterior."""
    with torch.no_grad(), still(_wide(vae)) as wide:
        batch = Batch(*(None if field is None else field.cpu() for field in batch))
        cells = _Cells(wide, batch._replace(x=batch.x.double()), tolerance)
        log_p, error = cells.sum()
        return Quadrature(log_p, error, cells.draws(DRAWS))


def on_grid(vae: VAE, example: Batch, log_p: float, limits: list[tuple[float, float]], points: int) -> Grid:
    """The densities of one example, on a grid over the limits of each latent.

    Args:
        vae: the model.
        example: a batch of one.
        log_p: log p(x), nats.
        limits: of each latent.
        points: along each axis.
    """
    with torch.no_grad(), still(_wide(vae)) as wide:
        example = Batch(*(None if field is None else field.cpu() for field in example))
        example = example._replace(x=example.x.double())
        axes = [torch.linspace(low, high, points, dtype=torch.float64) for low, high in limits]
        places = torch.cartesian_prod(*axes).view(-1, len(axes))
        evidence = wide.evidence(example)
        found: list[list[Tensor]] = [[], [], []]
        for some in places.split(ROWS):
            n = len(some)
            sizes = [math.prod(layer.event) for layer in wide.layers]
            values = [z.view(n, *layer.event) for z, layer in zip(some.split(sizes, 1), wide.layers, strict=True)]
            many = Batch(
                example.x.expand(n, *example.x.shape[1:]),
                None if example.mask is None else example.mask.expand(n, *example.mask.shape[1:]),
            )
            trace = wide.descend(wide.root(n), [e.expand(n, *e.shape[1:]) for e in evidence], follow(values))
            log_prior = trace.log_prior()[0]
            found[0].append(trace.log_likelihood(many)[0] + log_prior - log_p)
            found[1].append(trace.log_posterior()[0])
            found[2].append(log_prior)
        shape = (points,) * len(axes)
        posterior, q, prior = (torch.cat(part).view(shape).numpy() for part in found)
        first = wide(example)
        centre = torch.cat([step.q.mean.flatten(1) for step in first.steps], 1)[0].numpy()
        return Grid(tuple(axis.numpy() for axis in axes), posterior, q if first.proper else None, prior, centre)


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
    return count


def _wide(vae: VAE) -> VAE:
    return copy.deepcopy(vae).cpu().double()


class _Cells:
    """The cells of B examples: centres (C, D), half-widths (C, D) and whose they are (C,)."""

    def __init__(self, vae: VAE, batch: Batch, tolerance: float) -> None:
        self.vae, self.batch, self.tolerance = vae, batch, tolerance
        self.size = sum(math.prod(layer.event) for layer in vae.layers)
        nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(NODES))
        self.nodes = torch.cartesian_prod(*[nodes] * self.size).view(-1, self.size)
        self.log_weights = torch.cartesian_prod(*[weights] * self.size).view(-1, self.size).log().sum(1)
        self.known: list[tuple[Tensor, Tensor, Tensor]] = []  # u of nodes, log of their mass, whose they are
        n = len(batch.x)
        self.total = torch.full((n,), -math.inf, dtype=torch.float64)  # log Σ I of done cells
        self.error = torch.zeros(n, dtype=torch.float64)

    def sum(self) -> tuple[Tensor, Tensor]:
        n = len(self.batch.x)
        reach = self._first_reach()
        self._refine(*self._block(torch.arange(n), reach, 4))
        growing = torch.arange(n)
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
        trace, _ = self._coordinates(owners).trace(torch.cat(points))
        return torch.cat([step.z.flatten(1) for step in trace.steps], 1).view(len(points), count, self.size)

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
        """Cut cells until all are done."""
        log_i = self._rule(centre, half, owner)[0].logsumexp(1)
        corners = torch.tensor(list(product((-1.0, 1.0), repeat=self.size)), dtype=torch.float64)
        parts = len(corners)
        for _ in range(DEPTH):
            if not len(centre):
                return
            centre = (centre.unsqueeze(1) + 0.5 * half.unsqueeze(1) * corners).flatten(0, 1)
            half, owner = 0.5 * half.repeat_interleave(parts, 0), owner.repeat_interleave(parts)
            log_mass, highest, varies = self._rule(centre, half, owner)
            found = log_mass.logsumexp(1)
            log_p = torch.logaddexp(self.total, _by_owner(found, owner, len(self.total)))
            together = found.view(-1, parts).logsumexp(1)
            limit = log_p[owner.view(-1, parts)[:, 0]]
            error = ((log_i - limit).exp() - (together - limit).exp()).abs()
            small = self.tolerance / 1000
            error = error.repeat_interleave(parts)
            most = (highest + varies + (2 * half).log().sum(1) - log_p[owner]).exp()  # a share of p(x)
            idle = most <= small
            done = idle | ((error <= small) & (varies <= VARIES))
            error = torch.where(idle, most, error / parts)
            self._keep(centre, half, owner, log_mass, done & (found > log_p[owner] + math.log(small)))
            self.total = torch.logaddexp(self.total, _by_owner(found[done], owner[done], len(self.total)))
            self.error.index_add_(0, owner[done], error[done])
            centre, half, owner, log_i = centre[~done], half[~done], owner[~done], found[~done]
        raise InputError("exact", "does not come to an end: the posterior is too rough", "anneal instead: --ais")

    def _keep(self, centre: Tensor, half: Tensor, owner: Tensor, log_mass: Tensor, which: Tensor) -> None:
        """Keep the nodes of some cells, to draw from."""
        nodes = (centre[which].unsqueeze(1) + half[which].unsqueeze(1) * self.nodes).flatten(0, 1)
        self.known.append((nodes, log_mass[which].flatten(), owner[which].repeat_interleave(len(self.nodes))))

    def _rule(self, centre: Tensor, half: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log (weight × f) at the nodes of each cell (C, nodes), the greatest log f among them, and how far it is above the
        least, (C,) each."""
        per_cell = len(self.nodes)
        log_mass, highest, varies = [], [], []
        for i in torch.arange(len(centre)).split(max(1, ROWS // per_cell)):
            u = (centre[i].unsqueeze(1) + half[i].unsqueeze(1) * self.nodes).flatten(0, 1)
            log_f = self._coordinates(owner[i].repeat_interleave(per_cell))(u).sum(0).view(-1, per_cell)
            log_mass.append(log_f + self.log_weights + half[i].log().sum(1, keepdim=True))
            highest.append(log_f.amax(1))
            varies.append(highest[-1] - log_f.amin(1))
        return torch.cat(log_mass), torch.cat(highest), torch.cat(varies)

    def _coordinates(self, owner: Tensor) -> Coordinates:
        """The coordinates of examples, one sample each."""
        some = Batch(*(None if field is None else field[owner] for field in self.batch))
        return Coordinates(self.vae, some, [None] * len(self.vae.layers))


def _by_owner(log_values: Tensor, owner: Tensor, n: int) -> Tensor:
    """log Σ e^v for each owner, (n,)."""
    most = torch.full((n,), -math.inf, dtype=torch.float64).scatter_reduce(0, owner, log_values, "amax")
    shifted = (log_values - most[owner]).exp()
    return most + torch.zeros(n, dtype=torch.float64).index_add(0, owner, shifted).log()
