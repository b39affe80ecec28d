"""What all tests share: a core for each process, and where the real data are."""

from __future__ import annotations

import os
from pathlib import Path

# As many processes test as there are cores, and each begins others: threads beyond these only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets: TAUT_DATA, else ``shared/data`` beside the repository.

    Without it the test fails in continuous integration (where CI is set), and is skipped elsewhere.
    """
    root = Path(os.environ.get("TAUT_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not root.is_dir():
        reason = f"needs the real data sets: {root} is no folder; set TAUT_DATA"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return root
