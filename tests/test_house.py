"""The house: each room imports only from the rooms above it, and importing taut costs next to nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "taut"

ROOMS = [
    "errors", "spans", "machine", "config",
    "data", "distributions", "networks", "priors", "posteriors", "likelihoods", "layers", "model",
    "objectives", "training", "evaluation", "codec", "experiment", "tracking", "advice", "runfiles", "runs", "diff",
    "comparison", "recipes", "explore", "report", "folders", "api", "estimator", "sweep", "tune", "parts", "export", "sharing",
    "files", "outputs", "console", "page", "commands", "cli", "__main__",
]  # fmt: skip


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "taut":
            pieces = node.module.split(".")
            found |= {pieces[1]} if len(pieces) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("taut.")}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_room_imports_only_from_above(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"{room} has no place in the house"
    for other in imports(path) - {room, "__version__"}:
        assert ROOMS.index(other) < ROOMS.index(room), f"{room} must not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_is_unpickled(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for forbidden in ("import pickle", "torch.load(", "allow_pickle=True", "yaml.load(", "yaml.unsafe_load"):
        assert forbidden not in text


def test_help_needs_no_torch() -> None:
    code = "import sys, taut.cli; taut.cli.main(['--help']); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_importing_taut_sets_no_global_state() -> None:
    code = (
        "import torch; from torch.distributions import Distribution as D; before = (D._Distribution__validate_args "
        "if hasattr(D, '_Distribution__validate_args') else D._validate_args, torch.get_default_dtype(), "
        "torch.get_num_threads(), torch.get_rng_state().sum().item()); import taut; taut.train; taut.load; "
        "after = (D._validate_args, torch.get_default_dtype(), torch.get_num_threads(), "
        "torch.get_rng_state().sum().item()); assert before == after, (before, after)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
