"""The real, small runs behind the essay of the page, as JSON of a few hundred kilobytes.

    python -m taut.explore.lessons FOLDER [collapse] [tension]          five minutes on one core; the same numbers each time

``tension.json``   a plain autoencoder and VAEs of two latents at several β on the digits: their maps, what they decode,
                   rebuild and draw, and their numbers
``plane.json``     of the VAE at β = 1 and a few test examples: log p(x|z) over the whole plane of z, and log p(x) by quadrature
``collapse.json``  a decoder strong enough to do without z, trained as it is, with annealing, and with free bits

Arrays are base64 of little-endian numbers with their shape, since digits in text are three times as long.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taut.comparison import plain_autoencoder
from taut.config import merge, parse
from taut.data import Dataset, open_data
from taut.evaluation.exact import Integrator
from taut.experiment import Experiment, resolve, train
from taut.model import follow
from taut.runs import Run, facts_of
from taut.training import Event

__all__ = ["likelihood_over", "make", "packed"]

BETAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
REACH, POINTS = 3.6, 97  # of the plane, on either side of 0, and how finely
SHOWN, CODES, ACROSS = 10, 600, 13  # examples rebuilt, codes on a map, decodings along each side of a map

SMALL: Mapping[str, Any] = {
    "data": {"source": "digits"},
    "model": {"latents": 2},
    "training": {"steps": 3000, "batch": 128, "validations": 30},
}
STRONG: Mapping[str, Any] = {
    "data": {"source": "digits"},
    "model": {"latents": 8, "likelihood": {"part": "PixelCNN", "channels": 16, "kernels": [7, 3, 3]}},
    "training": {"steps": 1200, "batch": 64, "validations": 24, "optimiser": {"part": "Adam", "lr": 3e-3}},
}
CURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "plain": ("β rises from 0 to 1 over a tenth of the run, as it does where nothing is said", {"part": "ELBO"}),
    "annealing": (
        "β rises over half of the run",
        {"part": "ELBO", "schedule": {"part": "Linear", "share": 0.5}},
    ),
    "free bits": ("as plain, and 0.25 nats of each latent are free of charge", {"part": "ELBO", "free_bits": 0.25}),
}


def packed(values: np.ndarray) -> dict[str, Any]:
    """An array as JSON can hold it.

    >>> packed(np.arange(3, dtype=np.uint8))
    {'dtype': 'uint8', 'shape': [3], 'base64': 'AAEC'}
    """
    values = np.ascontiguousarray(values)
    text = base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")
    return {"dtype": values.dtype.name, "shape": list(values.shape), "base64": text}


@torch.no_grad()
def likelihood_over(run: Run, example: int, reach: float, points: int) -> np.ndarray:
    """log p(x|z) of a test example in nats, for z over the square [−reach, reach]² of two latents.

    Returns:
        (points, points), the first axis the first latent's.
    """
    axis = torch.linspace(-reach, reach, points)
    places = torch.cartesian_prod(axis, axis)
    batch = run.subject().batch(torch.tensor([example]))
    found = [run.vae.generate(len(z), follow([z])).likelihood.log_prob(batch.x) for z in places.split(4096)]
    return torch.cat(found).view(points, points).numpy()


def make(folder: Path, which: Sequence[str] = ("collapse", "tension"), say: Callable[[str], None] = print) -> None:
    """Train the runs of some lessons and write their files into a folder; that of the plane comes with the tension."""
    folder.mkdir(parents=True, exist_ok=True)
    data = open_data(parse(Experiment, SMALL).data)
    levels = int(data.reading.support.size - 1)
    facts = {"data": facts_of(data)["description"], "levels": levels, "made": "python -m taut.explore.lessons"}
    if "tension" in which:
        tension, plane = _swept(data, say)
        _write(folder / "tension.json", facts | tension)
        _write(folder / "plane.json", facts | plane)
    if "collapse" in which:
        _write(folder / "collapse.json", facts | {"runs": [_cured(name, data, say) for name in CURES]})


def _swept(data: Dataset, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The lesson of the tension, and that of the plane of its model at β = 1."""
    base, points, plane = resolve(parse(Experiment, SMALL), data), [], {}
    for beta in (0.0, *BETAS):
        experiment = replace(base, objective=replace(base.objective, beta=beta)) if beta else plain_autoencoder(base)
        run, _ = _trained(experiment, data)
        points.append(_point(run, data, beta))
        say(f"β {beta:g}: {run.summary['elbo']}")
        if beta == 1.0:
            plane = _plane(run, data)
    return {"reach": REACH, "across": ACROSS, **_examples(data), "points": points}, plane


