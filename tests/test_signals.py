"""Signals: arrays (N, length) and (N, channels, length), and folders of sounds, by convolutions of one dimension."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from torch import nn

import taut
from taut.cli import main
from taut.data import Data, open_array, open_data, read_like
from taut.errors import InputError
from taut.model import Model
from taut.networks import Conv, Network, ResNet
from taut.networks.convolutional import Doubled

torch.set_num_threads(1)


def waves(n: int = 200, length: int = 75, channels: int = 0, seed: int = 0) -> np.ndarray:
    """Sines of random pitch and phase."""
    random = np.random.RandomState(seed)
    shape = (n, channels, 1) if channels else (n, 1)
    pitch, phase = random.uniform(1, 4, shape), random.uniform(0, 2 * np.pi, shape)
    t = np.linspace(0, 2 * np.pi, length)
    return np.sin(pitch * t + phase) + 0.05 * random.randn(*shape[:-1], length)


def line(call, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def sounds(folder: Path, lengths=(800,) * 12, rate: int = 8000, names=None) -> Path:
    for i, length in enumerate(lengths):
        path = folder / (names[i] if names else f"{i:02}.wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(path, rate, (8000 * np.sin(np.arange(length) / (3 + i))).astype(np.int16))
    return folder


@pytest.mark.parametrize("channels", [0, 2])
def test_arrays(channels):
    x = waves(channels=channels)
    data = open_array(x, spec=Data("array", layout="signal"))
    assert data.reading.shape == (max(1, channels), 1, 75)
    assert data.what().startswith("200 signals of 75")
    np.testing.assert_allclose(data.reading.restore(read_like(data.reading, x).x), x, atol=1e-6)
    line(lambda: open_array(np.zeros((9, 2, 3, 8)), spec=Data("array", layout="signal")), "data.layout")


@pytest.mark.parametrize("length", [16, 75, 1000])
@pytest.mark.parametrize("network", [Conv, ResNet])
def test_convolutions_of_signals_run_along_time_alone(network, length):
    spec = Model(network=network((4, 8)), latents=3)
    data = open_array(waves(20, length), spec=Data("array", layout="signal"))
    torch.manual_seed(0)
    vae = spec.build(data.reading.shape, data.reading.support, data.statistics())
    kernels = {m.kernel_size for m in vae.modules() if isinstance(m, nn.Conv2d)}
    assert kernels == {(1, 3)}
    assert vae.generate(2, taut.model.pick_prior()).likelihood.mean.shape == (2, 1, 1, length)
    # a shift of the input by both strides shifts the features: what is seen lies near
    body = vae.encoder[:4]
    x = torch.randn(1, 1, 1, 64)
    torch.testing.assert_close(body(x)[..., 4:12], body(x.roll(4, -1))[..., 5:13])


def test_doubling_of_a_signal_is_a_linear_map_of_neighbours():
    module = Doubled(3, 2, (1, 9))
    out = module(torch.randn(4, 3, 1, 5))
    assert out.shape == (4, 2, 1, 9)


@pytest.mark.parametrize("name", sorted(Network.members))
def test_every_network_takes_signals(name):
    data = open_array(waves(20, 32, 2), spec=Data("array", layout="signal"))
    vae = Model(network=Network.members[name](), latents=2).build(
        data.reading.shape, data.reading.support, data.statistics()
    )
    assert vae.generate(1, taut.model.pick_prior()).likelihood.mean.shape == (1, 2, 1, 32)


def test_a_signal_is_learned(tmp_path: Path):
    x = waves(600)
    np.save(tmp_path / "waves.npy", x)
    options = ["--data.layout", "signal", "--epochs", "25", "--training.optimiser.lr", "2e-3"]
    folder = tmp_path / "run"
    assert main(["train", str(tmp_path / "waves.npy"), "--out", str(folder), *options]) == 0
    run = taut.load(folder)
    assert run.reading.layout == "signal" and isinstance(run.experiment.model.network, Conv)
    fresh = waves(100, seed=5)
    assert np.sqrt(np.mean((run.reconstruct(fresh) - fresh) ** 2)) < 0.6 * fresh.std()
    assert run.sample(3).shape == (3, 75)
    for command in ("sample", "reconstruct", "traverse", "interpolate"):
        assert main([command, str(folder)]) == 0
    assert main(["sample", str(folder), "-n", "4", "-o", str(tmp_path / "s.csv")]) == 0
    assert main(["score", str(folder), str(tmp_path / "waves.npy"), "-o", str(tmp_path / "score.csv")]) == 0


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32])
def test_sounds_come_back_as_sounds(kind: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random, folder, whole = np.random.RandomState(0), tmp_path / "s", np.dtype(kind).kind != "f"
    folder.mkdir()
    low, high = (np.iinfo(kind).min, np.iinfo(kind).max) if whole else (-1, 1)
    for i in range(12):  # loud: draws of a density go beyond what the type can hold
        sound = np.where(random.rand(200, 2) < 0.5, low, high)
        wavfile.write(folder / f"{i:02}.wav", 8000, sound.astype(kind))
    run = tmp_path / "run"
    assert main(["train", str(folder), "--out", str(run), "--training.steps", "3", "--quiet"]) == 0
    drawn = taut.load(run).sample(11, seed=0)
    if kind is np.int16:
        assert drawn.min() < low and drawn.max() > high
    words = ["sample", str(run), "-n", "11", "--seed", "0", "--quiet", "-o"]
    assert main([*words, str(tmp_path / "new")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"{i:02}.wav" for i in range(11)]
    for i, x in enumerate(drawn):
        rate, sound = wavfile.read(tmp_path / "new" / f"{i:02}.wav")
        assert rate == 8000 and sound.dtype == kind
        np.testing.assert_array_equal(sound.T, (np.rint(x).clip(low, high) if whole else x).astype(kind))
    assert len(read_like(taut.load(run).reading, tmp_path / "new")) == 11
    assert main(["reconstruct", str(run), str(folder), "--quiet", "-o", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    for name, said in (("one.wav", "one sound, and there are 11"), ("new", "exists"), ("x.ogg", ".wav")):
        assert main([*words, str(tmp_path / name)]) == 2
        assert said in capsys.readouterr().err
    assert main([*words, str(tmp_path / "one.wav"), "-n", "1"]) == 0 and (tmp_path / "one.wav").is_file()


def test_folders_of_sounds(tmp_path: Path):
    names = [f"{'high' if i % 2 else 'low'}/{i}.wav" for i in range(12)]
    data = open_data(Data(str(sounds(tmp_path / "s", names=names))))
    assert data.reading.shape == (1, 1, 800) and data.label_names == ("high", "low")
    assert data.reading.support.whole
    assert any("8,000 samples a second" in note for note in data.notes())
    assert len(read_like(data.reading, tmp_path / "s")) == 12
    lengths = (800,) * 11 + (700,)
    unequal = sounds(tmp_path / "u", lengths)
    line(lambda: open_data(Data(str(unequal))), "700 samples long", "data.shape 700")
    cut = open_data(Data(str(unequal), shape=(700,)))
    assert cut.reading.shape == (1, 1, 700) and any("11 are cut" in note for note in cut.notes())
    line(lambda: open_data(Data(str(unequal), shape=(750,))), "data.shape", "shorter")
    mixed = sounds(tmp_path / "m")
    with warnings.catch_warnings():
        wavfile.write(mixed / "99.wav", 16000, np.zeros(800, np.int16))
    line(lambda: open_data(Data(str(mixed))), "16,000 samples a second", "resample")
    (mixed / "99.wav").write_bytes(b"RIFFnothing")
    line(lambda: open_data(Data(str(mixed))), "99.wav", "cannot be read as a sound")
