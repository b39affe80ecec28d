"""Encoder and decoder as graphs of plain operations, of any number of examples, held against the model they were made from.

    encoder   x (N, *shape)  →  mean, scale (N, latents)     of q(z|x); of layers side by side, each at the means above it
    decoder   z (N, latents) →  x (N, *shape)                E[x|z]

x is in the model's layout, images (C, H, W), in the data's own units, less the reading's ``centre`` where it has one:
standardising is in the graph. Where a cell of a table
may be missing, NaN is one that is. What a model is conditioned on is a second input, ``condition`` (N, C): of each kind a one
among zeros in the order of its categories, of each quantity (value − mean)/std. ``export.json`` says how raw data become x,
and what the conditions are.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from taut import __version__
from taut.data import Batch
from taut.distributions import central
from taut.errors import InputError
from taut.model import Site, Step
from taut.runfiles import made
from taut.runs import Run, write_json
from taut.training.checkpoint import write_atomically

__all__ = ["FORMATS", "PARTS", "conditions", "export", "needed", "require_free", "traced"]

RECORD = "export.json"

FORMATS = {"onnx": "onnx", "torch-export": "pt2"}
PARTS = ("encoder", "decoder")
SIZES = (1, 5)  # of the batches on which a graph is held against the model
Compute = Callable[..., list[np.ndarray]]  # arrays → arrays
TOLERANCE = 1e-3  # of the largest number compared; float32 in another order is a thousand times nearer


class _Encoder(nn.Module):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self.vae, self.sizes = run.vae, run.sizes
        self.shift = 0.5 if run.vae.dequantise else 0.0  # as Feed.still: a dequantised value in its mean
        self.grey = run.reading.grey if run.reading.binarize == "dynamic" else 1.0
        self.gaps = _gaps(run)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x / self.grey + self.shift
        known = ~x.isnan() if self.gaps else None
        x = x if known is None else torch.where(known, x, 0.0)
        evidence = self.vae.evidence(Batch(x, known, condition))
        root = x.flatten(1)[:, :0] if condition is None else condition
        steps, _ = self.vae.walk(root, evidence, _means)
        means = torch.cat([step.z.flatten(1) for step in steps], 1)
        return means, torch.cat([step.q.stddev.expand_as(step.z).flatten(1) for step in steps], 1)


def _gaps(run: Run) -> bool:
    """Whether cells may be missing."""
    return run.reading.fields is not None


def _means(site: Site) -> Step:
    z = central(site.q)
    return Step(site.q, site.p, z, z.flatten(1).sum(1))  # its density is not asked for


class _Decoder(nn.Module):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self.vae, self.sizes = run.vae, run.sizes
        self.shift = 0.5 if run.vae.dequantise else 0.0

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        vae, h = self.vae, z[:, :0] if condition is None else condition
        for layer, part in zip(vae.layers, z.split(self.sizes, 1), strict=True):
            h = layer.merge(layer.enter(h), layer.q.place(part.view(-1, *layer.event)))
        return central(vae.decoder(h)) - self.shift


def export(
    run: Run, folder: Path, format: str = "onnx", parts: tuple[str, ...] = PARTS, force: bool = False
) -> dict[str, Any]:
    """Write encoder and decoder into a folder, hold them against the model, and say so in ``export.json``.

    Args:
        run: the trained model.
        folder: made if need be.
        format: ``onnx``, or ``torch-export`` for ``torch.export.load``.
        parts: which of the two.
        force: overwrite files of the same names.

    Returns:
        What ``export.json`` says; ``difference`` is the largest of any number that a graph gives, in batches of 1 and 5.

    Raises:
        InputError: where a part has no graph, or a package is missing.
    """
    require_free(folder, [*(f"{part}.{FORMATS[format]}" for part in parts), RECORD], force)
    found = {part: _checked(run, part, format) for part in parts}
    record = {
        "format": format,
        "taut": __version__,
        "data": run.reading.name,
        "likelihood": run.experiment.model.likelihood.name,
        "elbo": run.summary.get("elbo"),
        **{part: {"file": f"{part}.{FORMATS[format]}", **said} for part, (_, said) in found.items()},
        "reading": run.reading.to_dict(),
    }
    made(folder)
    for part, (content, _) in found.items():
        write_atomically(folder / record[part]["file"], content)
    write_json(folder / RECORD, record)
    return record


def require_free(folder: Path, names: Sequence[str], force: bool) -> None:
    """Refuse a folder that is none, or holds files of these names already.

    Raises:
        InputError: naming the first.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InputError("-o", f"{folder} is no folder", "name another")
    if not force and (there := [folder / name for name in names if os.path.exists(folder / name)]):
        raise InputError("-o", f"{there[0]} exists", "name another folder, or say --force")


