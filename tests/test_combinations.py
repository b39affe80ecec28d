"""Free composition: every pair of parts that fit each other meets in a model that trains.

A covering array over prior × posterior × likelihood × estimator: each two parts of unlike families that can stand in one model
do so in at least one row. Each row trains a few steps on the handwritten digits and must end above its initial bound; it
survives its folder bit for bit; and its importance-weighted bound does not fall as K grows. Whether it also ends above the
best model without latents, trained as long, is said in a table:

    python tests/test_combinations.py > benchmarks/COMBINATIONS.md
"""

from __future__ import annotations

import itertools
import math
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from taut.config import parse
from taut.data import Data, Dataset, Feed, open_array, open_data
from taut.distributions import worst
from taut.evaluation import Subject, bounds
from taut.experiment import Experiment, build, resolve, train
from taut.layers import fits
from taut.likelihoods import Likelihood
from taut.objectives import Estimator
from taut.posteriors import Posterior
from taut.priors import Prior
from taut.runs import Run, facts_of, load
from taut.training import examine

torch.set_num_threads(1)

STEPS = 80
SMALL = {
    "Vamp": {"components": 20},
    "Mixture": {"components": 10},
    "RealNVP": {"transforms": 2, "hidden": [32]},
    "MAF": {"transforms": 2, "hidden": [32]},
    "NSF": {"transforms": 1, "hidden": [32]},
    "Autoregressive": {"components": 2, "hidden": [32]},
    "IAF": {"hidden": [32], "context": 8},
    "PixelCNN": {"channels": 8, "kernels": [5, 3], "maps": 4},
    "Diffusion": {"denoiser": {"part": "DenoisingMLP", "width": 32, "blocks": 1}, "sampling": {"steps": 10}},
}
COUNTS = ("NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial")


class Row(NamedTuple):
    """One model."""

    prior: str
    posterior: str
    likelihood: str
    estimator: str

    def pairs(self) -> set[tuple[tuple[int, str], tuple[int, str]]]:
        return set(itertools.combinations(enumerate(self), 2))


def part(family: type, name: str):
    return parse(family, {"part": name, **SMALL.get(name, {})})


def covering() -> list[Row]:
    """Rows that between them hold every pair that can be; greedily, the row of most new pairs first."""
    priors = [name for name, member in Prior.members.items() if member.alone]
    couples = [(p, q) for p in priors for q in Posterior.members if fits(part(Prior, p), part(Posterior, q))]
    rows = [
        Row(p, q, likelihood, estimator)
        for p, q in sorted(couples)
        for likelihood in sorted(Likelihood.members)
        for estimator in Posterior.members[q].estimators
    ]
    pairs = {row: row.pairs() for row in rows}
    missing = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(pairs[row] & missing))
        chosen.append(best)
        missing -= pairs[best]
        rows = [row for row in rows if pairs[row] & missing]
    return sorted(chosen)


@cache
def digits(likelihood: str) -> tuple[Data, Dataset]:
    """The digits, read as the likelihood takes them."""
    options = {"binarize": "threshold"} if likelihood == "Bernoulli" else {}
    images = open_data(Data("digits")).reading.restore(open_data(Data("digits")).train.x)
    if likelihood == "LogNormal":  # grey is no multiple of anything, but above 0 it can be
        spec = Data("array", support="positive")
        return spec, open_array(images + 1.0, spec=spec)
    if likelihood == "Columns":
        spec = Data("array", support="columns")
        return spec, open_array(images.reshape(len(images), -1), spec=spec)
    if likelihood == "Rounded":
        return Data("digits", support="real"), open_data(Data("digits", support="real"))
    spec = Data("digits", support="counts" if likelihood in COUNTS else "auto", **options)
    return spec, open_data(spec)


def experiment(row: Row, steps: int, layers: bool = True) -> tuple[Experiment, Dataset]:
    spec, data = digits(row.likelihood)
    samples = 2 if Estimator.members[row.estimator].least > 1 else 1
    exact = worst(Prior.members[row.prior], Likelihood.members[row.likelihood]) == "exact"
    weighs = row.estimator in ("DReG", "VIMCO") and Posterior.members[row.posterior].weighable and exact
    likelihood = {"part": row.likelihood, **SMALL.get(row.likelihood, {})}
    model = {
        "latents": 6,
        "prior": {"part": row.prior, **SMALL.get(row.prior, {})},
        "posterior": {"part": row.posterior, **SMALL.get(row.posterior, {})},
        "likelihood": likelihood,
        "network": {"part": "MLP", "hidden": [48]},
    }
    if not layers:
        model = {"likelihood": likelihood, "network": {"part": "MLP", "hidden": [48]}, "layers": []}
    tree = {
        "data": spec,
        "model": model,
        "objective": {
            "part": "IWAE" if weighs and layers else "ELBO",
            "samples": 2 if weighs else samples,
            "estimator": [row.estimator] if layers else [],
            "schedule": "Constant",
        },
        "training": {
            "steps": steps,
            "validations": 1,
            "average": 0.9,
            "clip": 100.0,
            "optimiser": {"part": "Adam", "lr": 3e-3},
        },
    }
    return resolve(parse(Experiment, tree), data), data


