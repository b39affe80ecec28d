"""The scikit-learn face: a VAE as a transformer and a density model of the rows of a table.

>>> from sklearn.datasets import load_iris
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> X = load_iris().data
>>> model = make_pipeline(StandardScaler(), VAEEstimator(latents=2, epochs=5, random_state=0)).fit(X)
>>> model.transform(X).shape, model.score_samples(X).shape
((150, 2), (150,))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from taut.config import merge, parse
from taut.data import Batch, Data, Dataset, Reading, Split
from taut.data.splits import carve
from taut.distributions import NonCentred, fold
from taut.errors import InputError
from taut.evaluation.coordinates import glance
from taut.experiment import Experiment, resolve, train
from taut.model import Pick, Site, Step, draw
from taut.runs import Run, facts_of
from taut.training import seeded

__all__ = ["VAEEstimator"]

ROWS = 4096  # samples in one pass

# scikit-learn has no types, and what is guessed of these is wrong
_validated: Callable[..., Any] = validate_data
_array: Callable[..., Any] = check_array


class VAEEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A variational autoencoder of the rows of X (N, D), by scikit-learn's conventions.

    :meth:`transform` gives posterior means, :meth:`score_samples` a lower bound of log p(x) in nats. Both work in float64 and
    give a row the same numbers in whatever company it comes. Columns that are constant in training are kept out of the model
    and not looked at afterwards; :meth:`inverse_transform` and :meth:`sample` put them back.

    There is no ``partial_fit``: learning rate and β are functions of the length of a run, and the best weights are
    chosen on validation data, so a stream of batches would train another model than :meth:`fit` does.

    Args:
        latents: how many latent dimensions; by the number of columns if left open.
        prior: the prior as a configuration has it, ``"Vamp"`` or ``{"part": "Vamp", "components": 100}``.
        posterior: the posterior, likewise.
        likelihood: the likelihood, likewise; by the support if left open.
        network: the bodies of encoder and decoder, likewise; by the shape if left open.
        beta: weight of the rate in the objective.
        epochs: passes over the training data; by their size if left open.
        batch_size: rows a step.
        learning_rate: at its highest.
        validation_fraction: share of the rows by which the best weights are chosen; they are not learnt from.
        support: the values that x can take, as ``data.support``: real numbers unless another is named. Under ``"auto"``
            the values that were seen decide, and others are refused later.
        shape: of one row seen as an image, such as ``(28, 28)``.
        bound: what a score is: ``"elbo"``, or ``"iw"``, the tighter importance-weighted bound of the same draws.
        samples: K, the draws that a score takes of each row.
        device: where to train.
        options: whatever else a configuration has, as a tree: ``{"objective": {"part": "IWAE"}}``; of data, what says how X is
            to be read. What would take rows away or add to them, such as ``data.limit`` and ``data.condition``, is refused.
        random_state: of the weights, the split, the order of the rows and all draws: on one machine a model is the same by the
            same number of threads. By another, sums may be taken in another order, and training makes much of a last digit.

    Attributes:
        run_: the :class:`taut.Run`, of which ``run_.save("folder")`` makes a folder for the command line.
        n_iter_: how many updates were made.
        constant_features_: indices of the columns that are kept out.
        n_features_in_, feature_names_in_: of X.

    >>> X = np.random.default_rng(0).normal(size=(50, 3)) @ np.ones((3, 3))
    >>> model = VAEEstimator(latents=1, epochs=2, random_state=0).fit(X)
    >>> model.get_feature_names_out().tolist(), model.score(X) < 0, model.sample(4, random_state=0).shape
    (['vaeestimator0'], True, (4, 3))
    """

    run_: Run
    n_iter_: int
    constant_features_: np.ndarray

    def __init__(
        self,
        latents: int | None = None,
        *,
        prior: str | Mapping[str, Any] | None = None,
        posterior: str | Mapping[str, Any] | None = None,
        likelihood: str | Mapping[str, Any] | None = None,
        network: str | Mapping[str, Any] | None = None,
        beta: float = 1.0,
        epochs: float | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        validation_fraction: float = 0.1,
        support: str = "real",
        shape: Sequence[int] | None = None,
        bound: Literal["elbo", "iw"] = "elbo",
        samples: int = 16,
        device: str = "auto",
        options: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.latents = latents
        self.prior = prior
        self.posterior = posterior
        self.likelihood = likelihood
        self.network = network
        self.beta = beta
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.support = support
        self.shape = shape
        self.bound = bound
        self.samples = samples
        self.device = device
        self.options = options
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: ArrayLike, y: Any = None) -> VAEEstimator:
        """Train on the rows of X (N, D); y is not looked at.

        Raises:
            InputError: a ``ValueError``, for whatever of the parameters or the data does not fit.
        """
        if self.bound not in ("elbo", "iw"):
            raise InputError("bound", f"is {self.bound!r}", "say elbo or iw")
        _whole("samples", self.samples)
        rows = np.asarray(_validated(self, X, dtype=[np.float64, np.float32], ensure_min_samples=4))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        experiment = parse(Experiment, self._tree(seed))
        _require_served(experiment)
        data = _dataset(rows, experiment, getattr(self, "feature_names_in_", None))
        with seeded(seed):
            experiment = resolve(experiment, data)
            vae, facts = train(experiment, data)
        vae = vae.cpu().double().eval().requires_grad_(False)
        self.run_ = Run(vae, experiment, data.reading, facts_of(data), facts)
        self.n_iter_ = facts["steps"]
        self.constant_features_ = np.array([i for i, _ in data.reading.dropped], dtype=int)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Posterior means (N, latents) of rows (N, D), the same at every call."""
        rows = self._rows(X)
        return self.run_.encode(rows).astype(rows.dtype)

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """E[x|z], (N, D), of codes (N, latents), which are numbers without a gap."""
        check_is_fitted(self)
        codes = np.asarray(_array(Z, dtype=[np.float64, np.float32], input_name="Z"))
        return self.run_.decode(codes).reshape(len(codes), -1).astype(codes.dtype)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """A lower bound of log p(x) of each row, (N,) nats: the larger, the more usual the row.

        It is the ELBO, or IW-K where ``bound="iw"``, by ``samples`` draws: an estimate whose expectation over draws lies below
        log p(x). The draws are made of the same random numbers for every row, so that rows can be compared.
        """
        rows = self._rows(X)
        return _scores(self.run_, rows, _whole("samples", self.samples), self.bound == "iw", self.run_.experiment.seed)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """The mean of :meth:`score_samples`, nats a row."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """New rows x ~ p(x), (n_samples, D)."""
        check_is_fitted(self)
        n, seed = _whole("n_samples", n_samples), int(check_random_state(random_state).randint(2**31 - 1))
        return self.run_.sample(n, seed=seed).reshape(n, -1)

    @property
    def _n_features_out(self) -> int:
        return sum(math.prod(layer.event) for layer in self.run_.vae.layers)

    def _tree(self, seed: int) -> dict[str, Any]:
        """The configuration that the parameters make."""
        model = {name: getattr(self, name) for name in ("latents", "prior", "posterior", "likelihood", "network")}
        tree = {
            "data": {"source": "array", "support": self.support, "seed": seed, "shape": self.shape,
                     "valid": self.validation_fraction},
            "model": {name: value for name, value in model.items() if value is not None},
            "objective": {"beta": self.beta},
            "training": {"batch": self.batch_size, "device": self.device, "optimiser": {"lr": self.learning_rate},
                         **({} if self.epochs is None else {"epochs": self.epochs})},
            "seed": seed,
        }  # fmt: skip
        if self.options and isinstance(objective := self.options.get("objective"), Mapping) and "part" in objective:
            tree["objective"]["part"] = objective["part"]
        return merge(tree, self.options or {})

    def _rows(self, X: ArrayLike) -> np.ndarray:
        """Rows (N, D) as they were seen in training, with constant columns at their constant."""
        check_is_fitted(self)
        rows = np.asarray(_validated(self, X, dtype=[np.float64, np.float32], reset=False))
        if dropped := self.run_.reading.dropped:
            rows = rows.copy()
            for i, value in dropped:
                rows[:, i] = value
        return rows


SERVED = ("support", "shape", "layout", "binarize", "valid", "seed")  # of the options of data


def _require_served(experiment: Experiment) -> None:
    """Refuse what would change nothing: X is what there is, whole and without anything beside it."""
    plain = Data("array")
    for field in fields(plain):
        value = getattr(experiment.data, field.name)
        if field.name not in SERVED and value != getattr(plain, field.name):
            problem = f"is {value!r}, and an estimator learns from X as it is given to fit"
            raise InputError(f"data.{field.name}", problem, "leave it out, or train with taut.train")


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(name, f"is {value!r}", "give a whole number, 1 or more")
    return int(value)


def _dataset(X: np.ndarray, experiment: Experiment, names: Any) -> Dataset:
    """Rows in two splits: scikit-learn's users keep test rows back themselves."""
    spec = experiment.data
    reading = Reading.of(
        [X], shape=spec.shape, support=spec.support, binarize=spec.binarize, field="X",
        signal=spec.layout == "signal", columns=None if names is None else tuple(map(str, names)),
        options={"seed": spec.seed, "shape": spec.shape},
    )  # fmt: skip
    rows = carve(len(X), {"valid": spec.valid}, spec.seed, "X")
    train, valid = (Split(reading.apply(X[rows[part]], "X")) for part in ("train", "valid"))
    record = {"own": ["train", "valid"], "carved": {}, "seed": spec.seed, "limit": None,
              "counts": {"train": len(train), "valid": len(valid)}}  # fmt: skip
    return Dataset(reading, train, valid, valid, None, "", record)


