"""Training: the same seed gives the same bits, a stopped run goes on as if it had not been, what breaks is named and
what was good is kept, and between log lines no number comes to the host."""

from __future__ import annotations

import errno
import itertools
import math
import os
import signal
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from taut.data import Data, Dataset, open_array
from taut.errors import InputError
from taut.experiment import Experiment, resolve
from taut.layers import Spatial
from taut.model import VAE, Model
from taut.networks import MLP, Pyramid
from taut.objectives import ELBO, IWAE, Constant, Linear
from taut.objectives.base import Outcome
from taut.training import (
    CHECKPOINT,
    SGD,
    Adam,
    Adamax,
    AdamW,
    Diverged,
    Stage,
    Stopped,
    Training,
    examine,
    fit,
    measure_pace,
    seeded,
    steps_per_epoch,
)
from taut.training.average import Average
from taut.training.checkpoint import flatten, read_tensors, unflatten, write_atomically, write_tensors
from taut.training.meter import Meter

torch.set_num_threads(1)

BATCH, STEPS = 16, 40


@pytest.fixture(scope="module")
def data() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(125, 2, generator=generator) @ torch.randn(2, 6, generator=generator)
    return open_array((x + 0.1 * torch.randn(125, 6, generator=generator)).numpy())  # 100 to train on: 6 steps an epoch


def build(data: Dataset, seed: int = 0, **options) -> VAE:
    torch.manual_seed(seed)
    return Model(latents=2, network=MLP(hidden=(8,)), **options).build((6,), data.reading.support, data.statistics())


def spec(**options) -> Training:
    return Training(**{"batch": BATCH, "device": "cpu", "average": 0.9, **options})


def weights(vae: VAE) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in vae.state_dict().items()}


