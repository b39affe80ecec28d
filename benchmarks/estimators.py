"""Variance and signal-to-noise ratio of every gradient estimator, per parameter, on a trained MNIST model.

    TAUT_DATA=DIR python benchmarks/estimators.py [--steps 4000] [--latents 50] [--repeats 300] [--out benchmarks/estimators]

One model is trained first (pathwise ELBO, tanh perceptrons of 200-200 units, 50 latents, dynamic binarisation). At its
weights, and on one fixed batch, each estimator's gradient is drawn ``repeats`` times; only the draws of z differ. For the
parameters θ_i of the encoder, with mean m_i and variance v_i over the repeats,

    variance   mean over i of v_i                                            (nats per unit of θ)²
    SNR        ( Σ_i max(0, m_i² − v_i/R) / Σ_i v_i )^½                       the bias of m_i² taken away

Writes a table (.md), the numbers (.json) and a picture (.png).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

import taut
from taut.data import Batch, Feed
from taut.objectives import ELBO, IWAE, RLOO, STL, VIMCO, DReG, Learner, Objective, Pathwise, Score
from taut.report.style import ACCENT, FAINT, GREY, INK, WIDTH, figure, save, style

CASES: dict[str, Objective] = {
    "ELBO, K = 1 · pathwise": ELBO(estimator=(Pathwise(),)),
    "ELBO, K = 1 · STL": ELBO(estimator=(STL(),)),
    "ELBO, K = 1 · score, no baseline": ELBO(estimator=(Score("none"),)),
    "ELBO, K = 1 · score, running mean": ELBO(estimator=(Score(),)),
    "ELBO, K = 5 · pathwise": ELBO(samples=5, estimator=(Pathwise(),)),
    "ELBO, K = 5 · STL": ELBO(samples=5, estimator=(STL(),)),
    "ELBO, K = 5 · score, no baseline": ELBO(samples=5, estimator=(Score("none"),)),
    "ELBO, K = 5 · RLOO": ELBO(samples=5, estimator=(RLOO(),)),
    "IWAE, K = 5 · pathwise": IWAE(samples=5, estimator=(Pathwise(),)),
    "IWAE, K = 5 · DReG": IWAE(samples=5, estimator=(DReG(),)),
    "IWAE, K = 5 · score, no baseline": IWAE(samples=5, estimator=(Score("none"),)),
    "IWAE, K = 5 · RLOO": IWAE(samples=5, estimator=(RLOO(),)),
    "IWAE, K = 5 · VIMCO": IWAE(samples=5, estimator=(VIMCO(),)),
}
SAMPLES = (1, 4, 16, 64)
TICKS = (0.05, 0.1, 0.2, 0.5, 1.0)
BASE = {"ELBO, K = 1": "pathwise", "ELBO, K = 5": "pathwise", "IWAE, K = 5": "pathwise"}


def moments(run: taut.Run, batch: Batch, objective: Objective, repeats: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance over repeats of the gradient of each encoder parameter, both (P,)."""
    learner = Learner(run.vae.train().requires_grad_(True), objective)
    weights = [*run.vae.encoder.parameters(), *run.vae.layers[0].evidence.parameters()]
    torch.manual_seed(0)
    if isinstance(objective.estimator[0], Score):  # a running mean has run for a while before it is looked at
        for _ in range(50):
            learner(batch, 1.0)
    mean = square = torch.zeros(sum(weight.numel() for weight in weights), dtype=torch.float64)
    for n in range(1, repeats + 1):
        gradients = torch.autograd.grad(learner(batch, 1.0).loss, weights)
        row = torch.cat([gradient.flatten() for gradient in gradients]).double()
        change = row - mean
        mean = mean + change / n
        square = square + change * (row - mean)
    return mean, square / (repeats - 1)


def ratio(mean: torch.Tensor, variance: torch.Tensor, repeats: int) -> float:
    """The signal-to-noise ratio of a whole gradient."""
    signal = (mean.square() - variance / repeats).sum().clamp_min(0)
    return float((signal / variance.sum()).sqrt())


def measure(run: taut.Run, images: int, repeats: int) -> tuple[list[dict], dict[str, np.ndarray], list[dict]]:
    """A row for each estimator, the variances of its parameters, and the rows of the course over K."""
    torch.manual_seed(0)
    feed = Feed(run.dataset().test, run.reading)
    batch = feed.batch(torch.arange(images))
    rows, spread = [], {}
    for name, objective in CASES.items():
        started = time.perf_counter()
        mean, variance = moments(run, batch, objective, repeats)
        seconds = (time.perf_counter() - started) / repeats
        moved = variance[variance > 0]  # pixels that are never on say nothing to anyone
        spread[name] = moved.numpy()
        rows.append(
            {"name": name, "variance": float(moved.mean()), "snr": ratio(mean, variance, repeats), "ms": 1e3 * seconds}
        )
        print(
            f"{name:36s} variance {rows[-1]['variance']:.3e}  SNR {rows[-1]['snr']:.3f}  {rows[-1]['ms']:.1f} ms",
            flush=True,
        )
    course = []
    for k in SAMPLES:
        for label, estimator in (("pathwise", Pathwise()), ("DReG", DReG())):
            mean, variance = moments(run, batch, IWAE(samples=k, estimator=(estimator,)), repeats)
            course.append({"estimator": label, "k": k, "snr": ratio(mean, variance, repeats)})
            print(f"IWAE, K = {k:<3d} {label:10s} SNR {course[-1]['snr']:.3f}", flush=True)
    return rows, spread, course