def _scores(run: Run, X: np.ndarray, samples: int, importance: bool, seed: int) -> np.ndarray:
    vae, x = run.vae, run.reading.apply(X, "X")
    trace = glance(vae)
    if not trace.proper:
        raise InputError("posterior", "has no density, so there is no bound", "choose another, such as DiagonalNormal")
    if importance and trace.exactness != "exact":
        raise InputError("bound", f"is iw, and the model's densities are {trace.exactness}", "say elbo")
    # where the noise behind a draw is known, all rows share it; else a row is measured by itself, from the same seed
    shared = trace.exactness == "exact" and all(isinstance(step.q, NonCentred) for step in trace.steps)
    pick, size = (_Common(samples), max(1, ROWS // samples)) if shared else (draw, 1)
    with torch.no_grad():
        found = [_score(run, part, samples, importance, seed, pick) for part in x.split(size)]
    return torch.cat(found).numpy()


def _score(run: Run, x: Tensor, samples: int, importance: bool, seed: int, pick: Pick) -> Tensor:
    """The bound of rows (B, *shape), (B,) nats."""
    vae = run.vae
    with seeded(seed):
        x = x.to(vae.shift.dtype)
        if run.reading.binarize == "dynamic" and run.reading.grey is not None:
            x = (torch.rand_like(x[:1]) * run.reading.grey < x).to(x.dtype)
        if vae.dequantise:
            x = x + torch.rand_like(x[:1])
        batch = Batch(x)
        evidence = [fold(e, samples) for e in vae.evidence(batch)]
        trace = vae.descend(vae.root(samples * len(x)), evidence, pick, samples)
        if importance:
            return trace.log_weight(batch).logsumexp(0) - math.log(samples)
        return (trace.log_likelihood(batch) - trace.rate()).mean(0)


class _Common:
    """Picks a draw from q, K of each of B rows, by noise that is the same for all rows.

    What is amiss with a few random numbers would then be amiss in every row alike and would not average out, so they are
    spread evenly: points of a scrambled Sobol sequence (Owen 1997), each by itself distributed as any other noise is.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, site: Site) -> Step:
        if not isinstance(site.q, NonCentred):
            raise TypeError(f"{type(site.q).__name__} does not say what noise it is made of")
        size, rows = site.q.event_shape.numel(), len(site.h) // self.samples
        if size <= torch.quasirandom.SobolEngine.MAXDIM:
            seed = int(torch.randint(2**31, ()))
            even = torch.quasirandom.SobolEngine(size, scramble=True, seed=seed).draw(self.samples, dtype=torch.float64)
            noise = torch.special.ndtri(even.clamp(1e-9, 1 - 1e-9))
        else:
            noise = torch.randn(self.samples, size, dtype=torch.float64)
        noise = noise.view(self.samples, 1, *site.q.event_shape).to(site.h.dtype)
        return Step(site.q, site.p, *site.q.from_noise(noise.expand(-1, rows, *site.q.event_shape).flatten(0, 1)))
