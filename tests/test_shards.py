"""Shards: read where they lie, each process its own, in an order that a seed decides; what is broken is named in one line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import taut
from taut.api import carry_out, reopen
from taut.cli import main
from taut.config import parse
from taut.data import Data, Feed, open_data, read_like
from taut.data.shards import Shards, shard_paths
from taut.data.stored import Stored
from taut.errors import InputError
from taut.experiment import Experiment, resolve
from taut.training import Stopped

EACH = (30, 41, 25, 36, 28, 33)  # examples of each shard


def png(x: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(x).save(file, "PNG")
    return file.getvalue()


def npy(x: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def write(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            head = tarfile.TarInfo(name)
            head.size = len(content)
            tar.addfile(head, io.BytesIO(content))


def picture(i: int) -> np.ndarray:
    """Number i: its first pixel says so."""
    x = np.random.default_rng(i).integers(0, 256, (8, 6)).astype(np.uint8)
    x[0, 0] = i
    return x


def make(folder: Path, suffix: str = ".png", coded: Callable[[np.ndarray], bytes] = png, label: str = ".cls") -> Path:
    folder.mkdir()
    number = 0
    for shard, count in enumerate(EACH):
        members = []
        for _ in range(count):
            text = str(number % 3)
            text = json.dumps({"label": number % 3}) if label == ".json" else text
            members += [(f"{number:05d}{suffix}", coded(picture(number))), (f"{number:05d}{label}", text.encode())]
            number += 1
        write(folder / f"part-{shard:03d}.tar", members)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("shards") / "set")


def test_some_shards_are_held_out_and_the_others_read_as_needed(shards: Path) -> None:
    data = open_data(Data(str(shards)))
    held = [
        int(i) for i in np.random.RandomState(0).permutation(6)[:2]
    ]  # the rule that is stated: test, then validation
    assert [len(part) for part in (data.test, data.valid)] == [EACH[i] for i in held]
    assert len(data.train) == sum(EACH) - len(data.test) - len(data.valid) and isinstance(data.train.x, Stored)
    first = np.cumsum([0, *EACH])
    assert data.test.x[:, 0, 0, 0].tolist() == list(range(first[held[0]], first[held[0] + 1]))
    rest = [i for shard in range(6) if shard not in held for i in range(first[shard], first[shard + 1])]
    index = torch.randperm(len(rest))
    batch = Feed(data.train, data.reading).batch(index).x
    assert batch.shape == (len(rest), 1, 8, 6)
    for i, x in zip(index.tolist(), batch, strict=True):
        assert (x[0].numpy() == picture(rest[i])).all()
    assert data.label_names == ("0", "1", "2")
    assert data.train.labels[index].tolist() == [rest[i] % 3 for i in index.tolist()]
    assert data.train.take(slice(3)).labels.tolist() == [i % 3 for i in rest[:3]]
    assert any("6 shards, of which held out: validation part-00" in note for note in data.notes())
    assert data.reading.raw_shape == (8, 6) and str(data.reading.support) == "integers 0 to 255"


@pytest.mark.parametrize(
    ("suffix", "coded", "label"), [(".npy", npy, ".json"), (".PNG", png, ".txt"), (".image.png", png, ".cls")]
)
def test_arrays_and_other_names_do_as_well(tmp_path: Path, shards: Path, suffix: str, coded: Any, label: str) -> None:
    if suffix == ".image.png":
        with pytest.raises(InputError, match=r"has \.image\.png, \.cls and no image or array"):
            open_data(Data(str(make(tmp_path / "set", suffix, coded, label))))
        return
    one, other = open_data(Data(str(shards))), open_data(Data(str(make(tmp_path / "set", suffix, coded, label))))
    assert torch.equal(one.train.x[:], other.train.x[:]) and torch.equal(one.test.labels, other.test.labels)


def test_names_in_braces(shards: Path) -> None:
    pattern = f"{shards}/part-{{000..002}}.tar"
    assert [path.name for path in shard_paths(pattern)] == [f"part-{i:03d}.tar" for i in range(3)]
    assert shard_paths(f"{shards}/part-00{{0,1}}.tar") == shard_paths(f"{shards}/part-{{000..001}}.tar")
    assert shard_paths(str(shards)) == sorted(shards.glob("*.tar"))
    assert len(open_data(Data(pattern)).valid) in EACH
    with pytest.raises(InputError, match=r"part-006\.tar is missing"):
        open_data(Data(f"{shards}/part-{{000..006}}.tar"))


def test_each_process_has_a_stretch_of_its_own_and_moves_nothing_far(shards: Path) -> None:
    every = Shards(shard_paths(str(shards)))
    n, size, buffer = sum(EACH), 4, 12
    orders = [every.order(buffer, 7, rank, size) for rank in range(size)]
    assert [len(order) for order in orders] == [n // size] * size
    assert len(set(torch.cat(orders).tolist())) == n // size * size, "no example is read twice"
    assert all(torch.equal(order, every.order(buffer, 7, rank, size)) for rank, order in enumerate(orders))
    assert not torch.equal(orders[0], every.order(buffer, 8, 0, size))
    still = torch.cat([every.order(1, 7, rank, size) for rank in range(size)])  # where each stood before it moved
    place = {int(i): k for k, i in enumerate(still)}
    for rank, order in enumerate(orders):
        moved = [place[int(i)] - rank * (n // size) - k for k, i in enumerate(order)]
        assert 3 < max(map(abs, moved)) <= buffer
    shard_of = np.repeat(np.arange(6), EACH)
    assert all(len(set(shard_of[order].tolist())) <= 3 for order in orders), "a few shards each, not all"


def settings(source: Path, **data: Any) -> Experiment:
    return parse(Experiment, {
        "data": {"source": str(source), **data}, "model": {"network": {"part": "MLP", "hidden": [16]}, "latents": 2},
        "training": {"steps": 40, "batch": 16, "device": "cpu", "validations": 4, "checkpoint": 1e-9}})  # fmt: skip


def begin(source: Path, **data: Any) -> tuple[Experiment, Any]:
    spec = settings(source, **data)
    found = open_data(spec.data)
    return resolve(spec, found), found


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taut.report.publish.publish", lambda run, data, folder, metrics: folder / "report.html")


def test_a_stopped_run_goes_on_bit_for_bit(shards: Path, tmp_path: Path) -> None:
    experiment, data = begin(shards)
    whole = carry_out(experiment, data, tmp_path / "whole")

    def stop(event) -> None:
        if event.step >= 20:
            raise Stopped("here")

    with pytest.raises(Stopped):
        carry_out(experiment, data, tmp_path / "run", listen=stop)
    experiment, data = reopen(tmp_path / "run")
    again = carry_out(experiment, data, tmp_path / "run", resume=True)
    other = whole.vae.state_dict()
    assert all(torch.equal(weight, other[name]) for name, weight in again.vae.state_dict().items())
    assert whole.summary["quality"]["probe"]["accuracy"] is not None, "labels are read beside the examples"
    assert taut.load(tmp_path / "run").evaluate()["elbo"] == again.summary["elbo"]


def test_in_memory_they_are_a_set_as_any(shards: Path) -> None:
    data = open_data(Data(str(shards), keep="memory"))
    assert isinstance(data.train.x, torch.Tensor) and torch.equal(data.train.x, open_data(Data(str(shards))).train.x[:])


def test_other_shards_are_read_as_the_runs_were(shards: Path, tmp_path: Path) -> None:
    reading = open_data(Data(str(shards))).reading
    split = read_like(reading, shards / "part-003.tar")
    assert len(split) == EACH[3] and int(split.x[0, 0, 0, 0]) == sum(EACH[:3])


def test_sizes_are_believed_and_checked(shards: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    listed = {f"part-{i:03d}.tar": count for i, count in enumerate(EACH)}
    (folder / "sizes.json").write_text(json.dumps(listed))
    assert torch.equal(open_data(Data(str(folder))).train.x[:], open_data(Data(str(shards))).train.x[:])
    for wrong, words in (({"part-002.tar": 26}, r"part-002\.tar holds 25 examples where sizes\.json says 26"),
                         ({"part-002.tar": "x"}, r"sizes\.json is no list of sizes")):  # fmt: skip
        (folder / "sizes.json").write_text(json.dumps(listed | wrong))
        with pytest.raises(InputError, match=words):
            open_data(Data(str(folder)))
    (folder / "sizes.json").write_text(json.dumps({"part-000.tar": 30}))
    with pytest.raises(InputError, match=r"no size of 'part-001\.tar'"):
        open_data(Data(str(folder)))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20_000])


def large(path: Path) -> None:
    write(path, [("a.png", png(np.zeros((8, 6), np.uint8))), ("b.png", png(np.zeros((8, 7), np.uint8)))])


BREAKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut": (cut, r"part-001\.tar is no whole tar file"),
    "no tar": (lambda path: path.write_bytes(b"no tar at all" * 100), r"part-001\.tar is no whole tar file"),
    "empty": (lambda path: write(path, []), r"part-001\.tar holds no example"),
    "no bytes": (lambda path: path.write_bytes(b""), r"part-001\.tar is no whole tar file"),
    "member": (lambda path: write(path, [("a.png", png(picture(0))), ("b.cls", b"1")]), r"part-001\.tar has no b\.png"),
    "size": (large, r"part-001\.tar, b\.png, is 8×7 of uint8 where others are 8×6 of uint8"),
    "image": (lambda path: write(path, [("a.png", b"no image")]), r"part-001\.tar, .*a.* is no readable image"),
}  # fmt: skip


@pytest.mark.parametrize("how", BREAKS)
def test_what_is_broken_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = make(tmp_path / "set")
    breaks, words = BREAKS[how]
    breaks(folder / "part-001.tar")
    with pytest.raises(InputError, match=words):
        data = open_data(Data(str(folder)))
        data.train.x[:]
    assert (
        main(["train", str(folder), "--training.steps", "8", "--model.network", "MLP", "--out", str(tmp_path / "run")])
        == 2
    )
    error = capsys.readouterr().err
    assert error.startswith("taut: ") and error.count("\n") == 1 and "part-001.tar" in error


def test_one_colour_image_makes_all_of_them_colour(shards: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    write(folder / "part-001.tar", [("a.png", png(np.full((8, 6, 3), (1, 2, 3), np.uint8)))])
    assert open_data(Data(str(folder))).reading.raw_shape == (8, 6, 3)
    every = Shards(shard_paths(str(folder)))
    every.look(np.arange(5))  # which are grey
    with pytest.raises(InputError, match=r"part-001\.tar, a\.png, is no image of mode L, as others are"):
        every[np.arange(EACH[0], EACH[0] + 1)]


def test_too_few_and_no_meaning(shards: Path) -> None:
    with pytest.raises(InputError, match=r"2 shards are too few.*give 3 or more"):
        open_data(Data(f"{shards}/part-{{000..001}}.tar"))
    with pytest.raises(InputError, match=r"data\.buffer: is 0"):
        Data(str(shards), buffer=0)


@pytest.mark.parametrize("limit", [10, 41, 60])
def test_a_limit_is_the_first_so_many_training_examples(shards: Path, limit: int) -> None:
    """Of which the last shard may be cut; what is held out stays."""
    every, some = open_data(Data(str(shards))), open_data(Data(str(shards), limit=limit))
    assert len(some.train) == limit and torch.equal(some.train.x[:], every.train.x[:limit])
    assert torch.equal(some.test.x, every.test.x) and torch.equal(some.valid.x, every.valid.x)
    order = some.train.x.order(0, 0, 1)
    assert sorted(order.tolist()) == list(range(limit))
    assert f"the first {limit} training examples only" in some.splits()
    whole = open_data(Data(str(shards), limit=limit, keep="memory"))
    assert torch.equal(whole.train.x, some.train.x[:]) and whole.hash == some.hash


@pytest.mark.parametrize("label", [".cls", ".json"])
def test_labels_of_shards_can_be_conditions(tmp_path: Path, label: str) -> None:
    data = open_data(Data(str(make(tmp_path / "set", label=label)), condition=("labels",)))
    feed, index = Feed(data.train, data.reading), torch.tensor([40, 3, 3, 77])
    batch = feed.batch(index)
    rest = [int(x[0, 0, 0]) for x in data.train.x[index]]
    assert batch.condition.tolist() == [[float(number % 3 == k) for k in range(3)] for number in rest]
    assert batch.x[:, 0, 0, 0].tolist() == rest
    memory = open_data(Data(str(tmp_path / "set"), condition=("labels",), keep="memory"))
    assert torch.equal(memory.train.condition, data.train.condition[:]) and len(data.train.condition) == len(data.train)
    experiment, found = begin(tmp_path / "set", condition=["labels"])
    run = carry_out(experiment, found)
    assert run.sample(6, condition="1").shape == (6, 8, 6) and run.sample(6, condition="data").shape == (6, 8, 6)


def test_an_example_without_a_label_cannot_be_conditioned_on(tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    members = [(f"{i}.png", png(picture(i))) for i in range(5)]
    write(
        folder / "part-001.tar", members + [(f"{i}.cls", b"0") for i in range(5)]
    )  # labels apart: each an example more
    with pytest.raises(InputError, match=r"part-001\.tar has no .*png"):
        open_data(Data(str(folder), condition=("labels",)))
    write(folder / "part-001.tar", members)
    with pytest.raises(InputError, match=r"has no labels to be conditioned on|some examples of the shards have none"):
        open_data(Data(str(folder), condition=("labels",)))


def test_moments_are_those_of_the_sample(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass over the shards comes before the first step."""
    monkeypatch.setattr("taut.data.shards.SAMPLE", 12)
    data = open_data(Data(str(shards)))
    read: list[int] = []
    whole = Shards.__getitem__
    monkeypatch.setattr(Shards, "__getitem__", lambda self, index: read.extend(index.tolist()) or whole(self, index))
    assert data.statistics().mean.shape == (1, 8, 6) and not read
    assert len(data.seen) == 12 and torch.equal(data.seen.x[0], data.train.x[:1][0])
    assert (
        data.seen.labels.tolist()
        == data.train.labels[torch.from_numpy(np.linspace(0, len(data.train) - 1, 12).astype(int))].tolist()
    )


@pytest.mark.slow
def test_two_processes_share_them(shards: Path, tmp_path: Path) -> None:
    """Eight steps of eight examples each, of which no two are the same."""
    script = tmp_path / "seen.py"
    script.write_text(
        "import threading, torch, taut\n"
        "from taut.data.shards import Shards\n"
        "from taut.training import leads\n"
        "read, seen = Shards.__getitem__, []\n"
        "options = {'training': {'steps': 8, 'batch': 16, 'devices': 2, 'device': 'cpu', 'validations': 1}}\n"
        "def noting(self, index):\n"
        "    if threading.current_thread() is not threading.main_thread():\n"  # which reads ahead of the steps
        "        seen.extend(read(self, index)[:, 0, 0].tolist())\n"
        "    return read(self, index)\n"
        "Shards.__getitem__ = noting\n"
        f"taut.train({str(shards)!r}, model={{'network': 'MLP'}}, **options)\n"
        f"open({str(tmp_path)!r} + ('/lead' if leads() else '/other'), 'w').write(repr(seen))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    lead, other = (json.loads((tmp_path / name).read_text()) for name in ("lead", "other"))
    assert len(lead) == len(other) == 64 and len({*lead, *other}) == 128
