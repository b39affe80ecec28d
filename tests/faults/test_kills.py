"""A kill costs time and nothing else: whenever it comes, what goes on ends with the bits of what was never killed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taut
from taut.errors import InputError
from taut.runs import read_json
from taut.training.checkpoint import read_tensors

pytestmark = pytest.mark.slow

STEPS = 42  # seven epochs of six steps, each with a validation
TINY = ("--model.latents", 2, "--model.network", "MLP", "--model.network.hidden", 8, "--training.steps", STEPS,
        "--training.batch", 16, "--training.device", "cpu")  # fmt: skip
KINDS = {
    "plain": ("--training.average", 0.9, "--training.clip", 1, "--objective.schedule", "{part: Linear, epochs: 3}"),
    "stages": ("--training.stages", "[{learn: codes}, {learn: prior, share: 2}]", "--model.prior", "Vamp",
               "--model.prior.components", 5,
               "--training.aggressive", 2),
    "start": ("--training.start.run", "START", "--training.optimiser", "SGD"),
}  # fmt: skip
CLOCK = ("seconds", "examples_per_second")


def train(bits: Path, kind: str, *more: Any, start: Path | None = None) -> list[Any]:
    options = [start if each == "START" else each for each in KINDS[kind]]
    return ["train", bits, *TINY, *options, *more]


@pytest.fixture(scope="module")
def whole(forks, bits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int, float]]:
    """Undisturbed runs of each kind: their folders, and how many calls that write files and seconds of work each took."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for kind in KINDS:
        assert forks(*train(bits, kind, "--out", folder / kind, start=folder / "plain")) == 0, forks.said
        found[kind] = folder / kind, forks.calls, forks.seconds
    return found


def without_clock(content: Any) -> Any:
    """The same without what depends on the time that things took."""
    if isinstance(content, dict):
        return {key: without_clock(value) for key, value in content.items() if key not in CLOCK}
    return [without_clock(each) for each in content] if isinstance(content, list) else content


