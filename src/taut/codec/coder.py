"""The entropy coder: a stack of bits, by asymmetric numeral systems.

A stack of bits is a whole number s. A symbol with a share of f among 2²⁴ places, of which it has those from c on, is pushed
by making s larger by the factor 2²⁴/f, and popped by the exact inverse (Duda 2009):

    push   s → 2²⁴ ⌊s/f⌋ + c + s mod f
    pop    the symbol is the one that has the place s mod 2²⁴;   s → f ⌊s/2²⁴⌋ + s mod 2²⁴ − c

So a push costs log₂ 2²⁴/f bits, and a pop yields them: random bits are a source of draws from any distribution, and the draw
gives them back. Probabilities become shares by one rule, scaled and rounded in single precision, with one place at least
for every symbol: what has no chance at all can be coded too, at 24 bits.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from taut.errors import InputError

__all__ = ["Coder", "import_constriction"]

WORD = 32  # bits
LEAST = 2 * WORD  # bits below which the top is no longer a whole state, and nothing could be put under it
MOST = 24  # bits that a symbol can take


def import_constriction() -> ModuleType:
    """The package that does the arithmetic.

    Raises:
        InputError: where it is not installed.
    """
    try:
        import constriction
    except ImportError:
        raise InputError("codec", "needs the package constriction", "pip install 'taut[codec]'") from None
    return constriction


class Coder:
    """A stack of bits.

    Args:
        words: what it holds, 32 bits each, (W,) uint32.
        random: where bits come from that are popped before anything was pushed; they are put under the stack.

    Attributes:
        lent: how many bits it took from there.

    >>> coder = Coder()
    >>> weights = torch.tensor([[0.5, 0.25, 0.25], [0.9, 0.05, 0.05]])
    >>> coder.push(torch.tensor([2, 0]), weights)
    >>> coder.pop(weights)
    tensor([2, 0])
    """

    random: np.random.Generator | None
    lent: int

    def __init__(self, words: np.ndarray | None = None, random: np.random.Generator | None = None) -> None:
        stream = import_constriction().stream
        self._new, self._family = stream.stack.AnsCoder, stream.model.Categorical(perfect=False)
        self._stack = self._new() if words is None else self._new(words)
        self.random, self.lent = random, 0
        if random is not None:
            self._borrow(LEAST)

    @property
    def bits(self) -> int:
        """How many it holds, to the word."""
        return self._stack.num_bits()

    def words(self) -> np.ndarray:
        """All that it holds, (W,) uint32."""
        return self._stack.get_compressed()

    def push(self, levels: Tensor, weights: Tensor) -> None:
        """Push levels (...) of probabilities in proportion to weights (..., L), the last first: :meth:`pop` gives the first."""
        self._stack.encode_reverse(levels.reshape(-1).to(torch.int32).numpy(), self._family, _rows(weights))

    def pop(self, weights: Tensor) -> Tensor:
        """Levels (...) of int64, drawn in proportion to weights (..., L) by the bits that they take off the stack."""
        rows = _rows(weights)
        safe = self.random is None or self.bits >= MOST * len(rows) + LEAST
        levels = self._stack.decode(self._family, rows) if safe else self._pop_or_borrow(rows)
        return torch.from_numpy(levels.astype(np.int64)).view(weights.shape[:-1])

    def _pop_or_borrow(self, rows: np.ndarray) -> np.ndarray:
        """Pop; if that leaves too little, first put under the stack what such levels are expected to take beyond it."""
        while True:
            stack = self._stack.clone()
            levels = stack.decode(self._family, rows)
            if stack.num_bits() >= LEAST:
                self._stack = stack
                return levels
            share = rows / rows.sum(1, keepdims=True)
            expected = -float((share * np.log2(share, where=share > 0, out=np.zeros_like(share))).sum())
            self._borrow(max(0.0, expected - self.bits) + LEAST)

    def _borrow(self, bits: float) -> None:
        under = self.random.integers(1, 2**WORD, math.ceil(bits / WORD), dtype=np.uint32)
        self._stack = self._new(np.concatenate([under, self.words()]))
        self.lent += WORD * len(under)


def _rows(weights: Tensor) -> np.ndarray:
    if not weights.isfinite().all():
        raise InputError("RUN", "gives probabilities that are no numbers", "train the model again, more carefully")
    return weights.reshape(-1, weights.shape[-1]).to(torch.float32).contiguous().numpy()