def identical(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def train(
    data: Dataset, seed: int = 0, training: Training | None = None, objective=None, steps: int = STEPS, **options
):
    return fit(build(data, seed), objective or ELBO(), data, training or spec(), steps, seed, **options)


# --- stages ------------------------------------------------------------------------------------------------------


def test_stages_learn_only_their_own(data):
    from taut.priors import Mixture

    start = weights(build(data, prior=Mixture(4)))
    vae = build(data, prior=Mixture(4))
    stages = (Stage("codes", 1), Stage("prior", 3))
    only = spec(stages=stages[:1], average=None)
    fit(vae, ELBO(), data, only, 10, 0)
    after = weights(vae)
    moved = {name for name in start if not torch.equal(start[name], after[name])}
    assert moved and not any(".p." in name for name in moved)
    fit(vae, ELBO(), data, spec(stages=stages[1:], average=None), 10, 0)
    again = {name for name, tensor in weights(vae).items() if not torch.equal(tensor, after[name])}
    assert again == {name for name in start if ".p." in name}


def test_a_prior_alone_learns_whatever_beta_is(data):
    from taut.priors import Mixture

    stages = (Stage("codes"), Stage("prior"))
    before, _ = fit(build(data, prior=Mixture(4)), ELBO(beta=0.0), data, spec(stages=stages[:1]), 10, 0)
    after, facts = fit(build(data, prior=Mixture(4)), ELBO(beta=0.0), data, spec(stages=stages), 20, 0)
    assert facts["best_step"] > 10
    moved = {name for name, tensor in weights(after).items() if not torch.equal(tensor, weights(before)[name])}
    assert any(".p." in name for name in moved)


def test_a_stage_in_which_nothing_learns_is_refused(data):
    with pytest.raises(
        InputError, match=r"^training.stages: has one that learns the prior alone, and there is nothing"
    ):
        build(data).learn("prior")


def test_stages_follow_one_another_each_with_its_own_learning_rate():
    training = Training(stages=(Stage("codes", 3), Stage("prior", 1)), warmup=0.1)
    assert [training.stage(step, 100)[0].learn for step in (0, 74, 75, 99)] == ["codes", "codes", "prior", "prior"]
    assert training.stage(80, 100)[1:] == (75, 100)
    assert training.lr(74, 100) < 0.01 * training.optimiser.lr < training.lr(77, 100)
    with pytest.raises(InputError, match=r"^patience: would end the run before its later stages; "):
        Training(stages=(Stage(), Stage()), patience=3)
    with pytest.raises(InputError, match=r"^share: is 0; "):
        Stage(share=0)


def test_a_run_stopped_in_its_second_stage_goes_on_to_the_same_bits(data, tmp_path):
    training = spec(stages=(Stage("codes"), Stage("prior")))

    def run(folder=None, **options):
        from taut.priors import Mixture

        return fit(build(data, prior=Mixture(4)), ELBO(), data, training, STEPS, 0, folder, **options)

    whole, _ = run()
    with pytest.raises(Stopped):
        run(tmp_path, listen=lambda event: event.step > STEPS * 0.6 and os.kill(os.getpid(), signal.SIGTERM))
    again, _ = run(tmp_path, resume=True)
    assert identical(weights(whole), weights(again))


# --- q ahead of the model ----------------------------------------------------------------------------------------


def test_q_alone_learns_before_each_step_of_the_whole_while_it_is_behind():
    training = Training(aggressive=2)
    assert [training.learns(step, 100, True) for step in range(5)] == [
        "inference",
        "inference",
        "all",
        "inference",
        "inference",
    ]
    assert {training.learns(step, 100, False) for step in range(5)} == {"all"}
    assert {Training().learns(step, 100, True) for step in range(5)} == {"all"}
    staged = Training(aggressive=1, stages=(Stage("codes"), Stage("prior")))
    assert [staged.learns(step, 4, True) for step in range(4)] == ["inference", "codes", "prior", "prior"]
    with pytest.raises(InputError, match=r"^aggressive: is -1; give 0 or more"):
        Training(aggressive=-1)


def test_q_is_encoder_and_posterior_and_no_more(data):
    from taut.priors import Mixture

    start = weights(build(data, prior=Mixture(4)))
    vae = build(data, prior=Mixture(4))
    fit(vae, ELBO(), data, spec(aggressive=10, average=None), 10, 0)
    moved = {name for name, tensor in weights(vae).items() if not torch.equal(tensor, start[name])}
    assert moved == {name for name in start if name.startswith(("encoder.", "layers.0.evidence."))}


def test_the_model_catches_up_once_the_rate_no_longer_rises(data, monkeypatch):
    rates, seen = iter([1.0, 2.0, 1.5, 3.0, 4.0]), []
    numbers = {"elbo": -1.0, "distortion": 1.0, "active_units": 1}
    monkeypatch.setattr("taut.training.loop.examine", lambda vae, feed, company: {**numbers, "rate": next(rates)})
    vae = build(data)
    vae.encoder[1].bias.register_hook(lambda gradient: seen.append("q"))
    vae.decoder.head.offset.register_hook(lambda gradient: seen.append("decoder"))
    fit(vae, ELBO(), data, spec(aggressive=2, validations=100), 30, 0)  # a validation every six steps
    # the gradient comes to the decoder before it comes to the encoder
    alone, whole = ["q"], ["decoder", "q"]
    assert seen == 6 * (alone + alone + whole) + 12 * whole


@pytest.mark.parametrize("at", [7, 13, 26])
def test_a_run_stopped_while_q_is_ahead_goes_on_to_the_same_bits(data, tmp_path, at):
    training = spec(aggressive=3, validations=100)

    def run(folder=None, **options):
        return fit(build(data), ELBO(), data, training, STEPS, 0, folder, **options)

    whole, _ = run()
    vae, count = build(data), itertools.count(1)
    vae.encoder[1].bias.register_hook(lambda g: os.kill(os.getpid(), signal.SIGINT) if next(count) == at else None)
    with pytest.raises(Stopped, match=rf"step {at} of {STEPS}"):
        fit(vae, ELBO(), data, training, STEPS, 0, tmp_path)
    again, _ = run(tmp_path, resume=True)
    assert identical(weights(whole), weights(again))


def test_without_latents_there_is_no_q_to_be_ahead(data):
    experiment = Experiment(
        Data("array"), Model(network=MLP(hidden=(8,)), layers=()), training=spec(aggressive=2, steps=5)
    )
    with pytest.raises(
        InputError, match=r"^training.aggressive: is 2, and the model has no latents to infer; leave it out"
    ):
        resolve(experiment, data)


# --- the same bits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [ELBO(), IWAE(samples=3)], ids=str)
def test_the_same_seed_gives_the_same_bits(data, objective):
    events = ([], [])
    (one, facts), (two, _) = (train(data, objective=objective, listen=seen.append) for seen in events)
    torch.rand(3)  # whatever was drawn before does not matter
    three, _ = train(data, objective=objective)
    assert identical(weights(one), weights(two))
    assert identical(weights(one), weights(three))
    assert [(e.step, e.train, e.valid) for e in events[0]] == [(e.step, e.train, e.valid) for e in events[1]]
    assert not identical(weights(one), weights(train(data, 1, objective=objective)[0]))
    assert not identical(weights(one), weights(build(data)))
    assert facts["steps"] == STEPS
    assert facts["epochs"] == pytest.approx(STEPS / 6, abs=1e-3)


def test_initialisation_is_seeded(data):
    assert identical(weights(build(data)), weights(build(data)))
    assert not identical(weights(build(data)), weights(build(data, 1)))


@pytest.mark.parametrize("optimiser", [Adam(), AdamW(), SGD(lr=1e-3)], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("at", [1, 6, 15, 30, STEPS])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(data, tmp_path, optimiser, at):
    """Ctrl-C within a step, inside an epoch and at its end: weights, best and every number told are the same."""
    training = spec(optimiser=optimiser, warmup=0.2, validations=4)  # every 10 steps

    def told(event) -> tuple:
        return event.step, event.beta, event.train, event.valid, event.best

    all_of_it, before_it, after_it = [], [], []
    whole, facts = train(data, training=training, listen=lambda e: all_of_it.append(told(e)))
    handler = signal.getsignal(signal.SIGINT)
    vae, count = build(data), itertools.count(1)
    vae.decoder.head.offset.register_hook(lambda g: os.kill(os.getpid(), signal.SIGINT) if next(count) == at else None)
    with pytest.raises(Stopped, match=rf"step {at} of {STEPS}"):
        fit(vae, ELBO(), data, training, STEPS, 0, tmp_path, lambda e: before_it.append(told(e)))
    assert signal.getsignal(signal.SIGINT) is handler
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    fresh = build(data, seed=5)  # other weights, other draws: all of the state is in the file
    torch.manual_seed(99)
    resumed, again = fit(
        fresh, ELBO(), data, training, STEPS, 0, tmp_path, lambda e: after_it.append(told(e)), resume=True
    )
    assert before_it + after_it == all_of_it
    assert identical(weights(resumed), weights(whole))
    assert again["best_step"] == facts["best_step"]
    assert again["steps"] == facts["steps"] == STEPS
    assert again["seconds"] > 0


@pytest.mark.parametrize("optimiser", [Adam(), AdamW(), Adamax()], ids=lambda o: type(o).__name__)
def test_a_stopped_run_of_maps_goes_on_to_the_same_bits(tmp_path, optimiser):
    """Weights of convolutions lie channels last in memory, and so must the moments that go with them."""
    x = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = open_array((x > 0.5).float().numpy())
    training = spec(optimiser=optimiser, validations=2)

    def built(seed: int) -> VAE:
        torch.manual_seed(seed)
        network = Pyramid((4, 4), patch=2, cells=1)
        return Model(network=network, layers=(Spatial(latents=1),)).build(
            (1, 8, 8), data.reading.support, data.statistics()
        )

    whole, after = [], []
    fit(built(0), ELBO(), data, training, 12, 0, listen=lambda event: whole.append(event.valid))
    vae, count = built(0), itertools.count(1)
    vae.decoder.head.offset.register_hook(lambda g: os.kill(os.getpid(), signal.SIGINT) if next(count) == 7 else None)
    with pytest.raises(Stopped):
        fit(vae, ELBO(), data, training, 12, 0, tmp_path)
    fit(built(5), ELBO(), data, training, 12, 0, tmp_path, lambda event: after.append(event.valid), resume=True)
    assert any(not weight.is_contiguous() for weight in vae.parameters())
    assert after and after[-1] == whole[-1]


def test_the_scale_of_losses_in_16_bits_goes_on_too(data):
    """Fabric refuses 16 bits on a processor, so the state is asked itself."""
    from lightning_fabric.plugins.precision import MixedPrecision

    from taut.training import loop

    def state(scale: float):
        vae = build(data)
        precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))
        optimiser = spec().optimiser.build(vae.parameters())
        device = torch.device("cpu")
        fabric = SimpleNamespace(
            device=device, global_rank=0, world_size=1, strategy=SimpleNamespace(precision=precision)
        )
        learner, average = loop.Learner(vae, ELBO()), loop.Average(vae, 0.9)
        return loop.State(learner, optimiser, average, loop.Meter(device), loop.Company(fabric), 0)

    ahead, fresh = state(1024.0), state(2.0)
    fresh.restore(*ahead.capture())
    assert fresh.precision.scaler.get_scale() == 1024


