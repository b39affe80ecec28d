"""What is measured: a model on examples, each of which is the same whatever is asked of it.

Dynamic binarisation and dequantisation draw x anew each time that an example is used. Two numbers of one example can be
compared only if they are of one draw: so here the draw depends on a seed and on the example's place, and neither on how
many examples are looked at nor on what is measured. Each measurement has seeds of its own, one for each few examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from taut.data import Batch, Feed, Reading, Split
from taut.errors import InputError
from taut.evaluation.ledger import Ledger, digest_of
from taut.machine import hold_memory
from taut.model import VAE
from taut.training import seeded

__all__ = ["Progress", "Subject", "Tick"]

BLOCK = 64  # examples whose random draws come from one seed

Progress = Callable[[float, int], None]
"""Told how many examples are done, and how many there are."""

Tick = Callable[[float], None]
"""Told the share of a batch that is done."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, and the examples of a split on which it is measured.

    Args:
        vae: the model, not learning.
        split: the examples.
        reading: how they were read.
        name: what the split is called.
        seed: of all draws.
        ledger: where results are kept.
        facts: what else results are known by: JSON-able.
    """

    vae: VAE
    split: Split
    reading: Reading
    name: str = "test"
    seed: int = 0
    ledger: Ledger = Ledger()
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.split)

    @cached_property
    def feed(self) -> Feed:
        """The examples on the model's device."""
        return Feed(self.split, self.reading, self.vae.dequantise, self.vae.shift.device)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What makes two results comparable or not: the data, how they are drawn, and the weights."""
        return {
            "data": self.reading.name,
            "split": self.name,
            "examples": digest_of(
                {"x": self.split.x}
                | {name: part for name in ("condition", "offset") if (part := getattr(self.split, name)) is not None}
            ),
            "support": str(self.reading.support),
            "binarisation": self.reading.binarize,
            "density": self.vae.decoder.head.spec.density(self.reading.support),
            "seed": self.seed,
            "weights": digest_of(self.vae.state_dict()),
            **self.facts,
        }

    def first(self, limit: int | None) -> Tensor:
        """The numbers of the first so many examples, or of all.

        Raises:
            InputError: for a limit below one.
        """
        require_positive("limit", limit)
        return torch.arange(min(len(self), limit or len(self)))

    def some(self, limit: int | None, among: Tensor | None = None) -> Tensor:
        """The numbers of so many examples at random, in order, the same at each call; all where there are no more.

        Args:
            limit: how many.
            among: the numbers (N,) to choose from; all if left open.
        """
        require_positive("limit", limit)
        among = torch.arange(len(self)) if among is None else among
        if limit is None or limit >= len(among):
            return among
        chosen = torch.randperm(len(among), generator=torch.Generator().manual_seed(self.seed))[:limit]
        return among[chosen.sort().values]

    def batch(self, index: Tensor) -> Batch:
        """The examples at an index (B,) in order: for one seed always the same numbers."""
        device = self.feed.x.device
        if self.reading.binarize != "dynamic" and not self.feed.dequantise:
            return self.feed.batch(index.to(device))
        rows = []
        for block in torch.unique_consecutive(index // BLOCK).tolist():
            start = block * BLOCK
            with seeded(seed_of(self.seed, "data", block), device):
                drawn = self.feed.batch(torch.arange(start, min(start + BLOCK, len(self)), device=device))
            own = (index[index // BLOCK == block] - start).to(device)
            rows.append([None if part is None else part[own] for part in drawn])
        return Batch(*(None if parts[0] is None else torch.cat(parts) for parts in zip(*rows, strict=True)))

    def measure(
        self,
        name: str,
        settings: dict[str, Any],
        compute: Callable[[Batch, Tick], dict[str, Tensor]],
        index: Tensor,
        progress: Progress = lambda done, total: None,
        size: int = BLOCK,
    ) -> dict[str, Tensor]:
        """Results of examples, a few at a time, kept as they come.

        Args:
            name: what is measured.
            settings: everything that it depends on besides the subject; JSON-able.
            compute: results of a batch, of one row an example or one a batch; draws from the default generator, which is
                seeded for it, and may tell the share of the batch that is done.
            index: which examples, in order.
            progress: told of what is done.
            size: examples together.

        Returns:
            The results one after another, on the host; and ``example``, the numbers of the examples.
        """
        hold_memory()
        parts = list(index.split(size))
        sizes = [0, *torch.tensor([len(part) for part in parts]).cumsum(0).tolist()]

        def one(i: int, part: Tensor) -> dict[str, Tensor]:
            batch = self.batch(part)
            with seeded(seed_of(self.seed, name, i), self.feed.x.device):
                found = compute(batch, lambda share: progress(sizes[i] + share * len(part), len(index)))
            return found | {"example": part}

        asked = {
            **self.identity,
            "measure": name,
            **settings,
            "n": len(index),
            "size": size,
            "index": digest_of({"i": index}),
        }
        was_training = self.vae.training
        self.vae.eval()
        try:
            return self.ledger.gather(name, asked, parts, one, lambda done: progress(sizes[done], len(index)))
        finally:
            self.vae.train(was_training)


def seed_of(seed: int, *what: object) -> int:
    """A seed for one purpose, unrelated to those for others."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 2


def require_positive(field: str, value: int | None) -> None:
    """Refuse a number below one.

    Raises:
        InputError: naming it.
    """
    if value is not None and value < 1:
        raise InputError(field, f"is {value}", "give 1 or more")
