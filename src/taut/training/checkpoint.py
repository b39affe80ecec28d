"""Checkpoints: one safetensors file holds everything that a run needs to go on bit for bit.

Tensors go in as tensors, everything else as JSON in the file's header; nothing is ever pickled. A file is written
aside, flushed to the disk, and renamed, so that at any moment there is a whole one or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from taut.errors import InputError, Mishap

__all__ = ["WEIGHTS", "digest", "flatten", "read_tensors", "unflatten", "write_atomically", "write_tensors"]

WEIGHTS = "model.safetensors"  # of a finished run, in its folder


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, even if the machine stops.

    Raises:
        Mishap: where the disk is full or the folder cannot be written to; what was there before still is.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise Mishap(
            str(path), f"cannot be written ({error.strerror or error})", "free some space, or give another folder"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


def _flush_folder(folder: Path) -> None:
    """Bring a new name of a file to the disk, where the system does that for folders."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any] | None = None) -> None:
    """Write tensors and JSON-able facts into one safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(facts or {})
    # one key only: the order of several is not fixed, and equal runs must give equal files
    write_atomically(path, save(plain, {"taut": json.dumps({"sha256": digest(plain, text), "facts": text})}))


def digest(tensors: dict[str, Tensor], text: str = "") -> str:
    """The sha256 of all that a file holds: a flipped bit in a weight is still a number, and nothing else would tell."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`write_tensors` wrote.

    Raises:
        InputError: where the file is missing, truncated, changed, or not one of ours.
    """
    try:
        with safe_open(path, "pt", device=device) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            held = json.loads((file.metadata() or {})["taut"])
        if digest(tensors, held["facts"]) != held["sha256"]:
            raise ValueError("its checksum is wrong")
        return tensors, json.loads(held["facts"])
    except FileNotFoundError:
        raise InputError(str(path), "is missing", "give a run folder that `taut train` made") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = "no checksum" if isinstance(error, KeyError) else (str(error).splitlines() or ["unreadable"])[0]
        raise InputError(str(path), f"is damaged ({reason})", "restore it from a copy, or train again") from None


def flatten(tree: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """Split a tree of dicts and lists into its tensors by path, and the same tree with paths in their place."""
    if isinstance(tree, Tensor):
        return {prefix: tree}, {"tensor": prefix}
    if isinstance(tree, (dict, list, tuple)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        tensors: dict[str, Tensor] = {}
        shape = []
        for key, value in items:
            inner, form = flatten(value, f"{prefix}.{key}" if prefix else str(key))
            tensors |= inner
            shape.append([key, form])
        return tensors, {"dict" if isinstance(tree, dict) else "list": shape}
    return {}, {"value": tree}


def unflatten(tensors: dict[str, Tensor], form: Any) -> Any:
    """The tree that :func:`flatten` split; keys that were whole numbers are so again."""
    if "tensor" in form:
        return tensors[form["tensor"]]
    if "dict" in form:
        return {key: unflatten(tensors, inner) for key, inner in form["dict"]}
    if "list" in form:
        return [unflatten(tensors, inner) for _, inner in form["list"]]
    return form["value"]


def generator_state(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generator_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Put the generators back."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
