"""When the machine fails: one line, the exit status that fits, and nothing lost that was saved."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import taut
from taut.api import carry_out
from taut.cli import main
from taut.config import parse
from taut.data import Dataset, open_data
from taut.errors import Ended, InputError, Mishap, lost_device, out_of_memory
from taut.experiment import Experiment, resolve
from taut.folders import alone
from taut.training import CHECKPOINT, fit
from taut.training import loop as training_loop
from taut.training.checkpoint import write_atomically

STEPS = 24
TINY = ("--model.latents", "2", "--model.network", "MLP", "--model.network.hidden", "8", "--training.steps", str(STEPS),
        "--training.batch", "16", "--training.device", "cpu")  # fmt: skip


@pytest.fixture(scope="module")
def bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "bits.npy"
    generator = np.random.default_rng(0)
    np.save(path, (generator.random((120, 6)) < generator.random(6)).astype(np.uint8))
    return path


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taut.report.publish.publish", lambda run, data, folder, metrics: folder / "report.html")


@pytest.fixture(scope="module")
def data(bits: Path) -> Dataset:
    return open_data(parse(Experiment, {"data": {"source": str(bits)}}).data)


@pytest.fixture(scope="module")
def experiment(bits: Path, data: Dataset) -> Experiment:
    model = {"latents": 2, "network": {"part": "MLP", "hidden": [8]}}
    training = {"steps": STEPS, "batch": 16, "device": "cpu", "checkpoint": 1e-9}
    tree = {"data": {"source": str(bits)}, "model": model, "training": training}
    return resolve(parse(Experiment, tree), data)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line on stderr of a command that ends with status 2."""

    def say(*argv: Any) -> str:
        capsys.readouterr()
        assert main([str(each) for each in argv]) == 2
        error = capsys.readouterr().err
        assert error.startswith("taut: ") and error.count("\n") == 1, error
        return error

    return say