def _trained(experiment: Experiment, data: Dataset) -> tuple[Run, list[Event]]:
    events: list[Event] = []
    vae, facts = train(experiment, data, listen=events.append)
    run = Run(vae.eval().requires_grad_(False), experiment, data.reading, facts_of(data), {}, None, data)
    run.summary = run.evaluate(samples=100) | facts
    return run, [event for event in events if event.valid is not None]


def _examples(data: Dataset) -> dict[str, Any]:
    return {
        "x": packed(data.test.x[:SHOWN].numpy().astype(np.uint8)),
        "labels": packed(data.train.labels[:CODES].numpy().astype(np.uint8)),
    }


def _pictures(means: np.ndarray) -> dict[str, Any]:
    """Means of x in 256 steps of their range."""
    return packed(np.clip(np.round(means * (255 / 16)), 0, 255).astype(np.uint8))


def _point(run: Run, data: Dataset, beta: float) -> dict[str, Any]:
    """What one β made."""
    codes = run.encode(data.train.take(slice(CODES)))
    # an autoencoder's codes lie where they like: its map reaches as far as they do
    reach = REACH if beta else float(np.quantile(np.abs(codes), 0.995)) * 1.1
    axis = np.linspace(-reach, reach, ACROSS)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    noise = np.random.default_rng(0).normal(size=(2 * SHOWN, 2))  # the same z ~ N(0, I) for every β
    numbers = ("elbo", "elbo_stderr", "distortion", "rate", "active_units", "kl_per_dim", "iw")
    return {
        "beta": beta,
        "name": "autoencoder" if not beta else f"β = {beta:g}",
        **{name: run.summary[name] for name in numbers},
        "reach": reach,
        "codes": packed(codes.astype(np.float32)),
        "grid": _pictures(run.decode(places)),
        "rebuilt": _pictures(run.reconstruct(data.test.take(slice(SHOWN)))),
        "samples": _pictures(run.decode(noise)),
    }


def _plane(run: Run, data: Dataset) -> dict[str, Any]:
    """log p(x|z) of a few test examples, with q and log p(x)."""
    integrator, subject, examples = Integrator(run.vae), run.subject(), []
    for i in range(3):
        batch = subject.batch(torch.tensor([i]))
        torch.manual_seed(0)
        found = integrator.quadrature(batch, 1e-4)
        q = run.vae(batch).steps[0].q
        examples.append({
            "x": packed(data.test.x[i].numpy().astype(np.uint8)),
            "label": int(data.test.labels[i]),
            "log_p": float(found.log_p),
            "mean": q.mean[0].tolist(),
            "std": q.stddev[0].tolist(),
            "tenths": packed(np.round(10 * likelihood_over(run, i, REACH, POINTS)).astype(np.int16)),
        })  # fmt: skip
    return {"reach": REACH, "points": POINTS, "beta": 1.0, "examples": examples}


def _cured(name: str, data: Dataset, say: Callable[[str], None]) -> dict[str, Any]:
    """A run of the strong decoder with or without a cure, and what it came to."""
    words, objective = CURES[name]
    experiment = resolve(parse(Experiment, merge(STRONG, {"objective": dict(objective)})), data)
    run, events = _trained(experiment, data)
    say(f"{name}: {run.summary['elbo']}, rate {run.summary['rate']}")
    history = [
        {"step": e.step, "beta": e.beta, "distortion": e.valid["distortion"], "rate": e.valid["rate"],
         "active": e.valid["active_units"], "kl": [round(v, 4) for v in e.valid["kl"][0]]}
        for e in events
    ]  # fmt: skip
    numbers = ("elbo", "elbo_stderr", "distortion", "rate", "active_units", "kl_per_dim", "iw")
    few = data.test.take(slice(SHOWN))
    return {
        "name": name,
        "words": words,
        **{key: run.summary[key] for key in numbers},
        "history": history,
        "x": packed(few.x.numpy().astype(np.uint8)),
        "rebuilt": _pictures(run.reconstruct(few)),
        "samples": _pictures(run.sample(SHOWN, seed=0)),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(_short(content), ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def _short(content: Any) -> Any:
    """The same with numbers of six digits."""
    if isinstance(content, float):
        return float(f"{content:.6g}")
    if isinstance(content, Mapping):
        return {key: _short(value) for key, value in content.items()}
    return [_short(value) for value in content] if isinstance(content, list | tuple) else content


if __name__ == "__main__":
    torch.set_num_threads(1)
    make(Path(sys.argv[1]), sys.argv[2:] or ("collapse", "tension"))
