"""A page that decodes in a browser: one folder, no network, nothing but a decoder's graph and a script that walks it.

ONNX Runtime's own build for browsers would bring more than ten megabytes and must be served over HTTP; the decoders of this
package come down to a few dozen kinds of operations, which ``walk.js`` has. So the page opens from a disk, and holds itself
against the model when it does.
"""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from taut.errors import InputError
from taut.export.graphs import conditions, needed, require_free, traced
from taut.runfiles import made
from taut.runs import Run
from taut.training.checkpoint import write_atomically

__all__ = ["export_page"]

CODES, SLIDERS = 64, 16


def export_page(run: Run, folder: Path, force: bool = False) -> dict[str, Any]:
    """Write ``index.html``, ``walk.js`` and ``model.js`` into a folder.

    Args:
        run: the trained model.
        folder: made if need be.
        force: overwrite files of these names.

    Returns:
        ``file``, the page; ``bytes``, of all three.

    Raises:
        InputError: where the decoder has no graph, or one with an operation that the page does not know.
    """
    if run.vae.layers and not run.averaged:
        problem = f"is a page that decodes, and x given z has no mean under {run.experiment.model.likelihood.name}"
        raise InputError("--web", f"{problem}: it is drawn step by step, which is no graph",
                         "look through the run with taut explore")  # fmt: skip
    names = ("index.html", "walk.js", "model.js")
    require_free(folder, names, force)
    walk = files("taut.export").joinpath("walk.js").read_text(encoding="utf-8")
    page = files("taut.export").joinpath("page.html").read_text(encoding="utf-8")
    model = f"const MODEL = {json.dumps(_model(run, walk), ensure_ascii=False)};\n"
    made(folder)
    for name, text in zip(names, (page, walk, model), strict=True):
        write_atomically(folder / name, text.encode())
    return {"file": folder / names[0], "bytes": sum((folder / name).stat().st_size for name in names)}


def _model(run: Run, walk: str) -> dict[str, Any]:
    """All that the page is told."""
    content, compute, _ = traced(run, "decoder", many=False)
    graph = needed("onnx").load_from_string(content).graph
    told = conditions(run, CODES)
    codes = run.draw_codes(CODES, condition=told).round(4)
    given = [codes.astype(np.float32)] + ([] if told is None else [told.numpy()])
    means = np.concatenate([compute(*(each[i : i + 1] for each in given))[0] for i in range(CODES)])
    order = np.argsort(run.summary.get("kl_per_dim") or [], kind="stable")[::-1]
    if len(order) != codes.shape[1]:
        order = np.arange(codes.shape[1])
    fields = [run.reading.fields[i] for i in run.reading.kept] if run.reading.fields else []
    elbo = run.summary.get("elbo")
    bound = (
        ""
        if elbo is None
        else f"; ELBO {elbo:.2f} ± {run.summary.get('elbo_stderr') or 0:.2f} nats on test data".replace("-", "−")
    )
    names = ", ".join(each.name for each in run.reading.conditions)
    shown = f"E[x|z{f', {names}' * bool(names)}] under {run.experiment.model.likelihood.name}"
    if any(field.categories for field in fields):
        shown += ", and of categories the likeliest"
    return {
        "title": f"{run.reading.name}: a decoder of {codes.shape[1]} latents",
        "lead": f"Shown is {shown}; codes are draws from the prior{bound}.",
        "codes": codes.tolist(),
        "told": [] if told is None else told.tolist(),
        "conditions": [
            {"name": each.name, "categories": each.categories, "mean": each.mean, "std": each.std}
            for each in run.reading.conditions
        ],
        "expected": means[0].ravel().tolist(),
        "order": order[:SLIDERS].tolist(),
        "reach": run.reach,
        "layout": run.reading.layout,
        "limits": _limits(run, means),
        "columns": run.reading.kept_columns if run.reading.layout == "vector" else [],
        "categories": [field.categories for field in fields],
        "centre": [run.reading.centre[i] for i in run.reading.kept] if run.reading.centre else [],
        **_plain(graph, walk),
    }


def _limits(run: Run, means: np.ndarray) -> list[tuple[float, float]]:
    """Between what numbers pictures are drawn: what x can be, or where that has no end what means (N, *shape) are. Signals'
    channels may each be of another unit, and have their own."""
    if run.reading.layout == "signal":
        ends = [(float(channel.min()), float(channel.max())) for channel in np.moveaxis(means, 1, 0)]
    else:
        ends = [run.reading.limits or (float(means.min()), float(means.max()))]
    return [(low, high if high > low else low + 1) for low, high in ends]


def _plain(graph: Any, walk: str) -> dict[str, Any]:
    """A graph as JSON: nodes in order, floating weights as the bytes of float32."""
    onnx = needed("onnx")
    array = onnx.numpy_helper.to_array
    weights = {each.name: array(each) for each in graph.initializer}
    nodes = []
    for node in graph.node:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Constant":
            weights[node.output[0]] = array(attributes["value"])
            continue
        if f"  {node.op_type}:" not in walk and f" {node.op_type}: " not in walk:
            raise InputError("--web", f"the decoder has the operation {node.op_type}, which the page does not know",
                             "export it as onnx, without --web")  # fmt: skip
        plain = {name: _attribute(value, onnx.TensorProto, array) for name, value in attributes.items()}
        nodes.append({"op": node.op_type, "inputs": list(node.input), "outputs": list(node.output), "attrs": plain})
    return {
        "nodes": nodes,
        "weights": {name: _weight(value) for name, value in weights.items()},
        "inputs": [each.name for each in graph.input],
        "output": graph.output[0].name,
    }


def _attribute(value: Any, tensor: type, array: Any) -> Any:
    if isinstance(value, tensor):
        return array(value).ravel().tolist()
    return value.decode() if isinstance(value, bytes) else value


def _weight(value: np.ndarray) -> dict[str, Any]:
    if value.dtype.kind != "f":
        return {"dims": list(value.shape), "values": value.ravel().tolist()}
    content = np.ascontiguousarray(value, dtype="<f4").tobytes()
    return {"dims": list(value.shape), "base64": base64.b64encode(content).decode()}
