"""Sets of the hub, streamed: from a folder laid out as one, in blocks that a seed decides, gone on with from their place."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
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
from taut.data import Data, Feed, hub, open_data
from taut.data.hub import Streamed
from taut.data.stored import Stored
from taut.errors import InputError
from taut.experiment import Experiment, resolve
from taut.training import Stopped
from taut.training.checkpoint import read_tensors

datasets = pytest.importorskip("datasets")

EACH = (40, 31, 25, 36, 28, 33)  # examples of each file


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("taut.report.publish.publish", lambda run, data, folder, metrics: folder / "report.html")
    datasets.disable_progress_bars()


def picture(i: int) -> np.ndarray:
    """Number i: its first pixel says so."""
    x = np.random.default_rng(i).integers(0, 256, (8, 6)).astype(np.uint8)
    x[0, 0] = i
    return x


def columns(rows: range, kind: str) -> tuple[dict[str, list], Any]:
    label = datasets.ClassLabel(names=["a", "b", "c"])
    held = {"label": [i % 3 for i in rows], "age": [i / 7 for i in rows]}
    features = {"label": label, "age": datasets.Value("float64")}
    if kind == "images":
        return held | {"image": [Image.fromarray(picture(i)) for i in rows]}, features | {"image": datasets.Image()}
    if kind == "arrays":
        return held | {"x": [picture(i) for i in rows]}, features | {"x": datasets.Array2D((8, 6), "uint8")}
    if kind == "lists":
        values = datasets.List(datasets.Value("float32"))
        return held | {"x": [picture(i)[0] / 255 for i in rows]}, features | {"x": values}
    return held | {"n": list(rows), "m": [i * i for i in rows]}, features | {
        "n": datasets.Value("int64"), "m": datasets.Value("float32")}  # fmt: skip


def make(folder: Path, kind: str = "images", splits: tuple[str, ...] = (), each: tuple[int, ...] = EACH) -> Path:
    (folder / "data").mkdir(parents=True)
    number = 0
    for i, count in enumerate(each):
        held, features = columns(range(number, number + count), kind)
        made = datasets.Dataset.from_dict(held, features=datasets.Features(features))
        made.to_parquet(str(folder / "data" / f"train-{i:05d}-of-{len(each):05d}.parquet"))
        number += count
    for split in splits:
        held, features = columns(range(number, number + 20), kind)
        made = datasets.Dataset.from_dict(held, features=datasets.Features(features))
        made.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
        number += 20
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("hub") / "pictures")


def firsts(x: torch.Tensor) -> list[int]:
    return x[:, 0, 0, 0].int().tolist()


def test_whole_files_are_held_out_and_the_others_streamed(folder: Path) -> None:
    data = open_data(Data(f"hf:{folder}"))
    assert isinstance(data.train.x, Stored) and isinstance(data.train.x.raw, Streamed)
    assert len(data.train) + len(data.valid) + len(data.test) == sum(EACH)
    assert len(data.valid) in EACH and len(data.test) in EACH and data.what().endswith("8×6, integers 0 to 255")
    held = {*firsts(data.valid.x), *firsts(data.test.x)}
    plain = firsts(data.train.x[:])
    assert sorted(held | set(plain)) == list(range(sum(EACH))) and plain == sorted(plain)
    x = data.train.x[torch.tensor([50, 2, 2])]
    assert all((one[0].numpy() == picture(plain[k])).all() for one, k in zip(x, (50, 2, 2), strict=True))
    assert data.label_names == ("a", "b", "c")
    assert data.train.labels[torch.tensor([5, 1])].tolist() == [plain[5] % 3, plain[1] % 3]
    assert sum("1 of 6 files is held out" in note or "1 of 5 files is held out" in note for note in data.notes()) == 2
    assert open_data(Data(f"hf:{folder}")).hash == data.hash


def test_a_pass_is_blocks_in_random_order(folder: Path) -> None:
    data = open_data(Data(f"hf:{folder}", buffer=16))
    feed, n = Feed(data.train, data.reading), len(data.train)
    plain = firsts(data.train.x[:])
    one, again, other = (firsts(feed.batch(feed.order(seed)).x) for seed in (3, 3, 4))
    assert one == again != other and sorted(one) == sorted(other) == sorted(plain)
    raw = data.train.x.raw
    feed.order(3)
    row = [number for k in raw.course.row for number in plain[sum(raw.counts[:k]) : sum(raw.counts[: k + 1])]]
    assert raw.course.row != tuple(sorted(raw.course.row))
    for start in range(0, n, 16):
        assert sorted(one[start : start + 16]) == sorted(row[start : start + 16]) != one[start : start + 16]


@pytest.mark.parametrize(("size", "stepping"), [(2, False), (3, True)])
def test_processes_share_files_or_examples(folder: Path, size: int, stepping: bool) -> None:
    """Four files are two for each of two; of three each process takes every third example."""
    data = open_data(Data(f"hf:{folder}", buffer=8))
    n, seen = len(data.train), []
    for rank in range(size):
        mine = open_data(Data(f"hf:{folder}", buffer=8))
        feed = Feed(mine.train, mine.reading)
        order = feed.order(5, rank, size)
        assert len(order) == n // size and mine.train.x.raw.course.stepping == stepping
        seen += firsts(feed.batch(order).x)
    assert len(seen) == n // size * size
    if stepping:
        assert len(set(seen)) >= len(seen) - 2 * size, "but for the few that files of uneven length leave over"
    else:  # what one process reads no other reads
        assert not set(seen[: n // 2]) & set(seen[n // 2 :])


def begin(source: str, **data: Any) -> tuple[Experiment, Any]:
    spec = parse(Experiment, {
        "data": {"source": source, **data}, "model": {"network": {"part": "MLP", "hidden": [16]}, "latents": 2},
        "training": {"steps": 40, "batch": 16, "device": "cpu", "validations": 4, "checkpoint": 1e-9}})  # fmt: skip
    found = open_data(spec.data)
    return resolve(spec, found), found


@pytest.mark.parametrize("buffer", [4, 24, 10_000])
def test_a_stopped_run_goes_on_bit_for_bit_from_its_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    whole = carry_out(*begin(f"hf:{folder}", buffer=buffer), tmp_path / "whole")

    def stop(event: Any) -> None:
        if event.step >= 20:
            raise Stopped("here")

    with pytest.raises(Stopped):
        carry_out(*begin(f"hf:{folder}", buffer=buffer), tmp_path / "run", listen=stop)
    _, facts = read_tensors(tmp_path / "run" / "checkpoint.safetensors")
    at = facts["numbers"]["step"]
    begun: list[tuple[int, int, Any]] = []
    read = Streamed._read
    monkeypatch.setattr(Streamed, "_read", lambda self, *mark: begun.append(mark) or read(self, *mark))
    experiment, data = reopen(tmp_path / "run")
    begun.clear()
    again = carry_out(experiment, data, tmp_path / "run", resume=True)
    other = whole.vae.state_dict()
    assert all(torch.equal(weight, other[name]) for name, weight in again.vae.state_dict().items())
    per_epoch = len(data.train) // 16
    passed = at % per_epoch * 16 // buffer * buffer
    files = np.cumsum([data.train.x.raw.counts[k] for k in data.train.x.raw.course.row])
    assert files[-1] == len(data.train)
    assert (begun[0] != (0, 0, None)) == (passed > 0), "not read again from its beginning"
    assert again.summary["quality"]["probe"]["accuracy"] is not None
    assert taut.load(tmp_path / "run").evaluate()["elbo"] == again.summary["elbo"]


@pytest.mark.parametrize("kind", ["arrays", "lists", "numbers"])
def test_arrays_and_numbers_are_read_as_well(tmp_path: Path, kind: str) -> None:
    data = open_data(Data(f"hf:{make(tmp_path / 'set', kind)}", labels="label", condition=("age",)))
    index = torch.tensor([30, 4])
    batch = Feed(data.train, data.reading).batch(index)
    if kind == "numbers":
        assert data.reading.columns == ("n", "m") and data.reading.layout == "vector"
        numbers = batch.x[:, 0].int().tolist()
        assert batch.x[:, 1].tolist() == [float(number**2) for number in numbers]
    elif kind == "arrays":
        numbers = firsts(batch.x)
        assert all((one[0].numpy() == picture(i)).all() for one, i in zip(batch.x, numbers, strict=True))
    else:
        numbers = (batch.x[:, 0] * 255).round().int().tolist()
        assert data.reading.shape == (6,) and data.reading.raw_dtype == "float32"
    ages = torch.tensor(numbers).double() / 7
    condition = data.reading.conditions[0]
    torch.testing.assert_close(
        batch.condition[:, 0].double() * condition.std + condition.mean, ages, rtol=1e-5, atol=1e-5
    )
    assert data.train.labels[index].tolist() == [i % 3 for i in numbers]


def test_splits_of_its_own_and_few_files(tmp_path: Path) -> None:
    own = open_data(Data(f"hf:{make(tmp_path / 'own', splits=('validation', 'test'), each=(60,))}"))
    assert [len(part) for part in (own.train, own.valid, own.test)] == [60, 20, 20] and not own.record["carved"]
    assert firsts(own.test.x) == list(range(80, 100))
    few = open_data(Data(f"hf:{make(tmp_path / 'few', splits=('test',), each=(60,))}", valid=0.2))
    assert firsts(few.valid.x) == list(range(12)) and firsts(few.train.x[:]) == list(range(12, 60))
    assert any("no valid split: the first 12 examples are held out" in note for note in few.notes())
    assert len(open_data(Data(f"hf:{tmp_path / 'few'}", limit=20)).train.x[:]) == 20
    memory = open_data(Data(f"hf:{tmp_path / 'few'}", valid=0.2, keep="memory", condition=("labels",)))
    assert torch.equal(memory.train.x, few.train.x[:]) and memory.train.condition.shape == (48, 3)


def test_files_that_do_not_tell_their_length_are_counted(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for k in range(3):
        lines = [
            json.dumps({"x": [i / 50, 1 - i / 50, 0.5 + i % 2], "label": "ab"[i % 2]})
            for i in range(20 * k, 20 * k + 20)
        ]
        (tmp_path / "set" / f"train-{k}.jsonl").write_text("\n".join(lines))
    data = open_data(Data(f"hf:{tmp_path / 'set'}"))
    assert [len(part) for part in (data.train, data.valid, data.test)] == [36, 4, 20]
    assert data.label_names == ("a", "b") and data.reading.shape == (3,)


def test_a_run_is_measured_on_another_set_and_keeps_the_path(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(folder.parent)
    assert (
        main(
            ["train", "hf:pictures", "--training.steps", "8", "--model.network", "MLP", "--out", str(tmp_path / "run")]
        )
        == 0
    )
    monkeypatch.chdir(tmp_path)
    run = taut.load(tmp_path / "run")
    assert run.experiment.data.source == f"hf:{folder}"
    other = make(tmp_path / "other", splits=("test",), each=(30,))
    assert run.evaluate(f"hf:{other}")["n"] == 20


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with pytest.raises(InputError, match=r"data\.array: pictures has no column 'img'; did you mean image"):
        open_data(Data(f"hf:{folder}", array="img"))
    with pytest.raises(InputError, match=r"data\.factors: 'f' has no meaning for hf:"):
        open_data(Data(f"hf:{folder}", factors="f"))
    broken = make(tmp_path / "broken", each=(20, 20, 20, 20))
    path = broken / "data" / "train-00001-of-00004.parquet"
    path.write_bytes(path.read_bytes()[:-400])
    assert main(["train", f"hf:{broken}", "--training.steps", "8", "--model.network", "MLP"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("taut: data: ") and error.count("\n") == 1 and "cannot be read" in error
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "train.jsonl").write_text('{"text": "no numbers"}\n' * 5)
    with pytest.raises(InputError, match="words has the columns text and none of images, arrays or numbers"):
        open_data(Data(f"hf:{tmp_path / 'words'}"))
    with pytest.raises(InputError, match=r"data: hf:nobody/nothing cannot be read \("):
        open_data(Data("hf:nobody/nothing"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        InputError, match=r"read by the datasets package, which is not installed; pip install 'taut\[datasets\]'"
    ):
        open_data(Data(f"hf:{folder}"))


def test_a_configuration_and_a_revision_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(*names: Any, **options: Any) -> None:
        asked.append((names, options))
        raise OSError("no network here")

    monkeypatch.setattr("datasets.load_dataset_builder", load)
    for source in ("hf:owner/name", "hf:owner/name:grey", "hf:owner/name@v2:grey"):
        with pytest.raises(InputError, match=r"cannot be read \(no network here\)"):
            open_data(Data(source))
    assert asked == [(("owner/name", None), {"revision": None}), (("owner/name", "grey"), {"revision": None}),
                     (("owner/name", "grey"), {"revision": "v2"})]  # fmt: skip


def test_what_is_left_open_says_nothing_at_the_end(folder: Path) -> None:
    """A file that is being read when Python ends would complain that pyarrow is gone."""
    code = (
        f"from taut.data import Data, Feed, open_data; data = open_data(Data({f'hf:{folder}'!r}, buffer=8))\n"
        "feed = Feed(data.train, data.reading); order = feed.order(0); feed.expect(order, 8, 0); feed.batch(order[:8])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stderr and hub.PREFIX == "hf:"


@pytest.mark.slow
def test_two_processes_stream_it_and_go_on(folder: Path, tmp_path: Path) -> None:
    """Each from a place of its own."""
    options = [sys.executable, "-m", "taut", "train"]
    data = [f"hf:{folder}", "--data.buffer", "8", "--training.steps", "150", "--training.batch", "16", "--model.network", "MLP",
            "--devices", "2", "--training.device", "cpu", "--training.checkpoint", "1e-9"]  # fmt: skip
    whole = subprocess.run(
        [*options, *data, "--out", str(tmp_path / "whole")], capture_output=True, text=True, timeout=300
    )
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen([*options, *data, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 143 and "--resume" in error
    tensors, _ = read_tensors(tmp_path / "run" / "checkpoint.safetensors")
    places = [
        json.loads(content.numpy().tobytes()) for name, content in tensors.items() if name.startswith("feed.json")
    ]
    assert [place["pass"][1] for place in places] == [0, 1]
    again = subprocess.run([*options, "--resume", str(tmp_path / "run")], capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    one, other = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "run"))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
