"""The public names as README and documentation use them, for a type checker to read; nothing here is ever run.

Each right-hand side has a type that the checker must know: in strict mode nothing may be unknown.
"""

# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, assert_type

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, StudentT

import taut
from taut.codec import Archive
from taut.data import Batch, Data, Dataset, Split
from taut.evaluation import Annealing, Scores, annealed
from taut.experiment import Experiment
from taut.layers import Plain, Spatial
from taut.likelihoods import Binomial
from taut.model import VAE, Trace, draw
from taut.networks import MLP
from taut.objectives import ELBO, IWAE, DReG, Linear, TotalCorrelation
from taut.posteriors import IAF, DiagonalNormal
from taut.priors import Mixture, Prior, StandardNormal, State, Vamp
from taut.training import Event


@dataclass(frozen=True)
class Tails(Prior):
    """A prior of a user's own: p(z) = Π_d t_ν(z_d)."""

    heavy: ClassVar[bool] = True

    nu: float = 5.0

    def build(self, event: tuple[int, ...], state: State) -> nn.Module:
        return _Tails(event, self.nu)


class _Tails(nn.Module):
    zero: Tensor

    def __init__(self, event: tuple[int, ...], nu: float) -> None:
        super().__init__()
        self.nu = nu
        self.register_buffer("zero", torch.zeros(event), persistent=False)

    def forward(self, h: Tensor) -> Distribution:
        zero = self.zero.expand(len(h), *self.zero.shape)
        return Independent(StudentT(self.nu, zero), self.zero.dim())


def trained() -> taut.Run:
    images = np.zeros((64, 8, 8), dtype=np.uint8)
    by_name = taut.train("digits", epochs=1, seed=0, out="run")
    by_array = taut.train(images, labels=np.zeros(64, dtype=int), model={"latents": 8}, objective={"beta": 4})
    by_parts = taut.train(Path("photos"), minutes=1, model={"prior": Tails(3.0)}, trust=("tails",), listen=told)
    assert_type(by_name, taut.Run)
    return by_name if by_array.proper else by_parts


def told(event: Event) -> None:
    print(event.step, event.steps, event.valid)


def used(run: taut.Run, table: Any) -> None:
    data = run.dataset()
    assert_type(data, Dataset)
    assert_type(data.test, Split)
    assert_type(run.sample(16, temperature=0.7, seed=0), np.ndarray)
    codes = run.encode(data.test)
    assert_type(codes, np.ndarray)
    assert_type(run.decode(codes), np.ndarray)
    assert_type(run.reconstruct(np.zeros((1, 8, 8))), np.ndarray)
    assert_type(run.evaluate(samples=1000), dict[str, Any])
    archive = run.compress(data.test)
    assert_type(archive, Archive)
    assert_type(archive.content, bytes)
    assert_type(run.decompress(archive.content), np.ndarray)
    assert_type(run.score(table), Scores)
    filled, spread = run.impute(table, samples=100)
    print(filled, spread, run.frame(run.sample(4)), run.summary["elbo"])
    print(annealed(run.subject(), Annealing(chains=32)))
    assert_type(run.save("folder"), Path)
    assert_type(taut.load("folder", trust=["tails"]), taut.Run)
    assert_type(run.folder, Path | None)


def shared(run: taut.Run) -> taut.Run:
    taut.save_pretrained(run, "folder")
    return taut.from_pretrained("folder")


def estimated(x: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    model = taut.VAEEstimator(latents=8, prior="Vamp", network={"part": "MLP", "hidden": [32]}, random_state=0).fit(x)
    assert_type(model, taut.VAEEstimator)
    assert_type(model.score_samples(x), np.ndarray)
    assert_type(model.score(x), float)
    assert_type(model.inverse_transform(model.transform(x)), np.ndarray)
    assert_type(model.sample(4, random_state=0), np.ndarray)
    assert_type(model.run_, taut.Run)


def composed(data: Dataset) -> tuple[VAE, Experiment]:
    model = taut.Model(
        latents=20,
        prior=Vamp(components=50),
        posterior=IAF(),
        likelihood=Binomial(),
        network=MLP(hidden=(256, 256)),
        layers=(Plain(prior=Mixture(), posterior=DiagonalNormal()), Plain(prior=StandardNormal()), Spatial(latents=2)),
    )
    objective = IWAE(samples=5, beta=0.7, estimator=(DReG(),), schedule=Linear())
    penalised = ELBO(free_bits=0.5, penalties=(TotalCorrelation(),))
    experiment = Experiment(
        Data(source="digits"), model, objective if model.latents else penalised, taut.Training(epochs=3)
    )
    vae = model.build(data.reading.shape, data.reading.support, data.statistics())
    assert_type(vae, VAE)
    return vae, experiment


def walked(vae: VAE, x: Tensor) -> Tensor:
    batch = Batch(x)
    trace = vae(batch, 5, draw)
    assert isinstance(trace, Trace)
    for step in trace.steps:
        assert_type(step.kl.total, Tensor)
        assert_type(step.q, Distribution)
        assert_type(step.z, Tensor)
    assert_type(vae.generate(4, draw).likelihood.log_prob(x), Tensor)
    return trace.log_weight(batch) + trace.rate() + trace.distortion(batch)


def refused() -> str:
    try:
        taut.load("nowhere")
    except taut.InputError as error:
        return str(error)
    return ""
