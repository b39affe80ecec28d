"""The compressed file: a header that says what is needed to decode, then the stack of bits.

    8 bytes    "taut ans"
    8 bytes    size of the whole file
    16 bytes   checksum of everything but itself
    2 bytes    length of the header
               the header, JSON
               the stack, 32-bit words

Numbers are little-endian, checksums the first bytes of SHA-256. So a flipped bit is found wherever it is, and a file that is
cut short is known for what it is.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from taut.errors import InputError

__all__ = ["Header", "checksum", "here", "pack", "unpack"]

MAGIC = b"taut ans"
FORMAT = 2
MOST_THREADS = 4096  # a header that asks for more is none
START = struct.Struct("<8sQ16sH")


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        model: digest of the weights.
        data: checksum of the decoded array.
        shape: of one example in that array.
        count, most, share: of the plan by which examples are cut into batches.
        threads: with how many the networks ran.
        torch: by which version.
        cpu: on processors with which instructions.
        coder: version of the package that did the arithmetic.
        format: version of the format.
    """

    model: str
    data: str
    shape: tuple[int, ...]
    count: int
    most: int
    share: float | None
    threads: int
    torch: str
    cpu: str
    coder: str
    format: int = FORMAT

    def __post_init__(self) -> None:
        sound = (
            self.format == FORMAT
            and all(isinstance(getattr(self, name), str) for name in ("model", "data", "torch", "cpu", "coder"))
            and isinstance(self.shape, list | tuple)  # JSON knows lists only
            and all(type(number) is int and number > 0 for number in (*self.shape, self.count, self.most, self.threads))
            and self.threads <= MOST_THREADS
            and (self.share is None or 0 <= self.share <= 1)
        )
        if not sound:
            raise ValueError("a header of another kind")


def here() -> dict[str, Any]:
    """The fields of a header that say by what the numbers are made."""
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "coder": version("constriction"),
    }


def checksum(array: np.ndarray) -> str:
    """Of an array's type, shape and values, 32 hexadecimal digits."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def pack(header: Header, words: np.ndarray) -> bytes:
    """The content of a file."""
    body = json.dumps(asdict(header), separators=(",", ":")).encode()
    rest = body + words.astype("<u4").tobytes()
    size = START.size + len(rest)
    return START.pack(MAGIC, size, _digest(size, len(body), rest), len(body)) + rest


def unpack(content: bytes, name: str) -> tuple[Header, np.ndarray]:
    """Header and stack of the content of a file.

    Raises:
        InputError: where it is no such file, was cut short, or was changed.
    """
    mend = "compress again, or restore it from a copy"
    if content[: len(MAGIC)] != MAGIC[: len(content)] or not content:
        raise InputError(name, "is no file that `taut compress` made", "give one that it made")
    if len(content) < START.size:
        raise InputError(name, f"is cut short: it has {len(content)} bytes, less than a header", mend)
    _, size, digest, length = START.unpack_from(content)
    if len(content) < size:
        raise InputError(name, f"is cut short: {len(content):,} of {size:,} bytes", mend)
    rest = content[START.size :]
    if len(content) != size or _digest(size, length, rest) != digest:
        raise InputError(name, "is damaged: its checksum is wrong", mend)
    try:
        return Header(**json.loads(rest[:length])), np.frombuffer(rest[length:], "<u4").astype(np.uint32)
    except (ValueError, TypeError, RecursionError):
        raise InputError(name, f"is of another format than {FORMAT}", "use the version of taut that made it") from None


def _digest(size: int, length: int, rest: bytes) -> bytes:
    return hashlib.sha256(struct.pack("<8sQH", MAGIC, size, length) + rest).digest()[:16]
