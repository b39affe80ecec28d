"""What the documentation shows works as it is written."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import taut
from taut.cli import main

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_a_prior_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks("new-prior.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) < 25
    (tmp_path / "tails.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "tails", raising=False)
    (commands,) = blocks("new-prior.md", "sh")
    for line in commands.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "taut"
        assert main([*arguments, "--quiet"]) == 0
    run = taut.load("run", trust=["tails"])
    assert run.experiment.model.prior.nu == 3
    assert run.summary["elbo"] < 0
    bad = [
        "train",
        "digits",
        "--model.prior",
        "tails.StudentT",
        "--model.prior.nu",
        "-3",
        "--trust",
        "tails",
        "--out",
        "bad",
    ]
    capsys.readouterr()
    assert main([*bad, "--quiet"]) == 2, "what a part of the user's own raises is no fault of taut"
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("taut: tails: ValueError: ") and "fault in taut" not in line
    assert not (tmp_path / "bad").exists()
    assert main(["sample", "run"]) == 2, "without trust no code of the user's is run"


@pytest.mark.filterwarnings("ignore:.*:UserWarning:tensorboard", "ignore::DeprecationWarning:tensorboard")
@pytest.mark.parametrize("page", ["tour.md", "ecosystem.md"])
def test_what_a_page_shows_runs_in_its_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxscript", "onnxruntime", "optuna", "tensorboard") if page == "ecosystem.md" else ():
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)
    for commands in blocks(page, "sh"):
        for line in commands.strip().splitlines():
            program, *arguments = shlex.split(line)
            assert program == "taut" and main([*arguments, "--quiet"]) == 0, line
