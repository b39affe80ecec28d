"""How much the latents tell, against models of which it is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from taut.data import Batch, Statistics, Support, open_array
from taut.evaluation import Subject
from taut.evaluation.aggregate import aggregate
from taut.layers import Plain, Spatial
from taut.likelihoods import Gaussian
from taut.model import VAE, Model, draw
from taut.networks import MLP, Pyramid
from taut.posteriors import DiagonalNormal, FullNormal
from taut.training import information
from taut.training.information import _cost, log_posteriors

DOUBLE = torch.float64


def linear(gain: float, noise: float, latents: int = 2) -> tuple[VAE, float]:
    """q(z|x) = N(gain · x, σ²) of x ~ N(0, I), and σ, which is about the noise asked for: scales are softly bounded."""
    shape = (latents,)
    statistics = Statistics(torch.zeros(shape), torch.ones(shape))
    model = Model(latents=latents, posterior=DiagonalNormal(), likelihood=Gaussian(), network=MLP((4,)))
    vae = model.build(shape, Support("real"), statistics).double().eval()
    vae.encoder = nn.Identity()
    layer = vae.layers[0]
    layer.evidence = nn.Linear(latents, layer.q.width).double()
    with torch.no_grad():
        layer.evidence.weight.zero_()
        layer.evidence.bias.zero_()
        layer.evidence.weight[:latents] = gain * torch.eye(latents)
        layer.evidence.bias[latents:] = math.log(noise)
    x = torch.zeros(1, latents, dtype=DOUBLE)
    return vae, vae.infer(x).stddev[0, 0].item()


@torch.no_grad()
def rate(vae: VAE, x: Tensor) -> float:
    return vae(Batch(x)).rate().mean().item()


def evidence(vae: VAE, x: Tensor) -> list[Tensor]:
    return vae.evidence(Batch(x))


@pytest.mark.parametrize(("gain", "noise"), [(0.6, 0.8), (0.9, 0.5), (0.0, 1.0)])
def test_both_sides_hold_the_information_of_a_gaussian_channel(gain: float, noise: float) -> None:
    torch.manual_seed(0)
    latents = 2
    vae, noise = linear(gain, noise, latents)
    x = torch.randn(3000, latents, dtype=DOUBLE)
    held = information(vae, evidence(vae, x), rate(vae, x), pairs=3000 * 1500)
    exact = latents * 0.5 * math.log(1 + gain**2 / noise**2)  # of a channel z = gain x + noise ε
    slack = 3 * max(held.low_stderr, held.high_stderr) + 0.02  # and N points stand for all x
    assert held.low <= exact + slack and held.high >= exact - slack
    assert held.high - held.low < 0.05
    assert abs(held.low - exact) < slack + 0.05


def test_few_examples_say_little_and_say_so() -> None:
    torch.manual_seed(0)
    vae, _ = linear(1.0, 0.01, 5)  # 23 nats
    x = torch.randn(50, 5, dtype=DOUBLE)
    held = information(vae, evidence(vae, x), rate(vae, x))
    assert held.low == pytest.approx(held.most, rel=0.5) and held.low <= held.most == math.log(50)
    assert held.high == held.rate


def test_where_a_pair_is_dear_fewer_are_weighed_of_fewer_examples() -> None:
    """Of a hierarchy on maps each pair is a walk of convolutions; the draws that are left are of all parts of the data."""
    torch.manual_seed(0)
    vae = Model(network=Pyramid((4, 4), cells=1, patch=2), layers=(Spatial(latents=1),)).build(
        (1, 8, 8), Support("binary", 2), Statistics(torch.zeros(1, 8, 8), torch.ones(1, 8, 8))
    )
    told = vae.eval().evidence(Batch((torch.rand(400, 1, 8, 8) < 0.5).float()))
    some = information(vae, told, 50.0, least=640, operations=0)
    assert some.n == 20 and 0 <= some.low <= math.log(20)
    walks = 2000 * (_cost(vae, told, None) + 1)
    assert information(vae, told, 50.0, least=640, operations=walks).n == pytest.approx(2000 / 32, abs=1)
    assert information(vae, told, 50.0, pairs=12_800, operations=1e15).n == 400


def test_the_densities_of_pairs_are_those_of_each_pair() -> None:
    torch.manual_seed(0)
    statistics = Statistics(torch.zeros(4), torch.ones(4))
    model = Model(
        likelihood=Gaussian(),
        network=MLP((8,)),
        layers=(Plain(latents=3), Plain(latents=2, posterior=FullNormal(), hidden=5)),
    )
    vae = model.build((4,), Support("real"), statistics).double().eval()
    heads = evidence(vae, torch.randn(6, 4, dtype=DOUBLE))
    with torch.no_grad():
        steps, _ = vae.walk(vae.root(6), heads, draw)
        found = log_posteriors(vae, heads, [step.z for step in steps])
        assert torch.diagonal(found).tolist() == pytest.approx(sum(step.log_q for step in steps).tolist())
        for m in range(6):
            for n in range(6):
                top = vae.layers[0].posterior(vae.root(1), heads[0][n : n + 1], None)
                h = vae.layers[0].merge(vae.root(1), steps[0].z[m : m + 1])
                low = vae.layers[1].posterior(h, heads[1][n : n + 1], None)
                alone = top.log_prob(steps[0].z[m : m + 1]) + low.log_prob(steps[1].z[m : m + 1])
                assert found[m, n].item() == pytest.approx(alone.item())


def test_the_rate_comes_apart_into_information_and_mismatch() -> None:
    torch.manual_seed(0)
    gain, noise = 0.6, 0.5
    vae, noise = linear(gain, noise, 2)
    vae = vae.float()
    data = open_array(torch.randn(4000, 2).numpy())
    subject = Subject(vae, data.train, data.reading)
    total = gain**2 + noise**2  # the aggregate is N(0, total)
    found = aggregate(subject, rate(vae, data.train.x))
    exact = 2 * 0.5 * (total - 1 - math.log(total))
    assert found["mismatch"]["low"] - 0.05 < exact < found["mismatch"]["high"] + 0.05
    assert found["std"] == pytest.approx([math.sqrt(total)] * 2, rel=0.05)
    assert found["mean"] == pytest.approx([0, 0], abs=0.05)
    assert found == aggregate(subject, rate(vae, data.train.x))


def test_a_model_without_latents_has_no_aggregate() -> None:
    data = open_array(torch.randn(100, 2).numpy())
    vae = Model(layers=()).build((2,), Support("real"), data.statistics())
    assert aggregate(Subject(vae, data.test, data.reading), 0.0) == {}