@cache
def without_latents(likelihood: str, steps: int) -> float:
    """The validation bound of the same likelihood and network with no z."""
    plain, data = experiment(Row("StandardNormal", "DiagonalNormal", likelihood, "Pathwise"), steps, layers=False)
    vae, _ = train(plain, data)
    return -examine(vae, Feed(data.valid, data.reading, vae.dequantise))["distortion"]


def score(numbers: dict[str, float]) -> float:
    """The bound, or for a point posterior, which has none, minus what training makes small."""
    return -numbers["distortion"] - numbers["rate"]


def outcome(row: Row, folder: Path) -> dict[str, float | bool]:
    """Train a row, put it through everything, and say how it went."""
    for steps in (STEPS, 5 * STEPS):  # the slowest get more
        plan, data = experiment(row, steps)
        start = build(plan, data).eval()
        feed = Feed(data.valid, data.reading, start.dequantise)
        before = score(examine(start, feed))
        vae, _ = train(plan, data)
        if score(examine(vae, feed)) > before:
            break
    run = Run(vae, plan, data.reading, facts_of(data), {}, None, data)
    after = score(examine(run.vae, feed))
    assert math.isfinite(after), "the bound is no number"
    run.save(folder, force=True)
    again = load(folder)
    still = feed.still(torch.arange(20))
    with torch.no_grad():
        found = []
        for vae in (run.vae, again.vae):
            vae.eval()
            torch.manual_seed(1)
            trace = vae(still, 2)
            found.append(torch.stack([trace.distortion(still), trace.rate()]))
        assert torch.equal(*found), "what is loaded is not what was saved"
    drawn = again.sample(3, seed=0)
    assert drawn.shape == (3, *data.reading.raw_shape)
    assert torch.isfinite(torch.as_tensor(drawn, dtype=torch.float64)).all()
    few = torch.arange(40)
    subject = Subject(again.vae, data.valid, data.reading, seed=2)
    if trace.exactness != "exact":
        assert bounds(subject, 2, few).importance is None, "what is noisy is weighed"
    elif trace.proper:
        weighed = [bounds(subject, k, few).importance for k in (1, 10, 100)]
        for less, more in itertools.pairwise(weighed):
            gain = more - less
            assert gain.mean() > -4 * gain.std() / math.sqrt(len(gain)) - 1e-9, "the bound falls as K grows"
    return {"steps": steps, "before": before, "after": after}


ROWS = covering()


def test_every_pair_that_can_be_is_there() -> None:
    held = set().union(*(row.pairs() for row in ROWS))
    for prior, posterior in itertools.product(Prior.members, Posterior.members):
        can = Prior.members[prior].alone and fits(part(Prior, prior), part(Posterior, posterior))
        assert (((0, prior), (1, posterior)) in held) == can
    for place, family in ((0, Prior), (1, Posterior), (2, Likelihood), (3, Estimator)):
        named = {row[place] for row in ROWS}
        assert named == {name for name, member in family.members.items() if getattr(member, "alone", True)}
    for posterior, member in Posterior.members.items():
        for likelihood in Likelihood.members:
            assert ((1, posterior), (2, likelihood)) in held
        for estimator in Estimator.members:
            assert (((1, posterior), (3, estimator)) in held) == (estimator in member.estimators)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row))
def test_a_combination_trains_and_survives(row: Row, tmp_path: Path) -> None:
    result = outcome(row, tmp_path / "run")
    assert result["after"] > result["before"], "it ends below where it began"


def table() -> str:
    lines = [
        "# Every part with every part",
        "",
        f"{len(ROWS)} models that between them hold every pair of prior, posterior, likelihood and gradient estimator that can",
        f"stand together, each trained {STEPS} steps of 128 on the 8×8 digits, the slowest {5 * STEPS}, with six latents.",
        "Validation bounds in nats, one draw an example: at the start, at the end, and of the same likelihood without",
        "latents, trained as long. A point posterior has no bound: its columns hold −distortion + log p(z).",
        "",
        "| prior | posterior | likelihood | estimator | steps | start | end | without z | above it |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    above = 0
    with tempfile.TemporaryDirectory() as folder:
        for row in ROWS:
            result = outcome(row, Path(folder) / "run")
            result["without"] = without_latents(row.likelihood, result["steps"])
            better = result["after"] > result["without"]
            above += better
            numbers = " | ".join(f"{result[key]:.1f}".replace("-", "−") for key in ("before", "after", "without"))
            lines.append(f"| {' | '.join(row)} | {result['steps']} | {numbers} | {'yes' if better else 'no'} |")
    lines[6:6] = [
        f"{above} of {len(ROWS)} end above the model without latents; the others have not come so far in so few steps."
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
