"""Binary frames: a JSON header and raw arrays in one message, so that a picture is drawn from the bytes that were sent.

    u32 little-endian   the header's length, padding included
    header              {"id", "kind", …, "arrays": [{"name", "dtype", "shape"}]}, JSON, spaces up to a multiple of 8 bytes
    arrays              one after the other, little-endian, row by row, each padded with zeros to a multiple of 8 bytes

The four bytes of the length count as part of the header's padding: every array starts at a multiple of 8.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["pack", "unpack"]

DTYPES = ("uint8", "int16", "int32", "float32", "float64")  # those that a browser has arrays of


def pack(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """A frame of plain values and arrays; arrays of other types become the nearest that a browser knows.

    >>> meta, arrays = unpack(pack({"id": 1, "kind": "decode"}, {"x": np.arange(3)}))
    >>> meta["id"], arrays["x"].tolist(), arrays["x"].dtype
    (1, [0, 1, 2], dtype('int32'))
    """
    held = {name: _known(array) for name, array in (arrays or {}).items()}
    listed = [{"name": name, "dtype": array.dtype.name, "shape": array.shape} for name, array in held.items()]
    header = json.dumps({**meta, "arrays": listed}, ensure_ascii=False, allow_nan=False).encode()
    header += b" " * (-(len(header) + 4) % 8)
    body = b"".join(array.tobytes() + b"\0" * (-array.nbytes % 8) for array in held.values())
    return struct.pack("<I", len(header)) + header + body


def unpack(frame: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What :func:`pack` packed."""
    (length,) = struct.unpack_from("<I", frame)
    meta = json.loads(frame[4 : 4 + length])
    arrays, start = {}, 4 + length
    for item in meta.pop("arrays"):
        array = np.frombuffer(frame, item["dtype"], int(np.prod(item["shape"], dtype=np.int64)), start)
        arrays[item["name"]] = array.reshape(item["shape"])
        start += array.nbytes + -array.nbytes % 8
    return meta, arrays


def _known(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.name not in DTYPES:
        array = array.astype(np.int32 if array.dtype.kind in "iub" else np.float32)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
