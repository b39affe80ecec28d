"""Ratios of speed, measured in turns in one run, and what they were asked to be.

    python -m benchmarks.speed --pythae PYTHON [--cases mlp,conv,…] [--rounds 7] [--threads 2] [--out DIR]

PYTHON is the interpreter of an environment that has pythae 0.1.2, which pins packages that break others (`make bench` makes
one). Sides of a case take turns, a few hundred steps each; a ratio is taken within a round, and its median and range over
rounds are shown, so that what slows the whole machine slows both.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.loops import ConvVAE, Ladder, PerceptronVAE, floor, lean, plain, replay
from taut.data import Split, Statistics, Support, open_array
from taut.data.spec import Data
from taut.evaluation import Subject, bounds
from taut.layers import Spatial
from taut.likelihoods import Gaussian
from taut.model import VAE, Model
from taut.networks import MLP, Conv, Tower
from taut.networks.cells import BottleneckCell
from taut.objectives import ELBO, IWAE
from taut.objectives.schedules import Constant
from taut.training import Training, fit

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COMPILED = "taut, compiled"

Side = Callable[[], float]  # does its share once, and says how many seconds a piece of it took


def timed(work: Callable[[], object], pieces: int = 1) -> Side:
    def once() -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) / pieces

    return once


class Peer:
    """pythae in an interpreter of its own, waiting between its turns."""

    def __init__(self, python: str, threads: int) -> None:
        command = [python, str(HERE / "peer.py"), str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def side(self, pieces: int, **ask: object) -> Side:
        def once() -> float:
            self.process.stdin.write(json.dumps(ask) + "\n")
            self.process.stdin.flush()
            if not (line := self.process.stdout.readline()):
                sys.exit("pythae's side ended")
            return json.loads(line) / pieces

        return once

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def pictures(shape: tuple[int, ...], n: int = 20_000) -> torch.Tensor:
    """Bytes that cost what digits cost: an eighth of the pixels bright."""
    generator = torch.Generator().manual_seed(0)
    bright = torch.rand(n, *shape, generator=generator) < 0.13
    return (bright * torch.randint(128, 256, (n, *shape), generator=generator)).to(torch.uint8)


def unit(shape: tuple[int, ...]) -> Statistics:
    return Statistics(torch.zeros(shape), torch.ones(shape))


def ours(
    vae: VAE, objective: object, grey: torch.Tensor, batch: int, steps: int, binary: bool, compile: str = "off"
) -> Side:
    """A step of `fit`. What a run does once, its validation above all, is timed with a run of one step and taken off, since no
    other side has it. What a compiler takes is no part of its seconds."""
    data = open_array(
        grey.numpy(), None, Data("array", binarize="dynamic" if binary else "none", valid=0.01, test=0.01)
    )

    start = {name: tensor.clone() for name, tensor in vae.state_dict().items()}

    def run(steps: int) -> float:
        vae.load_state_dict(start)
        spec = Training(batch=batch, steps=steps, validations=1, warmup=0, compile=compile)
        return fit(vae, objective, data, spec, steps, seed=0)[1]["seconds"]

    return lambda: (run(steps + 1) - run(1)) / steps


def training(case: str, peer: Peer | None) -> dict[str, Side]:
    """Sides of one case of training; a piece is a step."""
    shape, binary, batch, steps = (1, 28, 28), True, 128, 1000
    elbo = ELBO(schedule=Constant())
    objective = elbo
    network = MLP((200, 200), "tanh")
    if case == "mlp":
        spec, by_hand = Model(latents=50, network=network), PerceptronVAE()
    elif case == "iwae":
        batch, steps = 20, 200
        spec, by_hand, objective = (
            Model(latents=50, network=network),
            PerceptronVAE(50),
            IWAE(samples=50, schedule=Constant()),
        )
    elif case == "conv":
        shape, binary, steps = (3, 32, 32), False, 60
        spec, by_hand = Model(latents=32, network=Conv((32, 64), 256), likelihood=Gaussian()), ConvVAE()
    else:
        cell = BottleneckCell(1.0)
        spec = Model(network=Tower((128,), cell, 1), layers=(Spatial(groups=8, latents=16, cell=cell),))
        steps, by_hand = 300, None
    torch.manual_seed(0)
    vae = spec.build(shape, Support("binary") if binary else Support("integer", 255), unit(shape))
    by_hand = Ladder(copy.deepcopy(vae)) if by_hand is None else by_hand
    here, there = (sum(p.numel() for p in module.parameters()) for module in (vae, by_hand))
    if abs(here - there) > 1000:  # one bias an element is the likelihood's where the ladder is walked by hand
        sys.exit(f"{case}: {here:,} parameters here, {there:,} by hand: no fair comparison")
    grey = pictures(shape)
    x = (torch.rand(batch, *shape) < 0.13).float()
    sides = {
        "taut": ours(vae, objective, grey, batch, steps, binary),
        COMPILED: ours(vae, objective, grey, batch, steps, binary, compile="on"),
        "lean": timed(lambda run=lean(by_hand, grey, batch, binary): run(steps), steps),
        "floor": timed(lambda run=floor(by_hand, x): run(steps), steps),
    }
    if case == "mlp":
        sides["plain"] = timed(lambda run=plain(grey, batch): run(steps), steps)
    if peer and case in ("mlp", "conv", "iwae"):
        sides["pythae"] = peer.side(steps, do="train", case=case, steps=steps, batch=batch)
    return sides


def bounded(images: int, samples: int) -> Side:
    """IW-K of so many images; a piece is an image."""
    torch.manual_seed(0)
    x = (torch.rand(images, 1, 28, 28) < 0.13).float()
    data = open_array((torch.rand(40, 1, 28, 28) < 0.13).float().numpy())
    vae = Model(latents=50, network=MLP((200, 200), "tanh")).build((1, 28, 28), Support("binary"), unit((1, 28, 28)))
    vae.eval().requires_grad_(False)
    return timed(lambda: bounds(Subject(vae, Split(x), data.reading), samples), images)


def evaluation(peer: Peer | None, images: int = 64) -> dict[str, Side]:
    model = PerceptronVAE(1000)
    with torch.no_grad():
        products = replay(lambda: model((torch.rand(1, 1, 28, 28) < 0.13).float()))
    sides = {"taut": bounded(images, 1000), "floor": timed(lambda: products(images), images)}
    if peer:
        sides["pythae"] = peer.side(images, do="nll", images=images, batch=100)
        sides["pythae, 1000"] = peer.side(images, do="nll", images=images, batch=1000)
    return sides


def growth(peer: Peer | None) -> dict[str, Side]:
    """What an image costs as K grows, and as the set does."""
    by_samples = {f"K = {k:,}": bounded(images, k) for k, images in ((10, 512), (100, 256), (1_000, 32), (10_000, 4))}
    by_images = {f"{n:,} images, K = 100": bounded(n, 100) for n in (64, 512, 4096)}
    return by_samples | by_images


def use(peer: Peer | None) -> dict[str, Side]:
    """Codes of 5,000 images, and as many pictures from the prior."""
    import taut

    run = taut.train(pictures((1, 28, 28), 6000)[:, 0].numpy(), training={"steps": 20}, seed=0,
                     model={"network": {"part": "MLP", "hidden": [200, 200]}, "latents": 50})  # fmt: skip
    x = pictures((1, 28, 28), 5000)[:, 0].numpy()
    return {"encode": timed(lambda: run.encode(x), 5000), "sample": timed(lambda: run.sample(5000, seed=0), 5000)}


def beginning(peer: Peer | None) -> dict[str, Side]:
    """Start-up, each in a fresh process."""
    say = lambda *args: timed(lambda: subprocess.run(args, check=True, capture_output=True))  # noqa: E731
    taut = str(Path(sys.executable).with_name("taut"))
    return {
        "import torch": say(sys.executable, "-c", "import torch"),
        "import torch, taut": say(sys.executable, "-c", "import torch, taut"),
        "taut --help": say(taut, "--help"),
        "python -c pass": say(sys.executable, "-c", "pass"),
    }


def command(peer: Peer | None) -> dict[str, Side]:
    """`taut train` from its first line to its report, and its inner loop, for about two minutes of steps; a piece is a step."""
    steps, scratch = 15_000, Path(tempfile.mkdtemp())
    np.save(scratch / "grey.npy", pictures((28, 28), 20_000).numpy())
    words = f"train {scratch / 'grey.npy'} --out {scratch / 'run'} --force --quiet --data.binarize dynamic"
    words += f" --model.latents 50 --model.network MLP --model.network.hidden 200,200 --training.steps {steps}"

    def whole() -> None:
        subprocess.run([sys.executable, "-m", "taut", *words.split()], check=True, capture_output=True)

    def loop() -> float:
        return json.loads((scratch / "run" / "summary.json").read_text())["seconds"] / steps

    return {"taut": timed(whole, steps), "its loop": loop}


CASES: dict[str, Callable[[Peer | None], dict[str, Side]]] = {
    **{case: partial(training, case) for case in ("mlp", "conv", "ladder", "iwae")},
    "evaluate": evaluation, "growth": growth, "use": use, "start": beginning, "command": command,
}  # fmt: skip

# case → (better side, other side, target of other's time over better's, words)
TARGETS = {
    ("mlp", "pythae"): (2.0, "2.5 aimed at"),
    ("mlp", "plain"): (1.4, ""),
    ("mlp", "lean"): (0.95, ""),
    ("mlp", "floor"): (0.55, "0.7 aimed at"),
    ("conv", "lean"): (0.95, ""),
    ("ladder", "lean"): (0.95, ""),
    ("evaluate", "pythae"): (5.0, ""),
    ("evaluate", "floor"): (0.5, ""),
    ("command", "its loop"): (0.9, ""),
}


def measure(sides: dict[str, Side], rounds: int, warm: bool) -> dict[str, list[float]]:
    for side in sides.values() if warm else ():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds):
        names = list(sides)
        for name in names[i % len(names) :] + names[: i % len(names)]:
            seconds[name].append(sides[name]())
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythae", metavar="PYTHON", help="without it, pythae is left out")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="folder for speed.json, speed.md and speed.png")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # for all sides of this process, as `taut train` has it
    peer = Peer(args.pythae, args.threads) if args.pythae else None
    results = {}
    if unknown := [case for case in args.cases.split(",") if case not in CASES]:
        parser.error(f"--cases: no case {unknown[0]!r}; there are {', '.join(CASES)}")
    for case in args.cases.split(","):
        rounds = 1 if case == "command" else args.rounds
        seconds = measure(CASES[case](peer), rounds, warm=rounds > 1)
        results[case] = {"seconds": seconds}
        print("\n".join(table(case, seconds)), flush=True)
    if peer:
        peer.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"largest memory of this side: {memory:.0f} MiB")
    if args.out:
        from benchmarks.speed.picture import draw

        args.out.mkdir(parents=True, exist_ok=True)
        facts = {"machine": machine(), "threads": args.threads, "rounds": args.rounds, "memory_mib": round(memory)}
        (args.out / "speed.json").write_text(json.dumps(facts | {"cases": results}, indent=1))
        lines = [f"{facts['machine']}; {args.threads} threads; {args.rounds} rounds in turns.", ""]
        for case, found in results.items():
            lines += [*table(case, found["seconds"]), ""]
        (args.out / "speed.md").write_text("\n".join(lines))
        draw(results, TARGETS, args.out / "speed.png")


def over(seconds: dict[str, list[float]], name: str, whose: str) -> list[float]:
    """How many times as long a side took as one of taut's, round by round."""
    return (
        [theirs / mine for theirs, mine in zip(seconds[name], seconds[whose], strict=True)] if whose in seconds else []
    )


