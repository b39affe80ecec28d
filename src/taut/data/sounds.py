"""A folder of sounds: .wav files of one rate and one length; sub-folders are labels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from taut.data.source import Source
from taut.errors import InputError

__all__ = ["SUFFIX", "folder_of_sounds", "has_sounds"]

SUFFIX = ".wav"


def has_sounds(folder: Path) -> bool:
    """Whether a folder, or one below it, holds .wav files."""
    return any(path.suffix.lower() == SUFFIX for depth in ("*", "*/*") for path in folder.glob(depth))


def folder_of_sounds(folder: Path, length: int | None = None) -> Source:
    """The sounds of a folder, or of its sub-folders, in order of name: (N, length), or (N, channels, length) of several.

    Where a length is given, longer ones are cut to it.
    """
    paths = sorted(p for depth in ("*", "*/*") for p in folder.glob(depth) if p.suffix.lower() == SUFFIX)
    deep = [path.parent != folder for path in paths]
    if any(deep) and not all(deep):
        raise InputError("data", f"{folder} has sounds both in it and in folders below", "put all at one depth")
    rates, sounds = zip(*(_sound(path) for path in paths), strict=True)
    _require_alike(paths, [f"{rate:,} samples a second" for rate in rates], "resample them")
    _require_alike(paths, [f"{len(np.atleast_2d(x.T))} channels" for x in sounds], "mix them to one")
    _require_alike(paths, [str(x.dtype) for x in sounds], "save all with one depth")
    if length is None:
        shortest = min(len(x) for x in sounds)
        mend = f"say data.shape {shortest}, and they are cut to it, or cut them yourself"
        _require_alike(paths, [f"{len(x):,} samples long" for x in sounds], mend)
        length = shortest
    if short := next((path for path, x in zip(paths, sounds, strict=True) if len(x) < length), None):
        raise InputError("data.shape", f"is {length:,}, and {short} is shorter", "give the length of the shortest")
    x = np.stack([sound[:length].T for sound in sounds])
    labels = {"all": np.array([path.parent.name for path in paths])} if all(deep) else {}
    cut = sum(len(sound) > length for sound in sounds)
    notes = [f"sounds of {rates[0]:,} samples a second"] + [f"{cut:,} are cut to {length:,} samples"] * (cut > 0)
    return Source(folder.resolve().name, "sounds", {"all": x}, labels, rate=int(rates[0]), notes=notes)


def _sound(path: Path) -> tuple[int, np.ndarray]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chunks that are no sound
            rate, x = wavfile.read(path)
    except Exception as error:  # what a damaged file raises is of many kinds
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:100]
        raise InputError("data", f"{path} cannot be read as a sound ({reason})", "save it again as .wav") from None
    if not len(x):
        raise InputError("data", f"{path} is silent: it has no samples", "take it out")
    return rate, x


def _require_alike(paths: list[Path], words: list[str], mend: str) -> None:
    if odd := next((i for i, word in enumerate(words) if word != words[0]), None):
        raise InputError("data", f"{paths[odd]} is of {words[odd]}, but {paths[0].name} of {words[0]}", mend)
