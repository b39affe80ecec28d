"""Several processes at one run: the losses of one with the same batches, noise of their own, stopped and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from taut.data import open_data
from taut.data.spec import Data
from taut.errors import InputError
from taut.experiment import Experiment, resolve
from taut.training import Training

pytestmark = pytest.mark.slow

OPTIONS = [
    "digits", "--training.steps", "50", "--training.batch", "64", "--training.validations", "2", "--model.network", "MLP",
]  # fmt: skip


def train(*options: str, wait: bool = True) -> subprocess.Popen:
    command = [sys.executable, "-m", "taut", "train", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if wait:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        assert "Traceback" not in err
    return process


def told(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_give_the_losses_of_one(tmp_path):
    """Fifty steps without noise of their own, so that only the division of the batch could tell them apart."""
    point = ["--model.posterior", "Delta", "--objective.beta", "0"]
    train(*OPTIONS, *point, "--out", str(tmp_path / "one"))
    train(*OPTIONS, *point, "--devices", "2", "--out", str(tmp_path / "two"))
    one, two = told(tmp_path / "one"), told(tmp_path / "two")
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        assert a["distortion"] == pytest.approx(b["distortion"], rel=1e-5)
        assert a["rate"] == pytest.approx(b["rate"], rel=1e-5)
        assert (a["split"], a["active_units"]) == (b["split"], b["active_units"])
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in a.items():
        torch.testing.assert_close(weight, b[name], rtol=1e-3, atol=1e-4)


def test_each_process_draws_noise_of_its_own(tmp_path):
    """Were it the same, both halves of a batch of one example, taken many times, would have the same distortion."""
    script = tmp_path / "draws.py"
    script.write_text(
        "import sys, torch\n"
        "from taut.training import Training\n"
        "from taut.training.company import Company\n"
        "from taut.training import loop\n"
        "meant = loop.Company\n"
        "def met(fabric):\n"
        "    global company\n"
        "    company = meant(fabric)\n"
        "    return company\n"
        "loop.Company = met\n"
        "import taut\n"
        "run = taut.train('digits', training={'steps': 4, 'batch': 64, 'devices': 2}, model={'network': 'MLP'})\n"
        "draws = company.gathered(torch.randn(3))\n"
        "weights = company.gathered(next(run.vae.parameters()).flatten()[:3])\n"
        "if company.lead:\n"
        "    print([d.tolist() for d in draws]); print([w.tolist() for w in weights])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    draws, weights = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert draws[0] != draws[1]
    assert weights[0] == weights[1]


def test_a_stopped_run_of_two_goes_on_as_if_it_had_not_been(tmp_path):
    options = [*OPTIONS, "--training.steps", "600", "--devices", "2"]
    train(*options, "--out", str(tmp_path / "whole"))
    process = train(*options, "--out", str(tmp_path / "run"), wait=False)
    journal = tmp_path / "run" / "metrics.jsonl"
    while not (journal.exists() and journal.read_text()) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    if process.returncode:  # else it was done before it heard
        assert "--resume" in err
        train("--resume", str(tmp_path / "run"))
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(weight, b[name]) for name, weight in a.items())
    assert [row["distortion"] for row in told(tmp_path / "whole")] == [
        row["distortion"] for row in told(tmp_path / "run")
    ]


def test_shards_give_the_losses_of_one_and_go_on(tmp_path):
    """Weights in parts: the same numbers, a checkpoint that is whole, and the same bits after a stop."""
    point = [
        "--model.posterior",
        "Delta",
        "--objective.beta",
        "0",
        "--training.clip",
        "100",
        "--training.device",
        "cpu",
    ]
    options = [*OPTIONS, *point, "--devices", "2", "--strategy", "fsdp"]
    train(*OPTIONS, *point, "--out", str(tmp_path / "one"))
    train(*options, "--out", str(tmp_path / "two"))
    one, two = told(tmp_path / "one"), told(tmp_path / "two")
    for a, b in zip(one, two, strict=True):
        assert a["distortion"] == pytest.approx(b["distortion"], rel=1e-5)
    process = train(*options, "--training.checkpoint", "1e-9", "--out", str(tmp_path / "run"), wait=False)
    while not (tmp_path / "run" / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143 and "--resume" in err
    kept = {name: w.shape for name, w in load_file(tmp_path / "run" / "checkpoint.safetensors").items()}
    whole = load_file(tmp_path / "two" / "model.safetensors")
    assert all(kept[f"weights.vae.{name}"] == weight.shape for name, weight in whole.items())
    train("--resume", str(tmp_path / "run"))
    again = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(weight, again[name]) for name, weight in whole.items())


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (Training(devices=2, strategy="fsdp", precision="16-mixed"), "precision"),
        (Training(batch=63, devices=2), "63.*share evenly; give 64"),
        (Training(devices=2, aggressive=3), "aggressive"),
    ],
)
def test_what_several_cannot_share_is_refused_before_they_start(training, words):
    with pytest.raises(InputError, match=words):
        resolve(Experiment(Data("digits"), training=training), open_data(Data("digits")))
