"""Bits-back coding: examples pushed on a stack of bits at the price of their evidence lower bound.

With one layer of latents, an example x goes on the stack by

    pop z ~ q(z|x),   push x under p(x|z),   push z under p(z)      −log p(x|z) − log p(z) + log q(z|x) nats

whose mean over q is −ELBO (Townsend, Bird and Barber 2019). The bits that z was drawn by are not lost: who decodes pops z and
x, and knowing both pushes z under q(z|x). With several layers the pops are the walk down the model, z_l ~ q(z_l | z_<l, x), and
what was picked is pushed from the bottom up, so that it is popped by a walk down the model too, z_l ~ p(z_l | z_<l). Here x
and every layer depend on all layers above them, so that no push can come before the last pop, as it could in a chain
(Bit-Swap: Kingma, Abbeel and Ho 2019); what this costs are the first bits, which are borrowed once.

Examples are coded in batches: all their pops, then all their pushes. The first is a single one, and the next take as many as
the stack has bits for, so that hardly anything is borrowed after it. Without latents nothing is popped.

Both ways run the same networks on the same numbers in the same shapes with the same number of threads, since a probability
that were off in its last digit would be another code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.codec.coder import Coder
from taut.codec.frames import Levels
from taut.codec.latents import latents
from taut.data import Batch
from taut.distributions import Conditional, Position
from taut.model import VAE, Site, Step

__all__ = ["Message", "Plan", "Progress", "compress", "decompress", "threads"]

MOST = 256  # examples in a batch
NUMBERS = 2**24  # probabilities held at once
TRIAL = 4  # examples coded one by one, to see what they take and leave
MARGIN = 0.75  # of what is left, since examples differ
LARGEST_SHARE = 0.5  # with which examples up to the trial are single ones


@dataclass(frozen=True)
class Plan:
    """How examples are cut into batches: as many at once as a share of those that came before, between one and a most.

    Attributes:
        count: how many examples there are.
        most: in a batch.
        share: of those before; ``None`` where nothing need be popped, so that all batches have the most.
    """

    count: int
    most: int
    share: float | None

    def batch(self, done: int) -> int:
        """The size of the batch that comes after so many examples."""
        size = self.most if self.share is None else max(1, min(self.most, int(self.share * done)))
        return min(size, self.count - done)

    @property
    def batches(self) -> list[int]:
        """All sizes in order."""
        sizes, done = [], 0
        while done < self.count:
            sizes.append(self.batch(done))
            done += sizes[-1]
        return sizes


@dataclass(frozen=True)
class Message:
    """Examples in bits.

    Attributes:
        words: the stack, (W,) uint32.
        plan: how they were cut into batches.
        lent: bits that the first examples borrowed; they are part of the words.
        elbo: the evidence lower bound of the examples, their mean, at the latents that were picked; nats.
    """

    words: np.ndarray
    plan: Plan
    lent: int
    elbo: float


Progress = Callable[[int, int], None]


def compress(vae: VAE, x: Tensor, levels: int, seed: int = 0, progress: Progress = lambda done, total: None) -> Message:
    """The examples x (N, *shape), whole numbers from 0 to levels − 1, on a stack.

    Args:
        vae: the model, not learning, every part of it codable.
        x: the examples.
        levels: how many values an element has.
        seed: of the bits that the first latents are drawn by.
        progress: told how many examples are done, of how many.
    """
    coder = Coder(random=np.random.default_rng(seed) if vae.layers else None)
    most = max(1, min(MOST, NUMBERS // (levels * x[0].numel())))
    plan = Plan(len(x), most, 0.0 if vae.layers else None)
    nats, taken, done = 0.0, 0, 0
    with torch.no_grad():
        while done < len(x):
            size = plan.batch(done)
            some = x[done : done + size].to(vae.shift.dtype, copy=True)  # memory of its own, as who decodes has it
            cost, bits = _push_batch(vae, coder, Batch(some))
            nats, taken, done = nats + cost, taken + bits, done + size
            if done == TRIAL and vae.layers:
                plan = replace(plan, share=_share(coder.bits - coder.lent, taken))
            progress(done, len(x))
    return Message(coder.words(), plan, coder.lent, -nats / len(x))


def _share(kept: int, taken: int) -> float:
    """Of examples that left so many bits and took so many meanwhile: the share that the bits left can serve at once."""
    return round(max(0.0, min(LARGEST_SHARE, MARGIN * kept / max(1, taken))), 3)


def _push_batch(vae: VAE, coder: Coder, batch: Batch) -> tuple[float, int]:
    """Push a batch; returns what its bounds say that it costs, in nats, and how many bits its latents took meanwhile."""
    picked = []
    before = coder.bits - coder.lent

    def pick(site: Site) -> Step:
        layer = latents(site.p)
        word = layer.pop_by(coder, site.q)
        picked.append((layer, word))
        return Step(site.q, site.p, word.z)

    trace = vae(batch, pick=pick)
    taken = before - (coder.bits - coder.lent)
    _push_data(coder, trace.likelihood, batch.x)
    for layer, word in reversed(picked):
        layer.push(coder, word)
    rate = trace.rate().double().sum().item() if picked else 0.0
    return trace.distortion(batch).double().sum().item() + rate, taken


def _push_data(coder: Coder, likelihood: Distribution, x: Tensor) -> None:
    known, asked = x.flatten(1).long(), []

    def choose(conditional: Conditional, position: Position) -> Tensor:
        asked.append((conditional, known[:, position]))
        return known[:, position]

    likelihood.walk(choose)
    for conditional, symbols in reversed(asked):
        Levels().push(coder, conditional, symbols)


def decompress(vae: VAE, words: np.ndarray, plan: Plan, progress: Progress = lambda done, total: None) -> Tensor:
    """The examples (N, *shape) of a message, in the type of the model's numbers.

    Args:
        vae: the model that wrote it.
        words: the stack, (W,) uint32.
        plan: how many examples there are, and in which batches they went on the stack.
        progress: told how many examples are done, of how many.
    """
    coder, left = Coder(words), plan.count
    # of all at once, so that a count for which there is no room is refused before anything is decoded
    found = torch.empty(plan.count, *vae.shift.shape, dtype=vae.shift.dtype)
    with torch.no_grad():
        for size in reversed(plan.batches):
            left -= size
            found[left : left + size] = _pop_batch(vae, coder, size)
            progress(plan.count - left, plan.count)
    return found


def _pop_batch(vae: VAE, coder: Coder, size: int) -> Tensor:
    picked = []

    def pick(site: Site) -> Step:
        layer = latents(site.p)
        word = layer.pop(coder)
        picked.append((site, layer, word))
        return Step(site.p, site.p, word.z, word.z.new_zeros(size))  # nobody asks this trace for densities

    likelihood = vae.generate(size, pick).likelihood
    x = likelihood.walk(lambda conditional, position: Levels().pop(coder, conditional)).to(vae.shift.dtype)
    for (site, layer, word), evidence in reversed(list(zip(picked, vae.evidence(Batch(x)), strict=True))):
        layer.push_by(coder, replace(site, evidence=evidence).q, word)
    return x


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads inside: sums are cut by their number, and a sum cut otherwise is another one."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
