"""From an array as the user stores it to the content of a file, and back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taut.codec.bitsback import Plan, Progress, compress, decompress, threads
from taut.codec.coder import import_constriction
from taut.codec.file import Header, checksum, here, pack, unpack
from taut.data import Reading, Split
from taut.data.reading import draw_static
from taut.errors import InputError
from taut.evaluation.ledger import digest_of
from taut.model import VAE

__all__ = ["Archive", "compressed", "decompressed"]


@dataclass(frozen=True)
class Archive:
    """Examples in a file.

    Attributes:
        content: of the file.
        images: how many examples.
        bits_per_dim: of the whole file, header and borrowed bits included, for each element of x.
        elbo_bits_per_dim: −ELBO of the same examples, at the latents that were coded.
        ratio: how many times larger they are with each value in ⌈log₂ levels⌉ bits.
        initial_bits: those borrowed, which are part of the file.
    """

    content: bytes
    images: int
    bits_per_dim: float
    elbo_bits_per_dim: float
    ratio: float
    initial_bits: int

    def summary(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {
            "images": self.images,
            "bytes": len(self.content),
            "bits_per_dim": self.bits_per_dim,
            "elbo_bits_per_dim": self.elbo_bits_per_dim,
            "ratio": self.ratio,
            "initial_bits": self.initial_bits,
        }


def whole(split: Split, reading: Reading, seed: int) -> Tensor:
    """Examples as the whole numbers that the model is of, (N, *shape); what training draws anew each time is drawn once."""
    if reading.binarize == "dynamic":
        return torch.from_numpy(draw_static(split.x.numpy(), reading.grey, seed))
    return split.x


def compressed(
    vae: VAE, reading: Reading, split: Split, seed: int = 0, progress: Progress = lambda done, total: None
) -> Archive:
    """Examples as a file's content.

    Args:
        vae: the model, not learning.
        reading: how the examples were read.
        split: the examples.
        seed: of the borrowed bits, and of a binarisation that is drawn.
        progress: told how many examples are done, of how many.

    Raises:
        InputError: where constriction is missing, or x is no whole numbers.
    """
    import_constriction()
    x, levels, place = whole(split, reading, seed), reading.support.levels, here()
    with threads(place["threads"]):
        message = compress(vae, x, levels, seed, progress)
    raw = reading.restore(x)
    header = Header(digest_of(vae.state_dict()), checksum(raw), raw.shape[1:], **asdict(message.plan), **place)
    content = pack(header, message.words)
    size = x.numel()
    return Archive(
        content,
        images=len(x),
        bits_per_dim=8 * len(content) / size,
        elbo_bits_per_dim=-message.elbo * len(x) / (size * math.log(2)),
        ratio=size * math.ceil(math.log2(levels)) / (8 * len(content)),
        initial_bits=message.lent,
    )


def decompressed(
    vae: VAE, reading: Reading, content: bytes, name: str = "FILE", progress: Progress = lambda done, total: None
) -> np.ndarray:
    """The examples in a file's content, (N, *raw shape), as the user stores them.

    Args:
        vae: the model that wrote the file.
        reading: how the examples were read.
        content: of the file.
        name: what errors call it.
        progress: told how many examples are done, of how many.

    Raises:
        InputError: where the file is damaged, is of another model, or decodes to something else than was coded.
    """
    import_constriction()
    header, words = unpack(content, name)
    weights = digest_of(vae.state_dict())
    if header.model != weights:
        held = f"{header.count:,} examples of shape {'×'.join(map(str, header.shape))}"
        raise InputError(name, f"holds {held} compressed by another model (weights {header.model}, here {weights})",
                         "give the run that compressed it")  # fmt: skip
    with threads(header.threads):
        found = reading.restore(decompress(vae, words, Plan(header.count, header.most, header.share), progress))
    if checksum(found) != header.data:
        there, place = _made(asdict(header)), _made(here())
        why, mend = (f": it was made by {there}, and this is {place}", "decode it where it was made")
        why, mend = ("", "compress it again") if there == place else (why, mend)
        raise InputError(name, f"decodes to other data than were compressed{why}", mend)
    return found


def _made(place: dict[str, Any]) -> str:
    return f"torch {place['torch']} with constriction {place['coder']} on {place['cpu']}"
