"""What the types say of the public names is what a checker finds where they are used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRONG = {
    "run = taut.load(3)": "no path",
    "taut.load('run').sample('many')": "no number",
    "taut.load('run').encod([[0.0]])": "no such method",
    "taut.VAEEstimator(latents=2).fit([[0.0]]).transform(1, 2)": "one argument too many",
    "taut.Model(prior='Vamp')": "a part is an object in Python",
}
"""Lines that a checker must refuse."""


def test_the_public_names_are_known_to_a_checker(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="pyright, of the extra dev, is not installed")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import taut\n" + "\n".join(WRONG), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "tests/typed_use.py",
        str(wrong),
    ]
    quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | quiet, check=False)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    found = defaultdict(list)
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        found[Path(each["file"]).name].append((each["range"]["start"]["line"], each["message"]))
    assert not found["typed_use.py"]
    refused = {line for line, _ in found["wrong.py"]}
    assert refused == set(range(1, len(WRONG) + 1)), found["wrong.py"]