def rows(folder: Path) -> list[dict[str, Any]]:
    return [without_clock(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def check_whole(folder: Path) -> None:
    """Whatever has its name in a folder is whole."""
    for path in folder.rglob("*"):
        if path.name.startswith("."):
            continue
        if path.suffix == ".safetensors":
            read_tensors(path)
        if path.suffix == ".json":
            read_json(path)
    if (folder / "config.yaml").exists():
        try:
            taut.load(folder)
        except InputError as error:
            assert "unfinished" in str(error) or "is missing" in str(error)


def check_same(folder: Path, other: Path) -> None:
    """The run is the other one, but for the clock."""
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in other.iterdir()}, "nothing is missing, and nothing is left over"
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert rows(folder) == rows(other)
    assert without_clock(read_json(folder / "summary.json")) == without_clock(read_json(other / "summary.json"))


def moments(seed: int, count: int, calls: int, seconds: float) -> Iterator[dict[str, Any]]:
    """So many moments to be killed at: by the step, by the call that writes a file, and by the work that was done."""
    draw = random.Random(seed)
    for i in range(count):
        yield [
            lambda: {"step": draw.randint(1, STEPS)},
            lambda: {"call": draw.randint(1, calls), "half": draw.random() < 0.5},
            lambda: {"seconds": draw.uniform(0, 0.9 * seconds)},
        ][i % 3]()


@pytest.mark.parametrize("seed", range(9))
def test_training(forks, bits: Path, whole, tmp_path: Path, seed: int) -> None:
    """54 kills in all, some twice in a row, with a checkpoint at every step, at every few, or only at the end."""
    kind = list(KINDS)[seed % 3]
    undisturbed, calls, seconds = whole[kind]
    draw = random.Random(seed)
    cut = 0
    for i, moment in enumerate(moments(seed, 6, calls, seconds)):
        folder = tmp_path / f"run{i}"
        minutes = draw.choice((1e-9, 1e-9, 3e-4, 60))
        if "call" in moment and minutes == 1e-9:  # at each step there are four calls more, or six
            moment["call"] = draw.randint(1, calls + 4 * STEPS)
        argv = train(bits, kind, "--training.checkpoint", minutes, "--out", folder, start=whole["plain"][0])
        status = forks(*argv, **moment)
        assert status == -9, forks.said
        cut += not (folder / "summary.json").exists() or (folder / "checkpoint.safetensors").exists()
        if folder.exists():
            check_whole(folder)
            argv = ["train", "--resume", folder]
        if i % 3 == 1 and forks(*argv, step=draw.randint(1, STEPS)) == -9 and folder.exists():
            check_whole(folder)
            argv = ["train", "--resume", folder]
        assert forks(*argv) == 0, forks.said
        check_same(folder, undisturbed)
        assert forks("train", "--resume", folder) == 0 and "is finished" in forks.said
    assert cut == 6, "each had something left to do"


def test_a_process_of_its_own(bits: Path, tmp_path: Path) -> None:
    """Through the command line, with nothing patched: killed when its first numbers are there."""
    length = ["--training.steps", 1000, "--training.checkpoint", 0.001, *TINY[:6], *TINY[8:]]
    command = [sys.executable, "-m", "taut", "train", *map(str, [bits, *length])]
    cut, undisturbed = tmp_path / "cut", tmp_path / "whole"
    process = subprocess.Popen([*command, "--out", str(cut), "--quiet"], stderr=subprocess.PIPE)
    while not (cut / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -9 and not (cut / "model.safetensors").exists()
    check_whole(cut)
    subprocess.run([sys.executable, "-m", "taut", "train", "--resume", str(cut)], check=True, capture_output=True)
    subprocess.run([*command, "--out", str(undisturbed)], check=True, capture_output=True)
    check_same(cut, undisturbed)


@pytest.fixture
def run(whole, tmp_path: Path) -> Path:
    """A finished run that nothing was measured of."""
    folder = tmp_path / "run"
    shutil.copytree(whole["plain"][0], folder)
    shutil.rmtree(folder / "evaluations")
    return folder


def test_evaluation(forks, run: Path) -> None:
    argv = ("evaluate", run, "--samples", 50, "--ais", "--temperatures", 4, "--chains", 2, "--json")
    before = sorted(path.name for path in run.iterdir())
    assert forks(*argv, every=0) == 0, forks.said
    numbers, calls, seconds = without_clock(json.loads(forks.said)), forks.calls, forks.seconds
    for moment in moments(1, 12, calls, seconds):
        moment = {"call": 1 + moment["step"] % calls} if "step" in moment else moment
        shutil.rmtree(run / "evaluations")
        assert forks(*argv, every=0, **moment) in (0, -9)
        check_whole(run)
        assert forks(*argv, every=0) == 0, forks.said
        assert without_clock(json.loads(forks.said)) == numbers
        assert sorted(path.name for path in run.iterdir()) == sorted([*before, "evaluations"])


def test_sweep(forks, bits: Path, tmp_path: Path) -> None:
    argv = ("sweep", bits, *TINY, "--objective.beta", "0.5,2", "--jobs", 1, "--warm", "--out")
    undisturbed = tmp_path / "whole"
    assert forks(*argv, undisturbed) == 0, forks.said
    calls, seconds = forks.calls, forks.seconds
    points = [point["folder"] for point in read_json(undisturbed / "sweep.json")["points"]]
    for i, moment in enumerate(moments(2, 12, calls, seconds)):
        folder = tmp_path / f"sweep{i}"
        assert forks(*argv, folder, **moment) in (0, -9), forks.said
        again = ("sweep", "--resume", folder) if folder.exists() else (*argv, folder)
        assert forks(*again) == 0, forks.said
        assert without_clock(read_json(folder / "sweep.json")) == without_clock(read_json(undisturbed / "sweep.json"))
        assert {path.name for path in folder.iterdir()} == {path.name for path in undisturbed.iterdir()}
        for point in points:
            check_whole(folder / point)
            weights = [(each / point / "model.safetensors").read_bytes() for each in (folder, undisturbed)]
            assert weights[0] == weights[1] and rows(folder / point) == rows(undisturbed / point)


def test_compression(forks, run: Path, tmp_path: Path) -> None:
    file, undisturbed, out = tmp_path / "x.taut", tmp_path / "whole.taut", tmp_path / "x.npy"
    assert forks("compress", run, "-o", undisturbed) == 0, forks.said
    calls, seconds = forks.calls, forks.seconds
    for moment in moments(3, 12, calls, seconds):
        moment = {"call": 1 + moment["step"] % calls, "half": True} if "step" in moment else moment
        status = forks("compress", run, "-o", file, **moment)
        assert status in (0, -9), forks.said
        assert file.exists() or forks("compress", run, "-o", file) == 0, forks.said
        assert file.read_bytes() == undisturbed.read_bytes()
        assert forks("decompress", run, file, "-o", out, "--force", **moment) in (0, -9)
        assert forks("decompress", run, file, "-o", out, "--force") == 0, forks.said
        file.unlink()
