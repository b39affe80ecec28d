"""Annealing against the truth: linear-Gaussian models, of which log p(x) is known, and a trained model of MNIST.

    python benchmarks/annealing.py linear                                  about 10 minutes
    TAUT_DATA=DIR python benchmarks/annealing.py trained RUN [--images 50]  of a run that `taut train` made
    TAUT_DATA=DIR python benchmarks/annealing.py time RUN                  100 images, 16 chains, 1,000 temperatures

**linear**   z ~ N(0, I) of D latents, y = Wz + σε of 2D numbers; W has independent normal elements and columns of length about
1.5, σ = 0.5. q(z|x) has the exact mean and the best independent scales, but not the correlations. Of model-made x: how far AIS
(16 chains, 1,000 temperatures) and IW-5000 are from log p(x); and over 50 seeds, whether BDMC's sides (16 chains, 200
temperatures, 30 examples) hold it within three standard errors of their means.

**trained**  BDMC on examples that the model makes, and AIS beside IW-5000 on test images, from the prior and from q(z|x).

Results are added to annealing.json and annealing.md beside this file, or at --out.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import taut
from taut.data import Batch, Statistics, Support
from taut.distributions import fold
from taut.evaluation import Annealing, Subject, annealed, bracketed
from taut.evaluation.annealing import ais, bdmc, made
from taut.likelihoods import Gaussian
from taut.model import VAE, Model, draw
from taut.networks import MLP

NOISE, LENGTH = 0.5, 1.5
SEEDS, EXAMPLES = 50, 30  # of BDMC


def linear(latents: int) -> tuple[VAE, MultivariateNormal]:
    """The linear-Gaussian model, and its evidence."""
    torch.manual_seed(latents)
    size = 2 * latents
    w = LENGTH * torch.randn(size, latents, dtype=torch.float64) / math.sqrt(size)
    unit = Statistics(torch.zeros(size), torch.ones(size))
    spec = Model(latents, likelihood=Gaussian(spread="constant", scale=NOISE), network=MLP(hidden=()))
    vae = spec.build((size,), Support("real"), unit).eval().requires_grad_(False)
    precision = torch.eye(latents, dtype=torch.float64) + w.T @ w / NOISE**2
    gain = torch.linalg.solve(precision, w.T / NOISE**2)
    vae.decoder.body[0][0].weight.copy_(w)
    vae.decoder.head.offset.zero_()
    evidence = vae.layers[0].evidence
    evidence.weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
    log_scale = -0.5 * precision.diagonal().log()
    evidence.bias.copy_(torch.cat([torch.zeros(latents), 8 * torch.atanh(log_scale / 8)]))
    covariance = w @ w.T + NOISE**2 * torch.eye(size, dtype=torch.float64)
    return vae, MultivariateNormal(torch.zeros(size, dtype=torch.float64), covariance)


@torch.no_grad()
def importance(vae: VAE, batch: Batch, samples: int) -> Tensor:
    """IW-K of each example, (B,) nats."""
    parts = []
    for _ in range(samples // 100):
        evidence = [fold(e, 100) for e in vae.evidence(batch)]
        parts.append(vae.descend(vae.root(100 * len(batch.x)), evidence, draw, 100).log_weight(batch).double())
    return torch.cat(parts).logsumexp(0) - math.log(100 * len(parts))


def linear_rows(examples: int) -> list[dict[str, Any]]:
    """How far estimates are from the exact log p(x)."""
    estimates: dict[str, Callable[[VAE, Batch], dict[str, Tensor]]] = {
        "IW-5000": lambda vae, batch: {"log_p": importance(vae, batch, 5000)},
        "AIS from the prior": lambda vae, batch: ais(vae, Annealing(start="prior"), batch),
        "AIS from q": lambda vae, batch: ais(vae, Annealing(start="posterior"), batch),
    }
    rows = []
    for latents in (2, 10, 50):
        vae, truth = linear(latents)
        batch, _ = made(vae, examples)
        exact = truth.log_prob(batch.x.double())
        for name, measure in estimates.items():
            torch.manual_seed(0)
            started = time.process_time()
            found = measure(vae, batch)
            off = found["log_p"] - exact
            rows.append({
                "latents": latents, "estimate": name, "mean": float(off.mean()), "stderr": stderr(off),
                "worst": float(off.abs().max()), "ess": float(found["ess"].mean()) if "ess" in found else None,
                "seconds": time.process_time() - started,
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def sides() -> list[dict[str, Any]]:
    """Over seeds, how BDMC's sides lie about the exact value."""
    rows = []
    for latents, start in ((2, "prior"), (10, "posterior"), (50, "posterior")):
        vae, truth = linear(latents)
        lows, highs, held = [], [], 0
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            exact = truth.log_prob(made(vae, EXAMPLES)[0].x.double())
            torch.manual_seed(seed)  # the same examples are made again
            found = bdmc(vae, Annealing(temperatures=200, start=start), EXAMPLES)
            low, high = found["lower"] - exact, found["upper"] - exact
            held += bool(low.mean() <= 3 * stderr(low) and high.mean() >= -3 * stderr(high))
            lows.append(low.mean())
            highs.append(high.mean())
        low, high = torch.stack(lows), torch.stack(highs)
        rows.append({
            "latents": latents, "start": start, "held": held, "seeds": SEEDS,
            "lower": float(low.mean()), "lower_stderr": stderr(low),
            "upper": float(high.mean()), "upper_stderr": stderr(high), "width": float((high - low).mean()),
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def trained_rows(folder: str, images: int, temperatures: tuple[int, ...]) -> list[dict[str, Any]]:
    """A trained model: both sides on what it makes, AIS and IW-5000 on test images."""
    run = taut.load(folder)
    subject = Subject(run.vae, run.test_split(), run.reading)
    rows = []
    for start in ("prior", "posterior"):
        for degrees in temperatures:
            how = Annealing(temperatures=degrees, start=start)
            started = time.process_time()
            both = bracketed(subject, how, images)
            between = time.process_time()
            up = annealed(subject, how, images, 5000)
            rows.append({
                "run": Path(folder).name, "images": images, "start": start, "temperatures": degrees,
                "bdmc": {key: both[key] for key in ("lower", "upper", "gap", "gap_stderr", "ess", "acceptance")},
                "bdmc_seconds": between - started, "ais": up, "ais_seconds": time.process_time() - between,
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def timed(folder: str) -> dict[str, Any]:
    """100 images × 16 chains × 1,000 temperatures."""
    run = taut.load(folder)
    subject = Subject(run.vae, run.test_split(), run.reading)
    wall, cpu = time.perf_counter(), time.process_time()
    found = annealed(subject, Annealing(), 100, 100)
    spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {"run": Path(folder).name, **spent, "threads": torch.get_num_threads(), "ais": found}


def stderr(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values)))


def table(found: dict[str, Any]) -> str:
    """All that was found, as Markdown."""
    parts = []
    if rows := found.get("linear"):
        head = ("latents", "estimate", "estimate − log p(x), mean", "largest", "ESS", "CPU s")
        parts.append(markdown(head, [
            (row["latents"], row["estimate"], f"{row['mean']:+.4f} ± {row['stderr']:.4f}", f"{row['worst']:.3f}",
             "" if row["ess"] is None else f"{row['ess']:.1f}", f"{row['seconds']:.1f}") for row in rows
        ]))  # fmt: skip
    if rows := found.get("sides"):
        head = ("latents", "start", "lower − log p(x)", "upper − log p(x)", "width", "hold it")
        parts.append(markdown(head, [
            (row["latents"], row["start"], f"{row['lower']:+.4f} ± {row['lower_stderr']:.4f}",
             f"{row['upper']:+.4f} ± {row['upper_stderr']:.4f}", f"{row['width']:.4f}", f"{row['held']} of {row['seeds']}")
            for row in rows
        ]))  # fmt: skip
    if rows := found.get("trained"):
        head = ("run", "images", "start", "temperatures", "BDMC, lower to upper", "width", "ESS of AIS", "AIS − IW-5000",
                "CPU s, BDMC and AIS")  # fmt: skip
        parts.append(markdown(head, [
            (row["run"], row["images"], row["start"], f"{row['temperatures']:,}",
             f"{row['bdmc']['lower']:.2f} to {row['bdmc']['upper']:.2f}",
             f"{row['bdmc']['gap']:.3f} ± {row['bdmc']['gap_stderr']:.3f}", f"{row['ais']['ess']:.1f}",
             f"{row['ais']['iw']['difference']:+.3f} ± {row['ais']['iw']['stderr']:.3f}",
             f"{row['bdmc_seconds']:.0f}, {row['ais_seconds']:.0f}") for row in rows
        ]))  # fmt: skip
    if row := found.get("time"):
        parts.append(
            f"100 images × 16 chains × 1,000 temperatures of {row['run']}: {row['cpu']:.0f} CPU seconds, "
            f"{row['wall']:.0f} s of wall time with {row['threads']} thread{'s'[: row['threads'] != 1]}.\n"
        )
    return "\n".join(parts)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table, with true minus signs."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return re.sub(r"(?<= )-(?=\d)", "−", "\n".join(lines)) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("linear", "trained", "time"))
    parser.add_argument("run", nargs="?")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--temperatures", type=int, nargs="+", default=[1000])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    args = parser.parse_args()
    path = args.out.with_suffix(".json")
    found = json.loads(path.read_text()) if path.exists() else {}
    if args.part == "linear":
        found |= {"linear": linear_rows(args.examples), "sides": sides()}
    elif args.part == "trained":
        found.setdefault("trained", []).extend(trained_rows(args.run, args.images, tuple(args.temperatures)))
    else:
        found["time"] = timed(args.run)
    path.write_text(json.dumps(found, indent=1))
    args.out.with_suffix(".md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
