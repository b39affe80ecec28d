"""A plain autoencoder and a variational one on the same data: what the rate is for, in numbers.

Both have the same networks, seed, length and choice of weights by validation; the autoencoder's posterior is a point
and its rate has no weight. An autoencoder rebuilds its training examples better. What it loses: it learns them by
heart, and where it has put no code, its decoder has never been asked anything.

**How far from the data.** Decoded codes are compared with data as draws x ~ p(x|z), never as means: a mean is smooth,
and a grey blur lies nearer to most data than a second true example does. For images even this distance says little, as
everything is about as far from everything else; so it stands beside two measures that compare a set of draws with one
of data that neither training nor decoding has seen, and need no model: how far apart the two distributions are, and how
much of the data some draw comes near. A nearest-neighbour rule that tells draws from data is none of them: in many
dimensions the neighbours of gibberish are data, and it comes out well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from taut.data import Dataset, Feed, Split
from taut.distributions import central
from taut.errors import InputError
from taut.evaluation.neighbours import nearest
from taut.evaluation.space import Space
from taut.experiment import Experiment, resolve, train
from taut.model import centre, follow, pick_prior
from taut.objectives import ELBO
from taut.posteriors import Delta
from taut.priors import StandardNormal
from taut.runs import Run, facts_of
from taut.training import Event, Stage, seeded

__all__ = ["PLACES", "Comparison", "Nearness", "Side", "compare", "plain_autoencoder"]

REBUILT = 5000  # examples that are rebuilt, of each split, at most
QUERIES = 1000  # draws, and examples that they are compared with, at most
POOL = 20_000  # training examples among which neighbours are sought, at most

PLACES: Mapping[str, str] = {
    "reconstructions": "codes of test examples",
    "half_way": "half-way between two such codes",
    "prior": "draws from the prior",
    "fitted": "draws from a normal fitted to the codes",
}
"""Where codes are taken from. The autoencoder knows no prior: N(0, I), which stands in for one, is not fitted to its codes,
and so the normal with the mean and covariance of the training codes is drawn from too. Each code is brought to the nearest
value that the latents can take."""


@dataclass(frozen=True)
class Nearness:
    """How near draws of x lie to the data.

    Attributes:
        distance: their median distance to the nearest training example, over that of test examples: 1 is as near as
            real data, more is further off. None where test examples have no distance from training examples.
        mismatch: the energy distance (Székely and Rizzo 2013) between draws and validation examples, over that of the
            average training example shown again and again: 0 is the distribution of the data, 1 is no better than the
            average. 2 E|X − Y| − E|X − X′| − E|Y − Y′| is zero only for equal distributions; estimated without bias,
            so it may come out a little below zero.
        coverage: the share of validation examples that are the nearest one to some of as many draws. Real data do not
            reach 1 either; low is a model that leaves out part of the data.
    """

    distance: float | None
    mismatch: float
    coverage: float


@dataclass(frozen=True)
class Side:
    """One of the two models and what was measured of it.

    Attributes:
        name: what it is called.
        run: the trained model.
        train_distortion, test_distortion: −log p(x|z) at the posterior mean of z, mean over examples, nats. What the
            second is above the first is overfitting.
        train_rmse, test_rmse: the root of the mean squared difference between x and the mean of p(x|z), or what stands for
            it.
        overfitting: test minus training distortion, nats, of the weights that did best on validation data.
        overfitting_at_end: the same at the end of training, validation minus training distortion with z drawn: what
            choosing the weights by validation has spared.
        near: by place, how near draws of x decoded there lie to the data.
        codes: (N, D), posterior means of test examples.
        places: by place, the codes (M, D) that were decoded.
        history: (step, training distortion, validation distortion), nats, in the course of training.
    """

    name: str
    run: Run
    train_distortion: float
    test_distortion: float
    train_rmse: float
    test_rmse: float
    overfitting: float
    overfitting_at_end: float
    near: dict[str, Nearness]
    codes: np.ndarray = field(repr=False)
    places: dict[str, np.ndarray] = field(repr=False)
    history: list[tuple[int, float, float]] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as JSON can hold them."""
        names = ("train_distortion", "test_distortion", "overfitting", "overfitting_at_end", "train_rmse", "test_rmse")
        facts = {key: self.run.summary[key] for key in ("steps", "epochs", "seconds", "best_step")}
        return {
            "name": self.name,
            **{name: getattr(self, name) for name in names},
            "near": {place: asdict(nearness) for place, nearness in self.near.items()},
            **facts,
        }


