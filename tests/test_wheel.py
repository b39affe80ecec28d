"""The wheel: it holds every file of the package, and in a fresh environment it trains.

The environment has no taut but the wheel's; what the wheel needs is lent from the environment of the tests, whose versions
they vouch for, so that torch is not installed twice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def call(*command: object, cwd: Path) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=plain, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"  # built from a copy: building leaves folders behind
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    call(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        place,
        source,
        cwd=place,
    )
    (built,) = place.glob("taut-*.whl")
    return built


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    there = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("taut/")}
    source = REPOSITORY / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "taut").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= there, f"left out: {sorted(wanted - there)}"


def test_in_a_fresh_environment_it_trains(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    venv.create(home, with_pip=False)
    python, taut = home / "bin" / "python", home / "bin" / "taut"
    lent = next(home.glob("lib/python*/site-packages")) / "lent.pth"
    lent.write_text(
        sysconfig.get_path("purelib") + "\n"
    )  # its own .pth files are not read: no editable install comes along
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    where = call(python, "-c", "import taut; print(taut.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(home), where
    call(taut, "train", "digits", "--training.steps", "20", "--out", "run", "--quiet", cwd=tmp_path)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["elbo"] < 0 and (tmp_path / "run" / "report.html").exists()
    call(taut, "sample", "run", "-n", "4", "-o", "new.npy", cwd=tmp_path)
    assert "vae" in call(taut, "recipes", cwd=tmp_path)