@pytest.fixture
def interruptible():
    """Ctrl-C as Python has it, which a job in the background starts without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_sigterm_stops_too_and_nothing_is_caught_without_a_folder(data, tmp_path):
    with pytest.raises(Stopped):
        train(data, folder=tmp_path, listen=lambda e: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        train(data, listen=lambda e: os.kill(os.getpid(), signal.SIGINT))


def test_a_checkpoint_of_another_model_is_refused(data, tmp_path):
    with pytest.raises(Stopped):
        train(data, folder=tmp_path, listen=lambda e: os.kill(os.getpid(), signal.SIGINT))
    torch.manual_seed(0)
    other = Model(latents=3, network=MLP(hidden=(8,))).build((6,), data.reading.support, data.statistics())
    with pytest.raises(InputError, match=r"resume: finds the checkpoint of another model"):
        fit(other, ELBO(), data, spec(), STEPS, 0, tmp_path, resume=True)
    write_tensors(tmp_path / CHECKPOINT, {"a": torch.zeros(1)})
    with pytest.raises(InputError, match="another model"):
        train(data, folder=tmp_path, resume=True)
    with pytest.raises(InputError, match="needs the folder"):
        train(data, resume=True)
    with pytest.raises(InputError, match="is missing"):
        train(data, folder=tmp_path / "none", resume=True)


def test_validation_draws_leave_training_alone(data):
    """How often one looks does not change what is trained."""
    one, _ = train(data, training=spec(validations=1, average=None))
    last = {}
    two = build(data)
    fit(two, ELBO(), data, spec(validations=100, average=None), STEPS, 0, listen=lambda e: last.update(e.valid or {}))
    assert identical(weights(one), weights(two))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with seeded(0):
        torch.rand(5)
    assert torch.equal(before, torch.get_rng_state())


# --- schedules ---------------------------------------------------------------------------------------------------


def test_learning_rates():
    steps, lr = 1000, 2e-3
    for name, half in (("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)):
        training = spec(optimiser=Adam(lr=lr), warmup=0.1, schedule=name)
        rates = [training.lr(step, steps) for step in range(steps)]
        assert all(0 < rate <= lr for rate in rates)
        assert all(a < b for a, b in itertools.pairwise(rates[:100]))
        assert rates[0] == pytest.approx(lr / 101)
        assert rates[100] == lr
        assert rates[550] == pytest.approx(half * lr)
        assert all(a >= b for a, b in itertools.pairwise(rates[100:]))
    for warmup, steps in ((0.0, 10), (0.0, 1), (0.5, 1)):
        assert 0 < spec(optimiser=Adam(lr=lr), warmup=warmup).lr(0, steps) <= lr
    assert spec(optimiser=Adam(lr=lr), warmup=0.0).lr(0, 10) == lr


def test_the_weight_of_the_rate_rises_in_a_straight_line(data):
    schedule = Linear(share=0.25)
    assert [schedule.factor(step, 40, 6) for step in (0, 5, 10, 39)] == [0.0, 0.5, 1.0, 1.0]
    assert [Linear(epochs=2).factor(step, 40, 6) for step in (0, 6, 12, 39)] == [0.0, 0.5, 1.0, 1.0]
    assert Linear(share=0.0).factor(0, 40, 6) == Constant().factor(0, 40, 6) == 1.0
    seen = {}
    train(data, objective=ELBO(beta=3.0, schedule=schedule), listen=lambda e: seen.update({e.step: e.beta}))
    assert seen[6] == pytest.approx(3 * 5 / 10)
    assert seen[12] == seen[STEPS] == 3.0


@pytest.mark.parametrize("epochs", [1.0, 3.0])
def test_a_rise_longer_than_the_run_is_refused_and_what_is_advised_is_not(data, epochs):
    steps = int(6 * epochs)
    words = r"^objective.schedule.epochs: is .* would never reach its value; train longer"
    with pytest.raises(InputError, match=words) as told:
        train(data, objective=ELBO(schedule=Linear(epochs=epochs)), steps=steps)
    advised = float(str(told.value).split()[-1])
    Linear(epochs=advised).check(steps, 6)
    Linear(epochs=0.99 * epochs).check(steps, 6)


def test_lengths():
    assert spec(steps=7).planned_steps(100) == 7
    assert spec(epochs=2.5).planned_steps(100) == 250
    assert spec(epochs=1e-9).planned_steps(100) == 1
    assert spec().planned_steps(10_000) == 100_000, "ten passes at least"
    lengths = [spec().planned_steps(n) for n in range(1, 3000)]
    assert all(length % n == 0 for n, length in enumerate(lengths, 1)), "whole passes"
    assert all(10 <= length // n <= lengths[0] for n, length in enumerate(lengths, 1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 1, "steps": 1}, "epochs: is given with steps"),
        ({"epochs": 0.0}, "epochs: is 0"),
        ({"steps": -1}, "steps: is -1"),
        ({"minutes": math.inf}, "minutes: is inf"),
        ({"batch": 0}, "batch: is 0"),
        ({"patience": 0}, "patience: is 0"),
        ({"validations": 0}, "validations: is 0"),
        ({"warmup": 1.0}, "warmup: is 1"),
        ({"warmup": -0.1}, "warmup: is -0.1"),
        ({"clip": 0.0}, "clip: is 0"),
        ({"average": 1.0}, "average: is 1"),
        ({"checkpoint": 0.0}, "checkpoint: is 0"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(InputError, match=f"^{words}"):
        spec(**options)


# --- what breaks -------------------------------------------------------------------------------------------------


def poison(vae: VAE, call: int, value: float) -> None:
    """Make the gradient of one parameter not finite at the n-th update."""
    count = itertools.count(1)
    vae.decoder.head.offset.register_hook(lambda g: g * value if next(count) == call else g)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("at", [1, 5, 6, 11, 12, 17, STEPS])
def test_a_nan_names_step_and_term_and_the_last_good_state_is_kept(data, tmp_path, at, value):
    """An update breaks the weights: at a validation's own step, before it, after it, and in the last step of all."""
    vae = build(data)
    poison(vae, at, value)
    with pytest.raises(Diverged) as told:
        fit(vae, ELBO(), data, spec(clip=None), STEPS, 0, tmp_path)
    line = str(told.value)
    validated = (at - 1) // 6 * 6
    assert any(
        f"the {term} is not finite at step {at + late:,}" in line for term, late in (("gradient", 0), ("distortion", 1))
    ), line
    assert "--training.optimiser.lr" in line
    if not validated:  # the state before the first step is worth no checkpoint
        assert "saved" not in line and not (tmp_path / CHECKPOINT).exists()
        return
    assert f"step {validated}, is saved in {tmp_path}" in line
    tensors, facts = read_tensors(tmp_path / CHECKPOINT)
    assert facts["numbers"]["step"] == validated
    assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())
    # and one can go on from it
    resumed, _ = train(data, folder=tmp_path, resume=True, training=spec(clip=None))
    assert identical(weights(resumed), weights(train(data, training=spec(clip=None))[0]))


