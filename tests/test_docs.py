"""What the documentation shows works as it is written."""

from __future__ import annotations

import re
import shlex
import subprocess
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


HOW_TO = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "howto").glob("*.md") if path.stem != "index")
EXTRAS = {
    "howto/compress.md": ["constriction"],
    "howto/hub.md": ["datasets"],
    "howto/share.md": ["onnxscript", "onnxruntime"],
    "howto/tables.md": ["pandas", "polars"],
    "howto/tracker.md": ["tensorboard", "polars"],
    "howto/tune.md": ["optuna"],
}
BLOCK = re.compile(r"^```(python|sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def carried_out(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a page's blocks in their order; what it says was printed must have been, but for the figures in it."""
    names: dict[str, object] = {}
    said = ""
    for language, block in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "text":
            lines = iter(shape(said))
            for line in shape(block):
                assert line == "…" or line in lines, f"{page}: {line!r} was not printed, or not in this order"
            continue
        capsys.readouterr()
        if language == "python":
            exec(compile(block, page, "exec"), names)
        else:
            for line in block.strip().splitlines():
                program, *arguments = shlex.split(line)
                refused = "# refused" in line
                arguments = arguments[: arguments.index("#")] if "#" in arguments else arguments
                assert program == "taut" and main(arguments) == (2 if refused else 0), line
        out = capsys.readouterr()
        said = out.out + out.err


def shape(text: str) -> list[str]:
    """The lines of a text without their figures, and with one blank for many: numbers differ a little between machines."""
    text = re.sub(r"[─═]+", "─", text)  # as wide as the numbers are long
    return [" ".join(re.sub(r"[−-]?[\d,]*\d(\.\d+)?", "0", line).split()) for line in text.strip().splitlines()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning:tensorboard", "ignore::DeprecationWarning:tensorboard")
@pytest.mark.parametrize("page", HOW_TO)
def test_what_a_page_shows_runs_in_its_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in EXTRAS.get(page, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    carried_out(page, capsys)


def test_scikit_learn_as_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    carried_out("ecosystem.md", capsys)


def test_every_number_of_the_results_is_on_their_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    from measured import BENCHMARKS, results

    page, source = results(), (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8")
    rows = [line for line in source.splitlines() if line.startswith("|")]
    assert len(rows) > 100 and all(row in page for row in rows)
    for path in (*BENCHMARKS.glob("*.json"), *BENCHMARKS.glob("*.png")):
        assert path.name in page, f"{path.name} is not shown"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every page that runs is run, and every link and name is found."""
    for package in ("sphinx", "furo", "myst_nb", "sphinx_design", "sphinx_copybutton"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    tour = (tmp_path / "site" / "tour.html").read_text(encoding="utf-8")
    assert tour.count("cell_output") >= 8 and tour.count("<img") >= 5


def provisions(folder: Path) -> None:
    """The files that the README's commands name, a few examples of each kind."""
    import numpy as np
    from anndata import AnnData
    from PIL import Image
    from scipy.io import wavfile

    random = np.random.default_rng(0)
    for name in ("photos", "sounds"):
        (folder / name).mkdir()
    for i in range(40):
        Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / "photos" / f"{i}.png")
        wavfile.write(folder / "sounds" / f"{i}.wav", 8000, random.normal(size=64).astype(np.float32))
    names, ages = random.choice(["tea", "coffee", ""], 40), random.normal(40, 9, 40).round(1)
    rows = "\n".join(f"{name},{age},{age * 2 + random.normal():.2f}" for name, age in zip(names, ages, strict=True))
    (folder / "people.csv").write_text(f"drink,age,sum\n{rows}\n", encoding="utf-8")
    AnnData(random.poisson(3.0, (40, 12)).astype(np.float32)).write_h5ad(folder / "cells.h5ad")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning:anndata", "ignore::UserWarning:anndata")
def test_each_kind_of_data_takes_the_one_command_that_the_readme_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_root: Path
) -> None:
    for package in ("anndata", "polars"):
        pytest.importorskip(package)
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    block = readme.split("## Train\n\n```\n")[1].split("```")[0]
    provisions(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = block.strip().splitlines()
    assert len(lines) >= 6
    for i, line in enumerate(lines):
        program, *arguments = shlex.split(line.replace("DIR", str(data_root)), comments=True)
        assert program == "taut" and main([*arguments, "--training.steps", "2", "--out", f"run{i}", "--quiet"]) == 0, (
            line
        )
        assert taut.load(f"run{i}").summary["elbo"] < 0 or "sounds" in line, line


@pytest.mark.slow
def test_the_three_lines_of_python_in_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    code = readme.split("## In Python\n\n```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["images"].shape == (16, 8, 8) and len(names["codes"]) == 180  # type: ignore[attr-defined]