@dataclass(frozen=True)
class Comparison:
    """A plain autoencoder beside a variational one.

    Attributes:
        autoencoder, vae: the two.
        data: the same measures of test examples: what the best of models would reach.
        typical: the median distance of a test example to the nearest training example.
        unit: of that distance and of the root mean squared errors.
        size: how many draws and examples were compared at a time.
        index: (N,), the test examples whose codes are kept.
    """

    autoencoder: Side
    vae: Side
    data: Nearness
    typical: float
    unit: str
    size: int
    index: np.ndarray = field(repr=False)

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.autoencoder, self.vae

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as JSON can hold them."""
        return {
            "data": {
                "name": self.vae.run.reading.name, "unit": self.unit, "typical_distance": self.typical,
                "size": self.size, "near": asdict(self.data),
            },
            "autoencoder": self.autoencoder.to_dict(),
            "vae": self.vae.to_dict(),
        }  # fmt: skip


def compare(
    experiment: Experiment, data: Dataset, listen: Callable[[str, Event], None] = lambda name, event: None
) -> Comparison:
    """Train both and measure them.

    Args:
        experiment: of the variational autoencoder; the other one's is made from it.
        data: what both are trained on.
        listen: told of every log line, with the name of the model that is being trained.

    Raises:
        InputError: where the experiment is no variational autoencoder, or for any reason that training has.
    """
    layers = experiment.model.layers
    if any(isinstance(p, Delta) for p in (experiment.model.posterior, *(layer.posterior for layer in layers))):
        problem = "is Delta, which makes a plain autoencoder of both"
        raise InputError("model.posterior", problem, "leave it out: the plain one is trained beside yours")
    if not layers:
        raise InputError("model.layers", "is empty, so there are no codes to compare", "leave it out")
    experiment = resolve(experiment, data)
    measure = _Measure(data)
    autoencoder = _trained("autoencoder", plain_autoencoder(experiment), data, listen, measure)
    vae = _trained("variational autoencoder", experiment, data, listen, measure)
    return Comparison(
        autoencoder, vae, measure.data, measure.typical, measure.space.unit, measure.size, measure.index.numpy()
    )


def plain_autoencoder(experiment: Experiment) -> Experiment:
    """The same experiment with a point for a posterior, no weight on the rate nor a prior that is more than a name, and so no
    stage of a prior's own."""
    alike = {"posterior": Delta(), "prior": StandardNormal()}
    layers = tuple(replace(layer, **alike) for layer in experiment.model.layers)
    return replace(
        experiment,
        model=replace(experiment.model, layers=layers, **alike),
        objective=ELBO(beta=0.0),
        training=replace(experiment.training, stages=(Stage(),)),
    )


def _trained(
    name: str, experiment: Experiment, data: Dataset, listen: Callable[[str, Event], None], measure: _Measure
) -> Side:
    history = []

    def note(event: Event) -> None:
        if event.valid is not None:
            history.append((event.step, event.train["distortion"], event.valid["distortion"]))
        listen(name, event)

    vae, facts = train(experiment, data, listen=note)
    run = Run(vae.eval().requires_grad_(False).cpu(), experiment, data.reading, facts_of(data), facts, None, data)
    codes = run.encode(Split(data.test.x[measure.index]))
    places = measure.places(run, codes)
    (train_nats, train_rmse), (test_nats, test_rmse) = (measure.rebuilt(run, s) for s in (data.seen, data.test))
    return Side(
        name, run, train_nats, test_nats, train_rmse, test_rmse,
        overfitting=test_nats - train_nats,
        overfitting_at_end=history[-1][2] - history[-1][1],
        near={place: measure.near(measure.decoded(run, z)) for place, z in places.items()},
        codes=codes, places=places, history=history,
    )  # fmt: skip


