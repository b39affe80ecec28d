"""Result folders: there whole at the end or not at all, and never in place of what is not ours."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from taut.errors import InputError

__all__ = ["SWEEP", "claimed", "new_folder"]

SWEEP = "sweep.json"  # says that a folder is a sweep, and which of its folders are points

OURS = ("config.yaml", "data.json", "model.safetensors", "metrics.jsonl", "summary.json", "checkpoint.safetensors",
        "comparison.json", "report.html", "figures", "evaluations", "explore", SWEEP)  # fmt: skip


def new_folder(name: str, root: Path = Path("runs")) -> Path:
    """The next numbered folder under ``runs/``, such as ``runs/003-digits``."""
    numbers = [
        int(path.name.split("-")[0]) for path in root.glob("[0-9][0-9][0-9]*-*") if path.name.split("-")[0].isdigit()
    ]
    return root / f"{max(numbers, default=0) + 1:03d}-{name}"


@contextlib.contextmanager
def claimed(folder: Path, force: bool = False, worth: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Make a folder for a result; take it away again if the work ends with an error.

    Args:
        folder: made with its parents.
        force: whether it may replace a result of ours, which is put aside until the new one is there.
        worth: asked after an error, whether what the folder holds is worth keeping (a checkpoint).

    Raises:
        InputError: where the folder exists and may not be replaced, or cannot be made.
    """
    aside = None
    if folder.exists() or folder.is_symlink():
        refuse_foreign(folder, force)
        aside = folder.absolute().with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        if aside:
            folder.rename(aside)
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError("--out", f"{folder} cannot be made ({error.strerror})", "name another folder") from None
    try:
        yield folder
    except BaseException:
        if not worth():
            shutil.rmtree(folder, ignore_errors=True)
            if aside:
                aside.rename(folder)
                aside = None
            for parent in made[1:]:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        raise
    finally:
        if aside:
            shutil.rmtree(aside, ignore_errors=True)


def refuse_foreign(folder: Path, force: bool) -> None:
    """Refuse to replace what is no result of ours, holds anything else, or is where the user stands.

    Raises:
        InputError: naming what speaks against it.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise InputError("--out", f"{folder} exists and is no folder of ours", "name another folder")
    names = {path.name for path in folder.iterdir() if not _left_over(path.name)}
    if names and not ({"data.json", "config.yaml"} <= names or names & {"comparison.json", SWEEP}):
        raise InputError("--out", f"{folder} exists and is no run", "name another folder")
    if not force:
        raise InputError("--out", f"{folder} exists", "name another folder, or say --force to replace it")
    here, there = Path.cwd().resolve(), folder.resolve()
    if there == here or there in here.parents:
        raise InputError("--out", f"{folder} is the folder you are in, or one above it", "name another folder")
    foreign = _foreign(folder)
    if foreign:
        raise InputError(
            "--out", f"{folder} also holds {foreign[0]}, which is no part of a run", "move it, or name another"
        )


def _foreign(folder: Path) -> list[str]:
    """What in a folder is no part of a result; points of a sweep are results of their own."""
    points = _points(folder)
    found = []
    for name in sorted(path.name for path in folder.iterdir()):
        if name in points and (folder / name).is_dir():
            found += [f"{name}/{each}" for each in _foreign(folder / name)]
        elif not (name in OURS or name.endswith(".png") or _left_over(name, points)):
            found.append(name)
    return found


def _points(folder: Path) -> set[str]:
    """The folders that a sweep's record names."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return {point["folder"] for point in json.loads((folder / SWEEP).read_bytes())["points"]}
    return set()


def _left_over(name: str, points: Iterable[str] = ()) -> bool:
    """Whether a file or folder was being made when its process was killed: they are made under a name with a dot before."""
    return name.startswith(".") and name[1:].rpartition(".")[0] in {*OURS, *points}
