"""Posterior collapse under an autoregressive decoder, and what is done against it, on statically binarised MNIST.

    TAUT_DATA=DIR python benchmarks/collapse.py [--warm 2000] [--steps 500] [--only ROW …] [--out benchmarks/collapse]

A PixelCNN is first trained without latents, for ``warm`` steps. Each row is a VAE whose decoder starts as that PixelCNN,
with weight zero on what z says: a decoder that knows how to do without z, where a posterior that says nothing costs
nothing. It is then trained for ``steps`` steps. The row without latents goes on as long as the others. All numbers are
nats, of the same 2,000 test images drawn at random:

    NLL        −IW-64: the ELBO of all 2,000 and the mean gain IW − ELBO of 128 of them; without latents −log p(x) itself
    least      the least rate of any of these images, and of the mean over a validation or 100 training steps
    active     latents whose posterior mean varies by more than 0.01 (Burda et al. 2016)
    I(x; z)    the mutual information, held from two sides (at most log 2,000 = 7.6 from below)

Each row is a process of its own; rows that are in the JSON are not run again. Writes a table (.md), the numbers (.json) and a
picture (.png).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import taut
from taut.cli import main as main_of_taut
from taut.config import merge, parse
from taut.data import Split, open_data
from taut.evaluation import Subject, bounds, evaluate
from taut.experiment import Experiment, build, resolve
from taut.report.style import ACCENT, GREY, INK, WIDTH, figure, save, style
from taut.training import CHECKPOINT, fit

WIDE, NARROW = (7, 5, 5, 5, 5), (3, 1, 1, 1, 1)
LATENTS, DELTA = 16, 8.0
TESTED, WEIGHED, SAMPLES = 2000, 128, 64


class Row(NamedTuple):
    """A way to train, as changes of the plain configuration."""

    change: dict[str, Any] = {}
    kernels: tuple[int, ...] = WIDE


ROWS = {
    "no latents": Row({"model": {"layers": []}}),
    "plain ELBO": Row(),
    "linear annealing": Row({"objective": {"schedule": {"part": "Linear", "share": 0.5}}}),
    "cyclical annealing": Row({"objective": {"schedule": {"part": "Cyclical", "cycles": 4}}}),
    "free bits": Row({"objective": {"free_bits": DELTA / LATENTS}}),
    "δ-VAE": Row(
        {"model": {"prior": {"part": "AR1", "alpha": 0.9}, "posterior": {"part": "CommittedNormal", "delta": DELTA}}}
    ),
    "β = 0.3": Row({"objective": {"beta": 0.3}}),
    "aggressive updates of q": Row({"training": {"aggressive": 5}}),
    "weaker decoder": Row(kernels=NARROW),
    "more latents": Row({"model": {"latents": 4 * LATENTS}}),
}


def tree(row: Row, **training: Any) -> dict[str, Any]:
    """The configuration of a row."""
    base = {
        "data": {"source": "binarized-mnist"},
        "model": {
            "latents": LATENTS,
            "likelihood": {"part": "PixelCNN", "channels": 16, "kernels": list(row.kernels)},
            "network": {"part": "Conv", "channels": [16, 32], "hidden": 128},
        },
        "objective": {"part": "ELBO", "schedule": "Constant"},
        "training": {
            "batch": 32,
            "validations": 1,
            "optimiser": {"part": "Adam", "lr": 1e-3},
            "average": 0.99,
            **training,
        },
    }
    return merge(base, row.change)


def warm(row: Row, steps: int, folder: Path) -> taut.Run:
    """The decoder without latents that a row starts from, trained if it is not there."""
    place = folder / f"collapse-{'-'.join(map(str, row.kernels))}-{steps}"
    if (place / CHECKPOINT).exists():
        main_of_taut(["train", "--resume", str(place)])
    elif not place.exists():
        alone = tree(Row({"model": {"layers": [], "network": {"part": "MLP", "hidden": []}}}, row.kernels),
                     steps=steps, optimiser={"part": "Adam", "lr": 3e-3})  # fmt: skip
        source = alone.pop("data").pop("source")
        taut.train(source, out=place, **alone)
    return taut.load(place)


def trained(row: Row, start: taut.Run, steps: int) -> tuple[Any, Any, list[dict[str, float]]]:
    """The model of a row, its data, and its course."""
    experiment = parse(Experiment, tree(row, steps=steps))
    data = open_data(experiment.data)
    some = torch.randperm(len(data.valid), generator=torch.Generator().manual_seed(0))[:TESTED]
    data = replace(data, valid=data.valid.take(some))
    experiment = resolve(experiment, data)
    vae, course = build(experiment, data), []
    head = vae.decoder.head
    head.load_state_dict(start.vae.decoder.head.state_dict())
    with torch.no_grad():
        for block in head.pixels.blocks:
            block.read.weight.zero_()

    def listen(event: Any) -> None:
        course.append({"step": event.step, **event.train, "valid": event.valid and event.valid["rate"]})
        print(
            f"  {event.step:5d}  distortion {event.train['distortion']:7.2f}  rate {event.train['rate']:6.2f}",
            flush=True,
        )

    vae, _ = fit(vae, experiment.objective, data, experiment.training, steps, 0, listen=listen)
    return vae, data, course


def measure(name: str, steps: int, start: taut.Run) -> dict[str, Any]:
    """Everything that is said of a row."""
    began = time.process_time()
    vae, data, course = trained(ROWS[name], start, steps)
    seconds = time.process_time() - began
    some = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))[:TESTED].sort().values
    subject = Subject(vae.eval().requires_grad_(False), Split(data.test.x[some]), data.reading)
    found = evaluate(subject, SAMPLES, iw_limit=WEIGHED)
    seen = [each["rate"] for each in course] + [each["valid"] for each in course if each["valid"] is not None]
    return {
        "nll": -found["iw"]["value"],
        "nll_stderr": found["iw"]["stderr"],
        **{key: found[key] for key in ("elbo", "elbo_stderr", "distortion", "rate", "active_units", "latent_dim")},
        "least": min(float(bounds(subject, 1).rate.min()), *seen),
        "information": (found.get("aggregate") or {}).get("information"),
        "course": course,
        "steps": steps,
        "seconds": round(seconds),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows that are there, as Markdown."""
    lines = [
        "| | NLL | ELBO | distortion | rate | least rate | active | I(x; z) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in ROWS:
        if name not in rows:
            continue
        row = rows[name]
        cells = [f"{row['nll']:.2f} ± {row['nll_stderr']:.2f}", f"{row['elbo']:.2f}", f"{row['distortion']:.2f}"]
        if row["latent_dim"]:
            known = row["information"]
            cells += [f"{row['rate']:.2f}", f"{row['least']:.2f}", f"{row['active_units']} of {row['latent_dim']}"]
            cells += [f"{known['low']:.2f}–{known['high']:.2f}"]
        else:
            cells += ["–"] * 4
        lines.append(f"| {name} | {' | '.join(cells)} |".replace("| -", "| −"))
    return "\n".join(lines)


def picture(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Every row in the plane of rate and distortion, with lines of equal ELBO."""
    rows = {name: rows[name] for name in ROWS if name in rows}
    rate = np.array([row["rate"] for row in rows.values()])
    distortion = np.array([row["distortion"] for row in rows.values()])
    with style():
        fig = figure(WIDTH * 0.75, WIDTH * 0.55)
        axes = fig.subplots()
        right, low, high = rate.max() * 1.35 + 1, distortion.min() - 1.5, distortion.max() + 1.5
        for level in np.arange(np.floor(low), high + right, 2.0):
            axes.plot([0, right], [level, level - right], color=GREY, lw=0.4, zorder=0)
        line = (high - low) / 22  # height of a line of text
        placed: list[tuple[float, float]] = []
        for (name, row), x, y in sorted(zip(rows.items(), rate, distortion, strict=True), key=lambda each: each[2]):
            dead = name in ("plain ELBO", "no latents")
            axes.plot(x, y, "o", ms=4, color=INK if dead else ACCENT)
            at = max([y, *(b + line for a, b in placed if abs(a - x) < right / 4 and b + line > y)])
            placed.append((x, at))
            lead = {"arrowstyle": "-", "color": GREY, "lw": 0.4, "shrinkA": 0, "relpos": (0, 0.5)}
            axes.annotate(
                f"{name}  {row['nll']:.1f}", (x, y), (x + right / 40, at), fontsize=7, va="center", arrowprops=lead
            )
        axes.set(xlim=(-0.3, right), ylim=(low, high), xlabel="rate, nats", ylabel="distortion, nats")
        axes.set_title("Each way to train, with its NLL; lines of equal ELBO", fontsize=8)
        save(fig, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--warm", type=int, default=2000, help="steps of the decoder without latents")
    parser.add_argument("--steps", type=int, default=500, help="steps of each row")
    parser.add_argument("--only", nargs="*", choices=ROWS, metavar="ROW")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the decoders are kept")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    args = parser.parse_args()
    kept = args.out.with_suffix(".json")
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    if args.row:
        row = measure(args.row, args.steps, warm(ROWS[args.row], args.warm, args.runs))
        kept.write_text(json.dumps({**rows, args.row: {**row, "warm": args.warm}}, indent=1, ensure_ascii=False))
        return
    for name in args.only or ROWS:
        if name not in rows:
            print(name, flush=True)
            lengths = ["--warm", str(args.warm), "--steps", str(args.steps), "--runs", args.runs, "--out", args.out]
            subprocess.run([sys.executable, __file__, "--row", name, *map(str, lengths)], check=True)
            rows = json.loads(kept.read_text())
    args.out.with_suffix(".md").write_text(table(rows) + "\n")
    picture(rows, args.out.with_suffix(".png"))
    print(table(rows))


if __name__ == "__main__":
    main()