def verdict(case: str, name: str, seconds: dict[str, list[float]]) -> tuple[str, str]:
    """What was asked of a ratio, and whether it was reached: by a plain step, or only by a compiled one."""
    if (case, name) not in TARGETS:
        return "", ""
    asked, words = TARGETS[case, name]
    reached = {
        whose: bool(ratios) and statistics.median(ratios) >= asked
        for whose in ("taut", COMPILED)
        for ratios in [over(seconds, name, whose)]
    }
    said = "reached" if reached["taut"] else "reached if compiled" if reached[COMPILED] else "not reached"
    return f"≥ {asked:g}" + (f" ({words})" if words else ""), said


def table(case: str, seconds: dict[str, list[float]]) -> list[str]:
    """A row a side: milliseconds a piece, and its time over ours."""
    ours = [name for name in ("taut", COMPILED) if name in seconds]
    heads = [case, "ms each, median (least to most)", *(f"time over that of {name}" for name in ours)]
    heads += ["target", ""] if ours else []
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, each in seconds.items():
        cells = [name, spread([1000 * s for s in each], ".4g")]
        cells += ["" if name == whose else spread(over(seconds, name, whose), ".2f") for whose in ours]
        cells += verdict(case, name, seconds) if ours else ()
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def spread(numbers: list[float], form: str) -> str:
    return f"{statistics.median(numbers):{form}} ({min(numbers):{form}} to {max(numbers):{form}})"


def machine() -> str:
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, torch {torch.__version__}"


if __name__ == "__main__":
    main()