@dataclass(frozen=True)
class BrokenLoss(ELBO):
    """A loss that is no number once β has risen."""

    def loss(self, distortion, trace, beta):
        return super().loss(distortion, trace, beta) + (math.nan if beta >= 0.5 else 0.0)


def test_a_broken_loss_is_named_as_that(data):
    with pytest.raises(Diverged, match=r"the loss is not finite at step 11; try"):
        train(data, objective=BrokenLoss(schedule=Linear(share=0.5)))


def test_the_meter_names_the_first_term_that_broke():
    meter = Meter("cpu")
    good, bad = torch.tensor(1.0), torch.tensor(math.inf)
    meter.add(1, Outcome(good, good, good))
    assert meter.first_broken() is None
    meter.add(2, Outcome(bad, good, bad))
    meter.add(3, Outcome(bad, bad, bad))
    assert meter.first_broken() == (2, "rate")
    meter = Meter("cpu")
    for step, value in ((1, 3.0), (2, 5.0)):
        meter.add(step, Outcome(torch.tensor(value), torch.tensor(2 * value), torch.tensor(0.0)))
    assert meter.read() == {"loss": 4.0, "distortion": 8.0, "rate": 0.0}
    other = Meter("cpu")
    other.load_state_dict(meter.state_dict())
    assert other.read() == meter.read()
    meter.reset()
    assert meter.read()["loss"] == 0