class Failing:
    """In place of one of the loop's own functions: raises an error at a call of its own choosing, once."""

    def __init__(self, call: Callable[..., Any], at: int, error: BaseException) -> None:
        self.call, self.at, self.error, self.count = call, at, error, 0

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.count += 1
        if self.count == self.at:
            raise self.error
        return self.call(*given, **named)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(experiment: Experiment, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taut.report.publish.publish", lambda run, data, folder, metrics: folder / "report.html")
        folder = tmp_path_factory.mktemp("whole") / "run"
        carry_out(experiment, data, folder)
    return weights(folder)


GONE = torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA") \
    if hasattr(torch, "AcceleratorError") else RuntimeError("CUDA error: unspecified launch failure")  # fmt: skip


def test_a_gpu_that_disappears_costs_what_came_after_the_checkpoint(
    experiment: Experiment, data: Dataset, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(training_loop.Average.update, 14, GONE)
    monkeypatch.setattr(training_loop.Average, "update", lambda *given: failing(*given))
    with pytest.raises(
        Mishap, match=r"training\.device: is cpu, which failed at step 15 \(CUDA error: .*; step 13 is saved"
    ):
        carry_out(experiment, data, tmp_path / "run")
    carry_out(experiment, data, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == whole


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried ..."
        ),
    ],
)
def test_for_want_of_memory_a_batch_that_fits_is_found_by_trying(
    experiment: Experiment,
    data: Dataset,
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """From step 10 on, a step has room for batches of 5 only."""
    forward, steps = training_loop.Learner.forward, 0

    def limited(self: Any, batch: Any, *rest: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps >= 10 and len(batch.x) > 5:
            raise error
        return forward(self, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(training_loop.Learner, "forward", limited)
        with pytest.raises(Mishap, match=r"training\.batch: is 16, .* cpu at step 10; step 9 is saved; 4 would fit"):
            carry_out(experiment, data, tmp_path / "run")
    carry_out(experiment, data, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == whole


def test_other_errors_are_not_taken_for_the_machines(
    experiment: Experiment, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not lost_device(ValueError("CUDA error")) and not lost_device(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    monkeypatch.setattr(
        training_loop.Average, "update", Failing(lambda *given: None, 2, RuntimeError("a fault of ours"))
    )
    with pytest.raises(RuntimeError, match="a fault of ours"):
        carry_out(experiment, data, tmp_path / "run")
    assert (tmp_path / "run" / CHECKPOINT).exists()


@pytest.mark.parametrize("at", [1, 2, 3, 6, 11, 30])
def test_a_disk_that_fills_up_keeps_what_was_saved(
    bits: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[..., str], at: int
) -> None:
    """From the n-th file on that is brought to the disk: configuration, metrics, checkpoint, weights."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        calls = itertools.count(1)

        def full(number: int) -> None:
            if next(calls) >= at:
                raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(os, "fsync", full)
        line = said("train", bits, *TINY, "--training.checkpoint", "1e-9", "--out", folder)
    assert "No space left on device" in line
    if f"taut train --resume {folder}" in line:
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
        assert main(["train", "--resume", str(folder), "--quiet"]) == 0
        assert weights(folder) == whole
    else:
        assert list(tmp_path.iterdir()) == []


def test_a_file_too_large_for_its_disk_is_not_there(tmp_path: Path) -> None:
    """The system's own refusal: no file of this process may be larger than so many bytes."""
    write_atomically(tmp_path / "file", b"old")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(Mishap, match="cannot be written"):
            write_atomically(tmp_path / "file", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_takes_no_file(bits: Path, tmp_path: Path, said: Callable[..., str], monkeypatch) -> None:
    def refused(path: Any, *given: Any, **named: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refused)
        assert "Read-only file system" in said("train", bits, *TINY, "--out", tmp_path / "run")
    run = taut.train(bits, model={"latents": 2}, training={"steps": 2}, out=tmp_path / "run")
    numbers = run.evaluate(samples=2)["elbo"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refused)
        assert "Read-only file system" in said("sample", tmp_path / "run", "-o", tmp_path / "x.npy")
        assert taut.load(tmp_path / "run").evaluate(samples=3)["elbo"] == pytest.approx(
            numbers, abs=1
        )  # it keeps nothing


def test_a_clock_that_jumps_back_decides_nothing(
    experiment: Experiment, data: Dataset, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = iter(range(10**6, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(hour, 0)))
    carry_out(experiment, data, tmp_path / "run")
    assert weights(tmp_path / "run") == whole
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["seconds"] >= 0 for row in rows)
    assert [row["seconds"] for row in rows[::2]] == sorted(row["seconds"] for row in rows[::2])


def test_a_run_is_at_work_in_one_process_at_a_time(
    bits: Path, experiment, data, tmp_path: Path, monkeypatch, said
) -> None:
    folder = tmp_path / "run"
    failing = Failing(training_loop.Average.update, 3, KeyboardInterrupt())
    with monkeypatch.context() as patch:
        patch.setattr(training_loop.Average, "update", lambda *given: failing(*given))
        with pytest.raises(KeyboardInterrupt):
            carry_out(experiment, data, folder)
    monkeypatch.setattr("taut.folders.PATIENCE", 0.1)
    with alone(folder):
        assert "is at work in another process" in said("train", "--resume", folder)
    assert main(["train", "--resume", str(folder), "--quiet"]) == 0


def test_data_that_changed_are_no_data_to_go_on_with(tmp_path: Path, said: Callable[..., str], monkeypatch) -> None:
    path, folder = tmp_path / "x.npy", tmp_path / "run"
    x = (np.random.default_rng(1).random((60, 6)) < 0.5).astype(np.uint8)
    np.save(path, x)
    failing = Failing(training_loop.Average.update, 5, KeyboardInterrupt())
    with monkeypatch.context() as patch:
        patch.setattr(training_loop.Average, "update", lambda *given: failing(*given))
        assert main(["train", str(path), *TINY, "--training.checkpoint", "1e-9", "--out", str(folder)]) == 130
    np.save(path, 1 - x)
    assert "has changed since the run was trained" in said("train", "--resume", folder)
    np.save(path, x)
    assert main(["train", "--resume", str(folder), "--quiet"]) == 0


@pytest.mark.parametrize("damage", [b'{"step": 9, "split": "tr', b"12\n", b"\xff\xfe\n", b'{"step": null}\n'])
def test_lines_of_metrics_are_neither_doubled_nor_missing(
    experiment: Experiment, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    """A kill may come after lines that no checkpoint knows of, or within one."""
    folder = tmp_path / "run"
    failing = Failing(training_loop.Average.update, 15, KeyboardInterrupt())
    with monkeypatch.context() as patch:
        patch.setattr(training_loop.Average, "update", lambda *given: failing(*given))
        with pytest.raises(KeyboardInterrupt):
            carry_out(experiment, data, folder)
    with open(folder / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 18, "split": "train"}\n' + damage)
    carry_out(experiment, data, folder, resume=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows]
    assert steps == [step for step in sorted(set(steps)) for _ in range(2)] and steps[-1] == STEPS
    assert all("distortion" in row for row in rows)


def test_signals_are_named_by_the_status(bits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, error in ((130, KeyboardInterrupt()), (143, Ended()), (129, Ended(signal.SIGHUP))):
        with monkeypatch.context() as patch:
            patch.setattr("taut.api.carry_out", Failing(None, 1, error))
            assert main(["train", str(bits), *TINY, "--out", str(tmp_path / "run")]) == number


def of_its_own(argv: list[str], **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "taut", *argv], capture_output=True, check=False, **options)


def test_a_reader_that_went_away_and_a_disk_that_is_full_are_met_before_the_end() -> None:
    for command in ("--help", "recipes", "train --help"):
        reading, writing = os.pipe()
        os.close(reading)
        line = [sys.executable, "-m", "taut", *command.split()]
        gone = subprocess.run(line, stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
        assert (gone.returncode, gone.stderr) == (0, b"")
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "taut", "--help"], stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"no space" in done.stderr


def test_a_terminal_of_plain_letters() -> None:
    plain = os.environ | {
        "PYTHONIOENCODING": "ascii",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
    }
    done = of_its_own(["train", "nowhere−ü.npy"], env=plain)
    assert done.returncode == 2 and done.stderr.isascii() and done.stderr.count(b"\n") == 1
    done = of_its_own(["recipes"], env=plain)
    assert done.returncode == 0 and done.stdout.isascii() and b"\x1b" not in done.stdout


def test_sizes_beyond_the_machine_are_refused_by_the_system(tmp_path: Path) -> None:
    """In a process of its own, whose bound stays: a layer of 40 billion weights."""
    done = of_its_own(["train", "digits", "--model.latents", "100000000", "--out", str(tmp_path / "run")])
    assert done.returncode == 2 and done.stderr.startswith(b"taut: memory: not enough"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_something_else_is_refused(experiment, data: Dataset, tmp_path: Path) -> None:
    from taut.experiment import build
    from taut.training.checkpoint import write_tensors

    write_tensors(tmp_path / CHECKPOINT, {"a": torch.zeros(1)}, {"form": {"dict": 3}, "numbers": []})
    with pytest.raises(InputError, match="another model"):
        fit(build(experiment, data), experiment.objective, data, experiment.training, STEPS, 0, tmp_path, resume=True)


def test_what_is_freed_is_kept_unless_somebody_has_said_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor of some megabytes is not fetched from the system page by page, step after step."""
    script = (
        "import resource, torch\n"
        "from taut.machine import hold_memory\n"
        "hold_memory()\n"
        "work = lambda: [torch.ones(1 << 20).add(1) for _ in range(50)] and None\n"
        "work()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): torch.ones(1 << 20).add(1)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )

    def faults(**variables: str) -> int:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUN"))
        }
        told = subprocess.run(
            [sys.executable, "-c", script], env=environment | variables, capture_output=True, text=True
        )
        return int(told.stdout)

    if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ()):
        assert faults() < 1000 < faults(MALLOC_MMAP_THRESHOLD_="131072")
