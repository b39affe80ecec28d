"""Examples that stay on the disk: the same bits as from memory, and no more memory than a batch needs."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taut.api import carry_out
from taut.config import parse
from taut.data import Data, Feed, open_array, open_data, stored
from taut.data.stored import Stored
from taut.errors import InputError
from taut.experiment import Experiment, resolve

GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (90, 6, 5)).astype(np.uint8)
KINDS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "bytes": (GREY, {}),
    "dynamic": (GREY, {"binarize": "dynamic"}),
    "dynamic of 16": (GREY // 16, {"binarize": "dynamic"}),
    "threshold": (GREY, {"binarize": "threshold"}),
    "static": (GREY, {"binarize": "static"}),
    "colours last": (GENERATOR.integers(0, 256, (60, 6, 5, 3)).astype(np.uint8), {}),
    "unit": (GREY / 255, {}),
    "real, a constant column": (np.insert(GENERATOR.standard_normal((70, 4)), 2, 1.5, 1), {}),
    "positive": (np.exp(GENERATOR.standard_normal((70, 4))), {"support": "positive"}),
    "counts with totals": (GENERATOR.poisson(3, (70, 5)), {"support": "counts", "offset": "library"}),
    "flat rows as images": (GREY.reshape(90, 30), {"shape": (6, 5)}),
    "signals": (GENERATOR.standard_normal((40, 2, 16)), {"layout": "signal"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_from_memory(tmp_path: Path, kind: str) -> None:
    raw, options = KINDS[kind]
    np.save(tmp_path / "x.npy", raw)
    memory, disk = (open_data(Data(str(tmp_path / "x.npy"), keep=keep, **options)) for keep in ("memory", "disk"))
    assert isinstance(disk.train.x, Stored) and isinstance(memory.train.x, torch.Tensor)
    assert (memory.hash, memory.reading, memory.record) == (disk.hash, disk.reading, disk.record)
    assert disk.train.x.shape == memory.train.x.shape and disk.train.x.dtype == memory.train.x.dtype
    assert torch.equal(memory.train.x, disk.train.x[:]) and torch.equal(memory.test.x, disk.test.x)
    assert any("stay on the disk" in note for note in disk.notes())
    a, b = memory.statistics(), disk.statistics()
    assert torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std)
    assert a.logs is b.logs or torch.equal(a.logs, b.logs)
    index = torch.tensor([5, 3, 3, 0, 20])
    batches = []
    for data in (memory, disk):
        torch.manual_seed(1)
        batches.append(Feed(data.train, data.reading).batch(index))
    for one, other in zip(*batches, strict=True):
        assert one is other or torch.equal(one, other)


def test_a_training_from_the_disk_ends_with_the_same_weights(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", GREY)
    runs = []
    for keep in ("memory", "disk"):
        tree = {"data": {"source": str(tmp_path / "x.npy"), "keep": keep, "binarize": "dynamic"},
                "training": {"steps": 20, "batch": 16, "device": "cpu"}, "model": {"network": "MLP"}}  # fmt: skip
        spec = parse(Experiment, tree)
        data = open_data(spec.data)
        runs.append(carry_out(resolve(spec, data), data))
    a, b = (run.vae.state_dict() for run in runs)
    assert all(torch.equal(weight, b[name]) for name, weight in a.items())
    assert runs[0].summary["elbo"] == runs[1].summary["elbo"] and runs[0].summary["draws"] == runs[1].summary["draws"]


def test_what_is_too_large_for_memory_stays_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", GREY)  # 72 × 30 bytes to train on
    for size, kept in ((4 * 72 * 30, torch.Tensor), (4 * 72 * 30 - 1, Stored)):
        monkeypatch.setattr("taut.data.dataset.memory", lambda size=size: size)
        assert isinstance(open_data(Data(str(tmp_path / "x.npy"))).train.x, kept)
    monkeypatch.setattr("taut.data.dataset.memory", lambda: 500)
    with pytest.raises(InputError, match=r"data\.valid: gives 9 validation examples.*give a smaller share"):
        open_data(Data(str(tmp_path / "x.npy")))
    with pytest.raises(InputError, match=r"data\.keep: gives 72 training examples.*say data\.keep disk"):
        open_data(Data(str(tmp_path / "x.npy"), keep="memory"))


class Noted:
    """Rows that say which thread read them, some of which are damaged."""

    def __init__(self, damaged: int = -1) -> None:
        self.read: list[tuple[list[int], str]] = []
        self.damaged = damaged

    def __len__(self) -> int:
        return len(GREY)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        self.read.append((index.tolist(), threading.current_thread().name))
        if self.damaged in index:
            raise InputError("data", "number 40 is damaged", "fetch it again")
        return GREY[index]


def test_the_next_batches_are_read_beside_the_step() -> None:
    raw = Noted()
    x = Stored(raw, open_array(GREY).reading)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    x.expect(order, 8, 2)
    assert torch.equal(x[order[16:24]][:, 0], torch.from_numpy(GREY[order[16:24]])), "the first that was promised"
    wait([future for _, future in x._ahead])
    x.rest()
    assert len(raw.read) == 1 + stored.AHEAD and {name.split("_")[0] for _, name in raw.read} == {"reading"}
    assert raw.read[1][0] == sorted(order[24:32].tolist()), "before anybody asked"
    x.expect(order, 8, 0)
    found = [x[order[k * 8 : k * 8 + 8]] for k in range(11)]
    assert torch.equal(torch.cat(found)[:, 0], torch.from_numpy(GREY[order[:88]]))
    assert len(raw.read) == 12 + stored.AHEAD, "nothing is read twice"
    before = len(raw.read)
    x.expect(order, 8, 0)
    assert x[torch.tensor([5])].shape == (1, 1, 6, 5), "what was not promised is read at once"
    x.rest()
    assert any(name == threading.current_thread().name for _, name in raw.read[before:])


def test_what_fails_ahead_fails_at_its_own_batch() -> None:
    x = Stored(Noted(damaged=40), open_array(GREY).reading)
    order = torch.arange(90)
    x.expect(order, 10, 0)
    for k in range(4):
        assert len(x[order[k * 10 : k * 10 + 10]]) == 10
    with pytest.raises(InputError, match="number 40 is damaged"):
        x[order[40:50]]
    x.rest()


@pytest.mark.parametrize("source", ["digits", "csv", "npz"])
def test_what_is_read_whole_cannot_stay_there(tmp_path: Path, source: str) -> None:
    if source == "csv":
        np.savetxt(tmp_path / "x.csv", GREY.reshape(90, 30), delimiter=",")
    elif source == "npz":
        np.savez(tmp_path / "x.npz", GREY)
    with pytest.raises(InputError, match=r"data\.keep: is disk, and .* is read whole; save one array"):
        open_data(Data(source if source == "digits" else str(tmp_path / f"x.{source}"), keep="disk"))


CHILD = """
import resource, sys, torch
from taut.api import overridden
from taut.config import parse
from taut.data import open_data
from taut.experiment import Experiment, resolve, train
def used():
    return 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmData")))