def traced(run: Run, part: str, format: str = "onnx", many: bool = True) -> tuple[bytes, Compute, nn.Module]:
    """A part as the content of a file, what computes it from there, and the module that it was made of, each of x or z and
    of the condition where there is one; for any number of examples, or for one.

    Raises:
        InputError: where the model has no such part, or the part has operations that the format has not.
    """
    _require(run, part)
    module = (_Encoder if part == "encoder" else _Decoder)(run).eval()
    example = _examples(run, part, 3 if many else 1)
    given, gives = {"encoder": ("x", ["mean", "scale"]), "decoder": ("z", ["x"])}[part]
    names = [given, "condition"][: len(example)]
    free = tuple({0: torch.export.Dim("n")} for _ in example) if many else None
    try:
        with _quiet():
            content, run_it = WRITERS[format](module, example, free, names, gives)
    except InputError:
        raise
    except Exception as error:  # whatever a tracer meets that it cannot follow
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
        parts = f"{run.experiment.model.likelihood.name}, {type(run.experiment.model.network).__name__}"
        mend = "try the other --format, or --only the other part"
        raise InputError(
            "export", f"the {part} of this model ({parts}) has no {format} graph ({reason})", mend
        ) from None
    return content, run_it, module


def _checked(run: Run, part: str, format: str) -> tuple[bytes, dict[str, Any]]:
    content, run_it, module = traced(run, part, format)
    difference = largest = 0.0
    for size in SIZES:
        given = _examples(run, part, size)
        with torch.no_grad():
            told = module(*given)
        found = run_it(*(each.numpy() for each in given))
        for ours, theirs in zip(told if isinstance(told, tuple) else (told,), found, strict=True):
            difference = np.maximum(difference, np.abs(ours.numpy() - theirs).max())  # of NaN it is NaN, and refused
            largest = max(largest, float(ours.abs().max()))
    if not difference <= TOLERANCE * max(1.0, largest):
        raise InputError("export", f"the {part} written as {format} differs from the model by {difference:.2g}",
                         "try the other --format")  # fmt: skip
    latents, shape = sum(module.sizes), list(run.reading.shape)
    ends = {"input": ["n", latents], "outputs": {"x": ["n", *shape]}}
    if part == "encoder":
        ends = {"input": ["n", *shape], "outputs": {"mean": ["n", latents], "scale": ["n", latents]}}
        ends |= {"missing": "NaN" if _gaps(run) else None}
    ends |= {"condition": ["n", run.reading.conditioned]} if run.reading.conditions else {}
    return content, {**ends, "difference": float(difference), "largest": largest, "bytes": len(content)}


def _require(run: Run, part: str) -> None:
    if not run.vae.layers:
        raise InputError(
            "export", "the model has no latents, so it has neither encoder nor decoder", "sample from it by taut"
        )
    if part == "decoder" and not run.averaged:
        name = run.experiment.model.likelihood.name
        raise InputError("export", f"x given z has no mean under {name}: it is drawn step by step, which is no graph",
                         "say --only encoder")  # fmt: skip


def conditions(run: Run, n: int) -> Tensor | None:
    """A condition for each of n examples, (n, C): the categories of each kind in turn, quantities about their means."""
    if not run.reading.conditions:
        return None
    places = torch.arange(n)
    return torch.cat([
        torch.nn.functional.one_hot(places % each.width, each.width).float() if each.categories
        else (places % 3 - 1.0)[:, None]
        for each in run.reading.conditions
    ], 1)  # fmt: skip


def _examples(run: Run, part: str, n: int) -> tuple[Tensor, ...]:
    """What a part is tried on: draws of the model's own, of which some cells are missing where they may be."""
    told = conditions(run, n)
    if part == "decoder":
        given = torch.from_numpy(run.draw_codes(n, condition=told))
    else:
        raw, limits = run.sample(n, seed=0, condition=told), run.reading.limits  # a density may draw what no datum is
        given = run.reading.convert(raw if limits is None else raw.clip(*limits)).float()
        if _gaps(run):
            given[(torch.arange(n)[:, None] + torch.arange(given.shape[1])) % 3 == 0] = torch.nan
    return (given,) if told is None else (given, told)


def _onnx(
    module: nn.Module, example: tuple[Tensor, ...], free: Any, given: list[str], gives: list[str]
) -> tuple[bytes, Compute]:
    onnxruntime = needed("onnxruntime")
    needed("onnxscript")
    program = torch.onnx.export(
        module, example, input_names=given, output_names=gives, dynamo=True, external_data=False, verbose=False,
        dynamic_shapes=free,
    )  # fmt: skip
    content = program.model_proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return content, lambda *x: session.run(None, dict(zip(given, x, strict=True)))


def _program(
    module: nn.Module, example: tuple[Tensor, ...], free: Any, given: list[str], gives: list[str]
) -> tuple[bytes, Compute]:
    program = torch.export.export(module, example, dynamic_shapes=free)
    file = io.BytesIO()
    torch.export.save(program, file)
    again = torch.export.load(io.BytesIO(file.getvalue())).module()

    def run_it(*x: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            found = again(*map(torch.from_numpy, x))
        return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]

    return file.getvalue(), run_it


WRITERS = {"onnx": _onnx, "torch-export": _program}


def needed(package: str) -> Any:
    """A package of the extra ``export``.

    Raises:
        InputError: where it is missing.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError("--format", f"onnx needs the package {package}", "pip install 'taut[export]'") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tracers say much of what they do; what matters is said by an error. And a density that checks its own parameters asks
    of them what no graph can answer."""
    level, checks = logging.root.manager.disable, torch.distributions.Distribution._validate_args
    logging.disable(logging.ERROR)
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        torch.distributions.Distribution.set_default_validate_args(checks)
