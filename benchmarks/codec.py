"""Test data in bytes: bits-back coding by trained runs beside gzip, bz2, xz and PNG.

    TAUT_DATA=DIR python benchmarks/codec.py RUN [RUN …] [--limit N] [--out benchmarks/codec]

For each run its test split, as whole numbers, is written by every method and read back; both must give every byte. The run's
file is decoded once here, for the time, and once by ``taut decompress`` in a process of its own. Each general method
gets the better of what it could be given: for bits, packed eight to a byte or one a byte; for PNG, a file an
image or all images in one tall one. Seconds are of the processor, one thread, loading excluded; bits/dim count the whole file.

Writes a table (.md) and the numbers (.json).
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import taut
from taut.codec.archive import whole
from taut.data import Split


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What work gives, and the processor's seconds that it took."""
    began = time.process_time()
    return work(), time.process_time() - began


def forms(x: np.ndarray) -> dict[str, np.ndarray]:
    """What a general method may be given: bytes as they are, and bits packed."""
    return {"": x} | ({" of packed bits": np.packbits(x)} if x.max() <= 1 else {})


def general(
    name: str, pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes], x: np.ndarray
) -> dict[str, Any]:
    """The row of a method from bytes to bytes: of its better form."""
    rows = []
    for form, values in forms(x).items():
        data = values.tobytes()
        content, there = timed(lambda data=data: pack(data))
        found, back = timed(lambda content=content: unpack(content))
        assert found == data
        rows.append({"method": name + form, "bytes": len(content), "there": there, "back": back})
    return min(rows, key=lambda row: row["bytes"])


def png(x: np.ndarray) -> dict[str, Any]:
    """The row of PNG: of one file an image or one tall picture."""
    binary = x.max() <= 1
    rows = []
    for name, pictures in (("PNG, a file an image", list(x)), ("PNG, one tall image", [x.reshape(-1, x.shape[-1])])):
        contents, there = timed(lambda pictures=pictures: [_png(picture, binary) for picture in pictures])
        found, back = timed(lambda contents=contents: [np.asarray(Image.open(io.BytesIO(c))) for c in contents])
        assert all((f == p).all() for f, p in zip(found, pictures, strict=True))
        rows.append({"method": name, "bytes": sum(map(len, contents)), "there": there, "back": back})
    return min(rows, key=lambda row: row["bytes"])


def _png(picture: np.ndarray, binary: bool) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(picture.astype(bool) if binary else picture)
    image.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def model(folder: Path, run: taut.Run, split: Split, x: np.ndarray) -> dict[str, Any]:
    """The row of a run, decoded in this process and in another."""
    archive, there = timed(lambda: run.compress(split))
    found, back = timed(lambda: run.decompress(archive.content))
    assert found.tobytes() == x.tobytes()
    with tempfile.TemporaryDirectory() as place:
        file, out = Path(place, "file"), Path(place, "x.npy")
        file.write_bytes(archive.content)
        command = ["-m", "taut.cli", "decompress", str(folder), str(file), "-o", str(out), "--quiet"]
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        again = np.load(out)
    assert again.dtype == x.dtype and again.tobytes() == x.tobytes()
    return {
        "method": f"taut, {folder.name}",
        "bytes": len(archive.content),
        "there": there,
        "back": back,
        **archive.summary(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/codec"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    tables: dict[str, list[dict[str, Any]]] = {}
    for folder in args.runs:
        run = taut.load(folder)
        split = run.test_split().take(slice(args.limit))
        x = run.reading.restore(whole(split, run.reading, seed=0))
        title = f"{run.reading.name}, {run.reading.support}, {len(x):,} test images"
        if title not in tables:
            tables[title] = [
                general("gzip -9", lambda data: gzip.compress(data, 9), gzip.decompress, x),
                general("bz2 -9", lambda data: bz2.compress(data, 9), bz2.decompress, x),
                general("xz -9e", lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), lzma.decompress, x),
                png(x),
            ]
        tables[title].append(model(folder, run, split, x))
        for row in tables[title]:
            row["bits_per_dim"] = 8 * row["bytes"] / x.size
    lines = []
    for title, rows in tables.items():
        lines += [
            title,
            "",
            "| method | bytes | bits/dim | −ELBO, bits/dim | s to compress | s to decompress |",
            "|---|---|---|---|---|---|",
        ]
        for row in sorted(rows, key=lambda row: -row["bytes"]):
            bound = f"{row['elbo_bits_per_dim']:.4f}" if "elbo_bits_per_dim" in row else ""
            seconds = f"{row['there']:.1f} | {row['back']:.1f}"
            lines.append(f"| {row['method']} | {row['bytes']:,} | {row['bits_per_dim']:.4f} | {bound} | {seconds} |")
        lines.append("")
    print(*lines, sep="\n")
    args.out.with_suffix(".md").write_text("\n".join(lines))
    args.out.with_suffix(".json").write_text(json.dumps(tables, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