torch.set_num_threads(1)
train(small := resolve(parse(Experiment, {"data": {"source": "digits"}, "training": {"steps": 1}}), digits :=
      open_data(parse(Experiment, {"data": {"source": "digits"}}).data)), digits)
room, source, keep = sys.argv[1:]
limit = used() + int(room)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
tree = {"data": {"source": source, "keep": keep, "test": 1e-4, "valid": 1e-4, "binarize": "threshold"},
        "model": {"latents": 2, "network": "MLP"}, "training": {"steps": 30, "batch": 64, "device": "cpu", "validations": 1}}
spec = parse(Experiment, tree)
try:
    data = open_data(spec.data)
except MemoryError:
    sys.exit(3)
print(data.what(), *data.notes(), train(resolve(spec, data), data)[1]["steps"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
def test_a_file_larger_than_memory_is_trained_on(tmp_path: Path) -> None:
    """0.24 GB, most of it holes, by a process that may have 0.18 GB more than when it began; from memory it cannot."""
    n, path, room = 300_000, tmp_path / "x.npy", 180 * 2**20
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, 28, 28))
    x[:: n // 200] = GENERATOR.integers(0, 256, (200, 28, 28), dtype=np.uint8)
    del x
    for keep, status in (("disk", 0), ("memory", 3)):
        command = [sys.executable, "-c", CHILD, str(room), str(path), keep]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == status, done.stdout + done.stderr
        if keep == "disk":
            assert "0.235 GB of training examples stay on the disk" in done.stdout and done.stdout.endswith(" 30\n")
