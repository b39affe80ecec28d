"""Dead latents are noticed while training, once, and what is advised is not done already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taut.advice import Advice, remedies
from taut.cli import main
from taut.data import Data, Support
from taut.experiment import Experiment
from taut.layers import Plain
from taut.likelihoods import Bernoulli
from taut.model import Model
from taut.objectives import ELBO, Constant, Linear
from taut.posteriors import CommittedNormal
from taut.priors import Diffusion
from taut.training import Event, Training


def experiment(**objective) -> Experiment:
    model = Model(latents=8, likelihood=Bernoulli()).resolved((4,), Support("binary"))
    return Experiment(data=Data("digits"), model=model, objective=ELBO(**objective))


def event(
    step: int, rate: float, active: int, beta: float = 1.0, elbo: float | None = -10.0, kl: list | None = None
) -> Event:
    valid = {"elbo": elbo, "rate": rate, "active_units": active, "kl": kl or [[rate]]}
    return Event(step, 100, 1.0, 1.0, 1.0, beta, {}, valid)


def test_a_training_that_leaves_out_most_steps_is_told_so_once() -> None:
    one = replace(experiment(), training=Training(skip=1e-6))
    advice = Advice(one)
    assert advice(replace(event(10, 2.0, 4), skipped=5)) is None
    said = advice(replace(event(20, 2.0, 4), valid=None, skipped=11))
    assert said is not None and said.startswith("11 of 20 steps were left out") and "training.skip, 1e-06" in said
    assert advice(replace(event(30, 2.0, 4), skipped=30)) is None


def test_advice_keeps_a_prior_that_was_chosen_and_tells_the_rate_that_is_shown() -> None:
    one = experiment(schedule=Linear())
    assert "CommittedNormal" in remedies(one)
    chosen = Model(latents=8, likelihood=Bernoulli(), prior=Diffusion()).resolved((4,), Support("binary"))
    assert "--model.prior" not in remedies(replace(one, model=chosen))
    said = Advice(replace(one, model=chosen))(event(20, -0.86, 0))
    assert said is not None and "rate is −0.86 nats, an estimate" in said and "0.00" not in said and "AR1" not in said


def test_a_collapse_is_said_once_and_not_while_the_weight_of_the_rate_rises() -> None:
    advice = Advice(experiment(schedule=Linear()))
    assert advice(event(10, 0.01, 0, beta=0.5)) is None
    said = advice(event(20, 0.01, 0))
    assert said is not None and "0.01 nats" in said and "free_bits" in said and "share 0.5" in said
    assert advice(event(30, 0.01, 0)) is None


def test_a_layer_that_died_among_living_ones_is_named() -> None:
    advice = Advice(experiment())
    assert advice(event(10, 20.0, 8, kl=[[5.0, 5.0], [0.3], [9.7]])) is None
    said = advice(event(20, 20.0, 8, kl=[[5.0, 5.0], [0.1], [9.9]]))
    assert said is not None and "layer 2 of 3, counted from the top, has died: less than 1% of the rate" in said


def test_latents_that_were_alive_and_died_are_noticed() -> None:
    advice = Advice(experiment())
    assert advice(event(10, 20.0, 8, beta=0.5)) is None
    assert advice(event(20, 9.0, 2)) is None
    assert "1 are active, of 8" in advice(event(30, 2.0, 1))


def test_healthy_models_and_points_are_left_in_peace() -> None:
    advice = Advice(experiment())
    assert all(advice(event(step, 20.0, 4)) is None for step in range(1, 100))
    assert advice(event(100, 0.0, 0, elbo=None)) is None


def test_remedies_are_those_not_taken() -> None:
    plain = remedies(experiment(schedule=Constant()))
    assert "--objective.schedule Linear" in plain and "free_bits" in plain and "CommittedNormal" in plain
    assert "--objective.beta 1" in remedies(experiment(beta=4.0))
    taken = experiment(free_bits=0.5, schedule=Linear(share=0.6))
    assert "free_bits" not in remedies(taken) and "schedule" not in remedies(taken)
    layers = tuple(replace(layer, posterior=CommittedNormal()) for layer in taken.model.layers)
    committed = replace(taken, model=replace(taken.model, layers=layers))
    assert remedies(committed) == "What helps: a weaker decoder."


def test_the_terminal_says_it(capsys: pytest.CaptureFixture, tmp_path) -> None:
    options = ["--objective.beta", "200", "--objective.schedule", "Constant", "--training.validations", "3"]
    assert main(["train", "digits", "--epochs", "4", "--out", str(tmp_path / "run"), *options]) == 0
    out = capsys.readouterr().out
    assert out.count("posterior collapse") == 1 and "--objective.beta 1" in out and "warning: step" in out


def test_hierarchies_are_told_what_helps_a_layer() -> None:
    model = Model(latents=8, likelihood=Bernoulli(), layers=(Plain(), Plain())).resolved((4,), Support("binary"))
    said = remedies(replace(experiment(), model=model))
    assert "--objective.balance true" in said and "--objective.free_bits 1 --objective.group layer" in said
    assert "balance" not in remedies(experiment())
