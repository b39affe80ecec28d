"""Result folders: there whole at the end or not at all, and never in place of what is not ours."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from taut.errors import InputError

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None

__all__ = ["SWEEP", "TUNE", "alone", "claimed", "new_folder", "sweep_up"]

PATIENCE = 15.0  # seconds for another process to let go of a folder
SWEEP = "sweep.json"  # says that a folder is a sweep, and which of its folders are points

TUNE = "tune.json"  # likewise, of a search

OURS = ("config.yaml", "data.json", "model.safetensors", "metrics.jsonl", "summary.json", "checkpoint.safetensors",
        "comparison.json", "report.html", "figures", "evaluations", "explore", "export", "web", "tensorboard", "profile",
        SWEEP, TUNE, "study.log", "study.lock")  # fmt: skip


def new_folder(name: str, root: Path = Path("runs")) -> Path:
    """The next numbered folder under ``runs/``, such as ``runs/003-digits``."""
    numbers = [
        int(path.name.split("-")[0]) for path in root.glob("[0-9][0-9][0-9]*-*") if path.name.split("-")[0].isdigit()
    ]
    return root / f"{max(numbers, default=0) + 1:03d}-{name}"


@contextlib.contextmanager
def claimed(
    folder: Path,
    force: bool = False,
    worth: Callable[[], bool] = lambda: False,
    head: Callable[[Path], None] = lambda folder: None,
) -> Iterator[Path]:
    """Make a folder for a result; take it away again if the work ends with an error.

    Args:
        folder: made with its parents.
        head: writes what it holds from the first moment that it has its name, so that a kill leaves it with that or not at all.
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
    begun = folder.absolute().with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        begun.mkdir(parents=True)
        head(begun)
        if aside:
            folder.rename(aside)
        begun.rename(folder)
    except BaseException as error:
        shutil.rmtree(begun, ignore_errors=True)
        if aside and aside.exists():
            aside.rename(folder)
        _take_away(made[1:])
        if not isinstance(error, OSError):
            raise
        raise InputError("--out", f"{folder} cannot be made ({error.strerror})", "name another folder") from None
    try:
        yield folder
    except BaseException:
        if not worth():
            shutil.rmtree(folder, ignore_errors=True)
            if aside:
                aside.rename(folder)
                aside = None
            _take_away(made[1:])
        raise
    finally:
        if aside:
            shutil.rmtree(aside, ignore_errors=True)


def _take_away(folders: Iterable[Path]) -> None:
    """Folders that were made for nothing, the lowest first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def sweep_up(folder: Path, points: Iterable[str] = ()) -> None:
    """Take away what was being made in a folder when its process was killed: files of ours, and a sweep's points."""
    for path in folder.iterdir():
        if path.is_file() and _left_over(path.name):
            path.unlink(missing_ok=True)
        elif path.is_dir() and _left_over(path.name, points):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def alone(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold a folder for as long as something is made in it, so that no second process makes the same there at once.

    The system lets go of it however a process ends. Where it knows no such locks, as on some networks, none is held.

    Args:
        folder: which.
        patience: seconds for another process to let go of it, in which one that was told to end may save.

    Raises:
        InputError: where another process holds it still.
    """
    if fcntl is None:
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        _lock(opened, folder, patience)
        yield
    finally:
        os.close(opened)


def _lock(opened: int, folder: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                mend = "wait for it, or stop it first"
                raise InputError(str(folder), "is at work in another process", mend) from None
            time.sleep(0.05)
        except OSError:
            return None


def refuse_foreign(folder: Path, force: bool) -> None:
    """Refuse to replace what is no result of ours, holds anything else, or is where the user stands.

    Raises:
        InputError: naming what speaks against it.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise InputError("--out", f"{folder} exists and is no folder of ours", "name another folder")
    names = {path.name for path in folder.iterdir() if not _left_over(path.name)}
    if names and not ({"data.json", "config.yaml"} <= names or names & {"comparison.json", SWEEP, TUNE}):
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
    """The folders that the record of a sweep or a search names."""
    for record in (SWEEP, TUNE):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            return {point["folder"] for point in json.loads((folder / record).read_bytes())["points"]}
    return set()


def _left_over(name: str, points: Iterable[str] = ()) -> bool:
    """Whether a file or folder was being made when its process was killed: they are made under a name with a dot before."""
    return name.startswith(".") and name[1:].rpartition(".")[0] in {*OURS, *points}