class _Measure:
    """The data that both models are held against; all choices and draws are seeded."""

    def __init__(self, data: Dataset) -> None:
        self.space, self.reading = Space.of(data), data.reading
        self.size = min(len(data.test), len(data.valid), QUERIES)
        self.index = _some(len(data.test), self.size)
        self.training = self.points(data.train, _some(len(data.train), POOL))
        self.unseen = self.points(data.valid, _some(len(data.valid), self.size))
        self.within = _apart(self.unseen)
        self.worst = 2 * _apart(self.training.mean(0, keepdim=True), self.unseen) - self.within
        test = self.points(data.test, self.index)
        distances = nearest(test, self.training)[1]
        self.middle = torch.median if distances.median() > 0 else torch.mean  # a set of few values repeats itself
        self.typical = float(self.middle(distances))
        self.data = self.near(test)

    def points(self, split: Split, index: torch.Tensor) -> torch.Tensor:
        """Examples as the likelihood sees them, binarised where it is so."""
        with seeded(0):
            return self.space.points(self.reading.restore(Feed(split, self.reading).batch(index).x))

    def near(self, points: torch.Tensor) -> Nearness:
        """Of points (M, D), M a multiple of the size of the sets that are compared."""
        distances = nearest(points, self.training)[1]
        sets = points.split(self.size)
        return Nearness(
            float(self.middle(distances)) / self.typical if self.typical > 0 else None,
            (2 * _apart(points, self.unseen) - _apart(points) - self.within) / max(self.worst, 1e-12),
            sum(len(nearest(some, self.unseen)[0].unique()) / self.size for some in sets) / len(sets),
        )

    def decoded(self, run: Run, codes: np.ndarray) -> torch.Tensor:
        """A draw x ~ p(x|z) for each of the codes (M, D), as points."""
        sizes = [torch.Size(layer.event).numel() for layer in run.vae.layers]
        drawn = []
        with torch.no_grad(), seeded(0):
            for chunk in torch.as_tensor(codes).split(500):
                parts = zip(chunk.split(sizes, 1), run.vae.layers, strict=True)
                values = [z.view(-1, *layer.event) for z, layer in parts]
                x = run.vae.generate(len(chunk), follow(values)).likelihood.sample()
                drawn.append(self.space.points(self.reading.restore(x.floor() if run.vae.dequantise else x)))
        return torch.cat(drawn)

    def places(self, run: Run, codes: np.ndarray) -> dict[str, np.ndarray]:
        """The codes (M, D) of each of PLACES."""
        random = np.random.default_rng(0)
        size, count = codes.shape[1], self.size * max(1, QUERIES // self.size)
        pairs = np.stack([random.permutation(len(codes))[:2] for _ in range(count)])
        seen = run.encode(Split(run.data.seen.x[_some(len(run.data.seen), REBUILT)]), sample=True).astype(np.float64)
        normal = random.standard_normal((2, count, size))
        # the square root of the covariance exists where its inverse does not
        values, vectors = np.linalg.eigh(np.cov(seen, rowvar=False).reshape(size, size))
        root = vectors * np.sqrt(values.clip(min=0))
        prior = normal[0]
        if not all(isinstance(layer.prior, StandardNormal) for layer in run.experiment.model.layers):
            with torch.no_grad(), seeded(0):
                steps = run.vae.generate(count, pick_prior()).steps
                prior = torch.cat([step.z.flatten(1) for step in steps], 1).numpy()
        found = (codes, codes[pairs].mean(1), prior, seen.mean(0) + normal[1] @ root.T)
        return {place: run.place(z) for place, z in zip(PLACES, found, strict=True)}

    def rebuilt(self, run: Run, split: Split) -> tuple[float, float]:
        """Distortion in nats at the posterior mean, and the root mean squared error, over examples of a split."""
        feed = Feed(split, self.reading, run.vae.dequantise)
        nats, squares, count = 0.0, 0.0, 0
        with torch.no_grad(), seeded(0):
            for index in _some(len(split), REBUILT).split(500):
                batch = feed.batch(index)
                trace = run.vae(batch, pick=centre)
                x, rebuilt = batch.x, central(trace.likelihood)
                if run.vae.dequantise:
                    x, rebuilt = x.floor(), rebuilt - 0.5
                given, found = (self.space.points(self.reading.restore(values)) for values in (x, rebuilt))
                nats += float(trace.distortion(batch).double().sum())
                squares += float((given - found).double().square().sum())
                count += x.numel()
        return nats / min(len(split), REBUILT), (squares / count) ** 0.5


def _apart(some: torch.Tensor, others: torch.Tensor | None = None) -> float:
    """The mean distance of a point to one of the others; without others, to another of the same set."""
    if others is None:
        return float(torch.cdist(some, some).double().sum() / (len(some) * max(1, len(some) - 1)))
    return float(torch.cdist(some, others).double().mean())


def _some(count: int, at_most: int) -> torch.Tensor:
    """Indices of so many examples at random, or of all."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:at_most]