def table(rows: list[dict], course: list[dict]) -> str:
    """Both tables, as Markdown."""
    lines = [
        "| bound | estimator | variance per parameter | × pathwise | SNR | ms a gradient |",
        "|---|---|---|---|---|---|",
    ]
    base = {}
    for row in rows:
        bound, _, estimator = row["name"].partition(" · ")
        if estimator == BASE[bound]:
            base[bound] = row["variance"]
        times = row["variance"] / base[bound]
        shown = f"{times:,.0f}" if times >= 100 else f"{times:.3g}"
        lines.append(
            f"| {bound} | {estimator} | {row['variance']:.2e} | {shown} | {row['snr']:.3f} | {row['ms']:.1f} |"
        )
    lines += [
        "",
        "| K | " + " | ".join(str(k) for k in SAMPLES) + " | slope of log SNR |",
        "|---|" + "---|" * (len(SAMPLES) + 1),
    ]
    for label in ("pathwise", "DReG"):
        values = [row["snr"] for row in course if row["estimator"] == label]
        slope = np.polyfit(np.log(SAMPLES), np.log(np.maximum(values, 1e-9)), 1)[0]
        lines.append(
            f"| IWAE, {label}: SNR | " + " | ".join(f"{v:.3f}" for v in values) + f" | {slope:+.2f} |".replace("-", "−")
        )
    return "\n".join(lines) + "\n"


def picture(rows: list[dict], spread: dict[str, np.ndarray], course: list[dict]):
    """Left: how the variance of single parameters lies. Right: the encoder's signal as K grows."""
    with style():
        fig = figure(WIDTH, 3.6)
        left, right = fig.subplots(1, 2, width_ratios=(1.9, 1))
        names = list(spread)[::-1]
        for place, name in enumerate(names):
            low, q1, middle, q3, high = np.quantile(np.log10(spread[name]), (0.05, 0.25, 0.5, 0.75, 0.95))
            colour = ACCENT if name.endswith(("pathwise", "STL", "DReG")) else GREY
            left.plot((low, high), (place, place), color=FAINT, lw=1)
            left.plot((q1, q3), (place, place), color=colour, lw=4, solid_capstyle="butt")
            left.plot(middle, place, "o", color=INK, ms=2.5)
        left.set_yticks(range(len(names)), names)
        left.set_xlabel("log₁₀ variance of a parameter's gradient (5, 25, 50, 75, 95%)")
        left.tick_params(axis="y", length=0)
        left.spines["left"].set_visible(False)
        for label, colour in (("DReG", ACCENT), ("pathwise", GREY)):
            values = [row["snr"] for row in course if row["estimator"] == label]
            right.plot(SAMPLES, values, "o-", color=colour, ms=3)
            right.annotate(
                label, (SAMPLES[-1], values[-1]), (-2, 5), textcoords="offset points", ha="right", color=colour
            )
        start = next(row["snr"] for row in course if row["estimator"] == "pathwise" and row["k"] == SAMPLES[0])
        right.plot(SAMPLES, [start / math.sqrt(k) for k in SAMPLES], "--", color=FAINT, lw=0.8)
        right.annotate("1/√K", (SAMPLES[1], start / 2), (6, 4), textcoords="offset points", color=GREY)
        right.set_xscale("log", base=2)
        right.set_yscale("log")
        right.set_xticks(SAMPLES, [str(k) for k in SAMPLES])
        right.set_xlabel("K, samples of IWAE")
        right.set_title("the encoder's SNR")
        right.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        right.minorticks_off()
        return fig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--latents", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    args = parser.parse_args()
    run = taut.train(
        "mnist",
        data={"binarize": "dynamic"},
        model={"latents": args.latents, "network": {"part": "MLP", "hidden": [200, 200], "activation": "tanh"}},
        objective={"part": "ELBO", "schedule": "Constant"},
        training={"steps": args.steps},
    )
    print(f"trained {args.steps:,} steps: test ELBO {run.summary['elbo']:.2f} nats", flush=True)
    rows, spread, course = measure(run, args.images, args.repeats)
    facts = {"elbo": run.summary["elbo"], "steps": args.steps, "repeats": args.repeats, "images": args.images}
    args.out.with_suffix(".json").write_text(json.dumps({**facts, "estimators": rows, "course": course}, indent=1))
    text = table(rows, course)
    args.out.with_suffix(".md").write_text(text)
    save(picture(rows, spread, course), args.out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
