"""The commands as a user types them: what they write, what they print, and what they say of a mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import taut
from taut.cli import main

TINY = [
    "--training.steps",
    "30",
    "--training.batch",
    "64",
    "--model.network",
    "MLP",
    "--model.network.hidden",
    "32",
    "--quiet",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "digits", "--out", str(folder), "--model.latents", "3", *TINY]) == 0
    return folder


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must be refused: exit status 2 and one line, which is returned."""

    def say(*argv: object, status: int = 2) -> str:
        capsys.readouterr()
        assert main([str(arg) for arg in argv]) == status
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("taut: "), error
        assert "Traceback" not in error
        return error

    return say


def test_a_run_folder_holds_what_it_promises(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    expected = {
        "config.yaml",
        "data.json",
        "model.safetensors",
        "metrics.jsonl",
        "summary.json",
        "evaluations",
        "figures",
        "report.html",
    }
    assert names == expected
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    keys = {"step", "epoch", "seconds", "split", "elbo", "distortion", "rate", "beta", "active_units"}
    valid = [row for row in rows if row["split"] == "valid"]
    assert all(sum(map(sum, row["kl"])) == pytest.approx(row["rate"]) for row in valid), "KL of each dimension"
    assert all(0 <= row["information"] <= row["rate"] for row in valid)
    assert all(keys <= row.keys() for row in rows) and {row["split"] for row in rows} == {"train", "valid"}
    for row in rows:
        assert row["elbo"] == pytest.approx(-row["distortion"] - row["rate"], abs=1e-4)  # at β = 1, whatever β was
    summary = json.loads((run / "summary.json").read_text())
    assert summary["n"] == 180 and summary["elbo"] < 0 and summary["latent_dim"] == 3


def test_evaluate_prints_one_object(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(run), "--samples", "20", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == [
        "data", "split", "n", "likelihood", "support", "exactness", "density", "elbo", "elbo_stderr", "distortion", "rate",
        "iw", "bits_per_dim", "active_units", "latent_dim", "kl_per_layer", "aggregate", "quality",
    ]  # fmt: skip
    assert set(result["iw"]) == {"k", "value", "stderr", "ess", "n"}
    assert list(result["quality"]) == ["probe"] and result["quality"]["probe"]["classes"] == 10
    assert result["split"] == "test" and result["n"] == result["iw"]["n"] == 180 and result["iw"]["k"] == 20
    assert result["elbo"] == pytest.approx(-result["distortion"] - result["rate"])
    assert result["iw"]["value"] >= result["elbo"] - 3 * result["elbo_stderr"]
    assert result["bits_per_dim"] == pytest.approx(-result["elbo"] / (64 * np.log(2)))
    main(["evaluate", str(run), "--samples", "20", "--json"])
    assert json.loads(capsys.readouterr().out) == result, "a fixed seed fixes the numbers"
    main(["evaluate", str(run), "--samples", "20", "--json", "--limit", "50", "--iw-limit", "20"])
    few = json.loads(capsys.readouterr().out)
    assert few["n"] == 50 and few["iw"]["n"] == 20


def test_files_of_numbers(run: Path, tmp_path: Path) -> None:
    assert main(["sample", str(run), "-n", "7", "--seed", "1", "-o", str(tmp_path / "s.npy")]) == 0
    samples = np.load(tmp_path / "s.npy", allow_pickle=False)
    assert samples.shape == (7, 8, 8) and samples.min() >= 0 and samples.max() <= 16
    assert np.array_equal(samples, np.round(samples)), "draws of whole numbers are whole"
    main(["sample", str(run), "-n", "7", "--seed", "1", "-o", str(tmp_path / "again.npy")])
    assert np.array_equal(samples, np.load(tmp_path / "again.npy"))
    main(["sample", str(run), "-n", "7", "--mean", "-o", str(tmp_path / "m.csv")])
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 8
    main(["encode", str(run), "digits", "-o", str(tmp_path / "z.npz")])
    with np.load(tmp_path / "z.npz", allow_pickle=False) as codes:
        assert codes["x"].shape == (1797, 3) and codes["label"].shape == (1797,)
    main(["reconstruct", str(run), "-o", str(tmp_path / "r.npy")])
    assert main(["reconstruct", str(run), "--progressive", "--layers", "1"]) == 2
    assert np.load(tmp_path / "r.npy").shape == (180, 8, 8)
    main(["interpolate", str(run), "3", "9", "--steps", "6", "--path", "spherical", "-o", str(tmp_path / "i.npy")])
    assert np.load(tmp_path / "i.npy").shape == (6, 8, 8)
    main(["traverse", str(run), "--dimensions", "2", "--steps", "5", "-o", str(tmp_path / "t.parquet")])
    assert (tmp_path / "t.parquet").stat().st_size > 0


@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate", "traverse"])
def test_pictures(run: Path, tmp_path: Path, command: str) -> None:
    assert main([command, str(run), "-o", str(tmp_path / "p.png")]) == 0
    with Image.open(tmp_path / "p.png") as picture:
        assert min(picture.size) > 50
        assert len(set(picture.convert("L").resize((64, 64)).get_flattened_data())) > 4


def test_pictures_go_into_the_run_and_replace_nothing(run: Path) -> None:
    main(["sample", str(run)])
    main(["sample", str(run)])
    assert (run / "samples.png").exists() and (run / "samples-2.png").exists()
    for name in ("samples.png", "samples-2.png"):
        (run / name).unlink()


def test_the_printed_configuration_trains_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "digits", "--model.latents", "2", "--objective.beta", "2", *TINY]
    capsys.readouterr()
    assert main([*argv, "--print_config"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert main([*argv, "--out", str(tmp_path / "a")]) == 0
    assert main(["train", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "b"), "--quiet"]) == 0
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert a == b
    assert (tmp_path / "a" / "config.yaml").read_text().endswith((tmp_path / "c.yaml").read_text())


def test_load_and_python(run: Path) -> None:
    loaded = taut.load(run)
    x = loaded.reading.restore(loaded.dataset().test.x)
    codes = loaded.encode(x)
    assert codes.shape == (180, 3) and np.array_equal(codes, loaded.encode(x))
    assert np.allclose(codes[:5], loaded.encode(x[:5]), atol=1e-5), "a code does not depend on its neighbours"
    assert not np.array_equal(codes, loaded.encode(x, sample=True))
    assert loaded.reconstruct(x).shape == loaded.decode(codes).shape == (180, 8, 8)
    assert loaded.evaluate(samples=5)["n"] == 180


def test_a_plain_autoencoder_has_no_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--recipe", "ae", "--out", str(tmp_path / "ae"), *TINY]) == 0
    capsys.readouterr()
    main(["evaluate", str(tmp_path / "ae"), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["elbo"] is None and "point posterior" in result["why"]
    assert result["distortion"] > 0 and result["iw"]["value"] is None


def test_recipes_are_plain_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(" — " in line for line in lines) and any(line.startswith("mnist — ") for line in lines)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["train", "--help"], ["evaluate", "--help"]):
        try:
            assert main(argv) == 0
        except SystemExit as end:
            assert end.code == 0
    text = capsys.readouterr().out
    assert "--objective.beta" in text and "Laplace" in text


MISTAKES = [
    (["trian"], "train"),
    (["train"], "DATA"),
    (["train", "nosuch"], "digits"),
    (["train", "digts"], "did you mean digits"),
    (["train", "digits", "--epocs", "3"], "--epochs"),
    (["train", "digits", "--epochs", "0"], "above 0"),
    (["train", "digits", "--epochs", "3", "--minutes", "1"], "give one"),
    (["train", "digits", "--minutes", "x"], "number"),
    (["train", "digits", "--seed", "-1"], "seed"),
    (["train", "digits", "--recipe", "mnst"], "did you mean mnist"),
    (["train", "digits", "--config", "nosuch.yaml"], "cannot be read"),
    (["train", "digits", "--model.prior", "StandardNorml"], "did you mean StandardNormal"),
    (["train", "digits", "--model.prior", "os.system"], "--trust os"),
    (["train", "digits", "--model.latents", "0"], "model.latents: is 0"),
    (["train", "digits", "--model.latents", "4" + 18 * "0"], "memory: not enough"),
    (["train", "digits", "--model.latents", "4" + 30 * "0"], "memory: not enough"),
    (["train", "digits", "--objective.samples", "4" + 18 * "0"], "fewer --objective.samples"),
    (["train", "digits", "--model.latent", "3"], "did you mean latents"),
    (["train", "digits", "--objective.beta", "-1"], "objective.beta: is -1"),
    (["train", "digits", "--objective.beta", "nan"], "objective.beta"),
    (["train", "digits", "--objective.beta"], "no value"),
    (["train", "digits", "--objective.samples", "0"], "objective.samples"),
    (["train", "digits", "--objective.schedule.epochs", "900", "--epochs", "3"], "train longer"),
    (["train", "digits", "--model.likelihood", "Bernoulli"], "Binomial(16)"),
    (["train", "digits", "--model.network", "Conv", "--model.network.channels", "8,8,8,8"], "at most 3"),
    (["train", "digits", "--data.test", "0.9", "--data.valid", "0.2"], "leave nothing"),
    (["train", "digits", "--device", "cuda:99"], "cuda"),
    pytest.param(
        ["train", "digits", "--device", "cuda"],
        "this machine does not have",
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
    ),
    (["train", "digits", "extra"], "one argument too many"),
    (
        ["train", "--resume", "somewhere", "--training.steps", "400"],
        "train on from where it ended: taut train --config",
    ),
    (["sweep", "--resume", "somewhere", "--objective.beta", "1,2"], "no options but --jobs"),
    (
        ["train", "digits", "--model.layers", "[]", "--model.prior", "Vamp"],
        "model.prior: is given, and changes nothing",
    ),
    (
        ["train", "digits", "--model.layers", "[]", "--model.latents", "3"],
        "model.latents: is given, and changes nothing",
    ),
    (
        ["train", "digits", "--model.layers", "[]", "--objective.beta", "4"],
        "objective.beta: is given, and changes nothing",
    ),
    (
        ["train", "--recipe", "vdm-digits", "--objective.free_bits", "1"],
        "objective.free_bits: is given, and changes nothing",
    ),
    (["train", "--recipe", "vdm-digits", "--objective.estimator", "STL"], "objective.estimator: is given"),
    (["train", "--recipe", "vdm-digits", "--model.prior.components", "9"], "model.prior"),
    (
        ["sweep", "digits", "--model.layers", "[]", "--objective.beta", "1,2"],
        "objective.beta: is given, and changes nothing",
    ),
    (
        ["train", "digits", "--model.layers", "[{part: Plain, prior: Vamp}]", "--model.prior", "Mixture"],
        "top layer of model",
    ),
    (["train", "--resume", "nosuch"], "no run folder"),
    (["evaluate", "nosuch"], "is no folder"),
    (["evaluate", "."], "no run folder"),
    (["sample", "."], "no run folder"),
]


def test_values_of_options_are_taken_for_no_data(capsys):
    """Where DATA is left to a recipe, what follows an option is still its value."""
    assert (
        main(
            ["train", "--recipe", "vdm-digits", "--training.steps", "7", "--model.likelihood.draws=2", "--print_config"]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "steps: 7" in told and "draws: 2" in told and "source: digits" in told


def test_what_a_recipe_brings_along_may_be_idle(capsys):
    assert main(["train", "digits", "--recipe", "vae", "--model.layers", "[]", "--print_config"]) == 0
    assert "layers: []" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "hint"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_mistakes_get_one_line(argv: list[str], hint: str, said, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hint in said(*argv)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_mistakes_with_a_run(run: Path, said, tmp_path: Path) -> None:
    assert "--force" in said("train", "digits", "--out", run, *TINY)
    assert "samples: is 0" in said("evaluate", run, "--samples", 0)
    assert "rows 0 to 179" in said("interpolate", run, 0, 500)
    assert "two rows" in said("interpolate", run, 1)
    assert "temperature" in said("sample", run, "--temperature", 0)
    assert "n: is 0" in said("sample", run, "-n", 0)
    assert ".npy" in said("sample", run, "-o", tmp_path / "x.gif")
    assert "does not exist" in said("sample", run, "-o", tmp_path / "no" / "x.npy")
    (tmp_path / "there.npy").write_text("precious")
    assert "--force" in said("sample", run, "-o", tmp_path / "there.npy")
    assert (tmp_path / "there.npy").read_text() == "precious"
    np.save(tmp_path / "wide.npy", np.zeros((4, 9, 9), np.uint8))
    assert "8×8" in said("encode", run, tmp_path / "wide.npy", "-o", tmp_path / "z.npy")
    np.save(tmp_path / "high.npy", np.full((4, 8, 8), 17, np.uint8))
    assert "17" in said("evaluate", run, "--data", tmp_path / "high.npy")


def test_damaged_runs_are_refused(run: Path, said, tmp_path: Path) -> None:
    import shutil

    for name, damage, hint in [
        ("model.safetensors", lambda b: b[: len(b) // 2], "damaged"),
        ("model.safetensors", lambda b: b[:-40] + bytes(8) + b[-32:], "checksum"),
        ("summary.json", lambda b: b[:20], "damaged"),
        ("data.json", lambda b: b"{}", "damaged"),
        ("config.yaml", lambda b: b.replace(b"DiagonalNormal", b"os.system"), "--trust os"),
        ("config.yaml", lambda b: b.replace(b"latents: 3", b"latents: 4"), "does not fit"),
        ("config.yaml", lambda b: b"\xff\xfe\x00", "text"),
    ]:
        broken = tmp_path / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(run, broken)
        (broken / name).write_bytes(damage((broken / name).read_bytes()))
        assert hint in said("evaluate", broken), name
        (broken / name).unlink()
        assert name in said("evaluate", broken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, number: int) -> None:
    common = [sys.executable, "-m", "taut.cli", "train"]
    length = [
        "digits",
        "--training.steps",
        "400",
        "--model.network",
        "MLP",
        "--model.network.hidden",
        "64",
        "--model.latents",
        "2",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*common, *length, "--out", str(whole)], check=True, capture_output=True)
    process = subprocess.Popen(
        [*common, *length, "--out", str(cut)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (cut / "metrics.jsonl").exists() or not (cut / "metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number and f"taut train --resume {cut}" in error and error.count("\n") == 1
    assert not (cut / "model.safetensors").exists()
    assert main(["evaluate", str(cut)]) == 2
    assert main(["train", "--resume", str(cut), "--quiet"]) == 0
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    strip = [
        [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "examples_per_second")}
         for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (whole, cut)
    ]  # fmt: skip
    assert strip[0] == strip[1]
    assert main(["train", "--resume", str(cut)]) == 0, "a finished run says so"


def test_divergence_at_once_leaves_no_folder(tmp_path: Path, said) -> None:
    table = tmp_path / "t.npy"
    np.save(table, np.random.default_rng(0).normal(size=(200, 3)))
    line = said("train", table, "--out", tmp_path / "run", "--training.optimiser", "SGD", "--training.optimiser.lr", "1e6",
                "--training.warmup", "0", *TINY)  # fmt: skip
    assert "not finite at step" in line and "--training.optimiser.lr 0.001" in line
    assert [path.name for path in tmp_path.iterdir()] == ["t.npy"]


def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, said, monkeypatch) -> None:
    import errno

    import taut.runs

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/model.safetensors")

    monkeypatch.setattr(taut.runs, "write_tensors", full)
    line = said("train", "digits", "--out", tmp_path / "run", *TINY)
    assert "no space" in line
    left = {path.name for path in tmp_path.rglob("*")}
    assert "model.safetensors" not in left
    assert left == set() or "checkpoint.safetensors" in left


def test_force_replaces_only_what_is_ours(said, tmp_path: Path, monkeypatch) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "config.yaml").write_text("a: 1")
    (mine / "thesis.txt").write_text("years of work")
    assert "no run" in said("train", "digits", "--out", mine, "--force", *TINY)
    run = tmp_path / "run"
    assert main(["train", "digits", "--out", str(run), *TINY]) == 0
    (run / "notes.txt").write_text("mine too")
    assert "notes.txt" in said("train", "digits", "--out", run, "--force", *TINY)
    (run / "notes.txt").unlink()
    monkeypatch.chdir(run)
    assert "folder you are in" in said("train", "digits", "--out", ".", "--force", *TINY)
    monkeypatch.chdir(tmp_path)
    before = (run / "model.safetensors").read_bytes()
    line = said("train", "digits", "--out", run, "--force", "--training.optimiser", "SGD", "--training.optimiser.lr", "1e9",
                "--training.warmup", "0", *TINY)  # fmt: skip
    assert "not finite" in line and (run / "model.safetensors").read_bytes() == before, "the old run is back"
    assert main(["train", "digits", "--out", str(tmp_path / "b"), *TINY]) == 0
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"thesis", "run", "b"}, "nothing is left aside"


def test_an_error_after_training_loses_nothing(tmp_path: Path, said, monkeypatch) -> None:
    import taut.api

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(taut.api, "_summary", interrupted)
    folder = tmp_path / "run"
    line = said("train", "digits", "--out", folder, *TINY, status=130)
    assert f"--resume {folder}" in line
    monkeypatch.undo()
    assert main(["train", "--resume", str(folder), "--quiet"]) == 0
    assert (folder / "report.html").exists() and not (folder / "checkpoint.safetensors").exists()
    assert "no DATA" in said("train", "digits", "--resume", folder)
    before = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    assert main(["train", "--resume", str(folder), "--quiet"]) == 0, "without weights or checkpoint it begins anew"
    assert (folder / "model.safetensors").read_bytes() == before


def test_other_precisions_end_in_a_usable_model(tmp_path: Path) -> None:
    for precision in ("64-true", "bf16-mixed"):
        folder = tmp_path / precision
        assert main(["train", "digits", "--out", str(folder), "--precision", precision, *TINY]) == 0
        assert taut.load(folder).sample(2).shape == (2, 8, 8)