def test_steps_that_are_left_out_are_counted_over_all_sittings(data, tmp_path):
    found = []
    trained, facts = train(data, training=spec(skip=1e-6), folder=tmp_path, listen=found.append, steps=30)
    assert facts["skipped"] == 30 == found[-1].skipped
    assert identical(weights(trained), weights(train(data, training=spec(skip=1e-6), steps=10)[0])), "nothing moved"
    assert train(data, training=spec(skip=1e6), steps=10)[1]["skipped"] == 0
    assert "skipped" not in train(data, steps=10)[1]
    longer = train(data, training=spec(skip=1e-6), folder=tmp_path, resume=True, steps=40)
    assert longer[1]["skipped"] == 40


# --- averages and patience ---------------------------------------------------------------------------------------


def test_the_average_is_the_one_computed_by_hand():
    module = torch.nn.Linear(2, 1)
    average = Average(module, 0.3)
    expected = module.weight.detach().double().clone()
    for t in range(1, 8):
        with torch.no_grad():
            module.weight.add_(t)
        average.update(t)
        decay = min(0.3, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * module.weight.detach().double()
        torch.testing.assert_close(average.module.weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert not average.module.weight.requires_grad
    follower = Average(module, None)
    with torch.no_grad():
        module.weight.mul_(2)
    follower.update(1)
    assert torch.equal(follower.module.weight, module.weight)


def test_patience_stops_the_run_and_the_best_weights_come_back(data):
    scores, steps = [], []

    def listen(event) -> None:
        if event.valid:
            scores.append(event.valid["distortion"] + event.valid["rate"])
            steps.append(event.step)

    training = spec(patience=3, optimiser=SGD(lr=1e-30, momentum=0.0), average=None)
    _, facts = train(data, training=training, objective=ELBO(schedule=Constant()), steps=600, listen=listen)
    assert facts["steps"] == 4 * 6, "one validation that is the best, then three that are not"
    assert facts["best_step"] == 6
    trained, facts = train(data, listen=lambda e: None, steps=60)
    feed_score = examine(trained, _valid(data, trained))
    scores.clear()
    steps.clear()
    _, facts = train(data, listen=listen, steps=60)
    assert facts["best_step"] == steps[scores.index(min(scores))]
    assert feed_score["distortion"] + feed_score["rate"] == pytest.approx(min(scores), rel=1e-6)


def _valid(data: Dataset, vae: VAE):
    from taut.data import Feed

    return Feed(data.valid, data.reading, vae.dequantise)


# --- nothing comes to the host -----------------------------------------------------------------------------------


class Syncs(TorchDispatchMode):
    """Counts every number that is brought to the host: item, float, int, bool of a tensor all end here."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.at = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("objective", [ELBO(), IWAE(samples=2)], ids=str)
@pytest.mark.parametrize("optimiser", [Adam(), SGD()], ids=lambda o: type(o).__name__)
def test_no_number_comes_to_the_host_between_log_lines(data, monkeypatch, objective, optimiser):
    """Twice as many steps between the same log lines bring no more numbers over."""
    lists = itertools.count()
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: (next(lists), original(self))[1])
    counts = []
    for steps in (20, 40):
        seen = []
        with Syncs() as syncs:
            vae, training = build(data), spec(validations=1, optimiser=optimiser, clip=5.0)
            fit(vae, objective, data, training, steps, 0, listen=seen.append)
        assert [event.step for event in seen] == [steps]
        counts.append((syncs.count, next(lists)))
    (few, few_lists), (many, all_lists) = counts
    assert many == few
    assert all_lists - few_lists <= few_lists + 1


# --- files -------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*args) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(InputError, match=r"cannot be written .No space left on device.; free some space"):
                write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "none" / "file", b"new")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def some() -> dict[str, torch.Tensor]:
    return {
        "a": torch.arange(6.0).view(2, 3),
        "b": torch.tensor(3),
        "c": torch.zeros(0, 4),
        "d": torch.ones(2).bfloat16(),
        "e": torch.tensor([True, False]),
        "f": torch.arange(6.0).view(2, 3).T,
    }


def test_tensors_and_facts_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "t.safetensors"
    facts = {"x": [1, 2.5, None, "é"], "inf": math.inf}
    write_tensors(path, some(), facts)
    tensors, read = read_tensors(path)
    assert read == facts
    assert identical(tensors, some())
    assert {name: t.dtype for name, t in tensors.items()} == {name: t.dtype for name, t in some().items()}


def test_a_file_with_any_bit_changed_or_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": torch.arange(3.0), "b": torch.tensor(3)}, {"x": 1})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(len(whole)):
        for bit in (0, 3, 6) if place < header else range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                tensors, facts = read_tensors(path)
            except InputError as error:
                assert "is damaged" in str(error)
                assert "\n" not in str(error)
            else:  # a space in the padding of the header holds nothing
                assert facts == {"x": 1}
                assert identical(tensors, {"a": torch.arange(3.0), "b": torch.tensor(3)})
                assert place < header
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is damaged"):
            read_tensors(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(InputError, match="is damaged"):
        read_tensors(path)


def test_what_is_no_file_of_tensors_is_refused(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        read_tensors(tmp_path / "none")
    for content in (b"", b"x" * 100, b"\x80\x04."):
        (tmp_path / "f").write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            read_tensors(tmp_path / "f")
    with pytest.raises(InputError, match="is damaged"):
        read_tensors(tmp_path)


def test_flatten_and_back():
    tree = {"a": {0: torch.ones(1), "b": [torch.zeros(2), 3.5, None]}, "c": {}, "d": [], "e": (1, True)}
    tensors, form = flatten(tree)
    assert sorted(tensors) == ["a.0", "a.b.0"]
    back = unflatten(tensors, form)
    assert back["a"][0] is tree["a"][0]
    assert back["a"]["b"][1:] == [3.5, None]
    assert (back["c"], back["d"], back["e"]) == ({}, [], [1, True])


# --- the rest ----------------------------------------------------------------------------------------------------


def test_few_examples_make_one_smaller_batch(data):
    assert steps_per_epoch(data, spec(batch=1000)) == 1
    _, facts = train(data, training=spec(batch=1000), steps=3)
    assert facts == facts | {"steps": 3, "epochs": 3.0}


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_train(data, precision):
    trained, facts = train(data, training=spec(precision=precision), steps=12)
    assert facts["steps"] == 12
    assert all(p.isfinite().all() for p in trained.parameters())
    assert {p.dtype for p in trained.parameters()} == {torch.float32}, "whatever it was trained in"


def test_a_device_that_is_not_there_is_refused(data):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match=r"training.device: 'cuda' cannot be used"):
        train(data, training=spec(device="cuda"))


def test_measuring_the_pace_changes_nothing(data):
    vae = build(data)
    before, state = weights(vae), torch.get_rng_state()
    step, validation = measure_pace(vae, ELBO(), data, spec(), 0.01)
    assert step > 0
    assert validation > 0
    assert identical(before, weights(vae))
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.requires_grad and p.grad is None for p in vae.parameters())


def test_dequantised_data_train(data):
    """A density of whole numbers gets them with noise, in training and validation alike."""
    x = torch.randint(0, 5, (60, 4), generator=torch.Generator().manual_seed(0)).numpy()
    whole = open_array(x, spec=Data("array", support="integers"))
    from taut.likelihoods import Gaussian

    torch.manual_seed(0)
    model = Model(latents=2, network=MLP(hidden=(8,)), likelihood=Gaussian(spread="shared"))
    vae = model.build((4,), whole.reading.support, whole.statistics())
    assert vae.dequantise
    _, facts = fit(vae, ELBO(), whole, spec(), 6, 0)
    assert facts["steps"] == 6
