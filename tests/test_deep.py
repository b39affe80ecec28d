"""Deep hierarchies: the two posteriors that follow the prior against exact truth, layers on maps of every size, and what can be
done with a stack of layers after training."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import taut
from taut.cli import main
from taut.data import Batch, Feed, Statistics, Support, open_array
from taut.distributions import DiagonalNormal, divergence, fold
from taut.errors import InputError
from taut.evaluation import Subject, bounds
from taut.evaluation.coordinates import Coordinates, still
from taut.evaluation.inference import Bending, Local, require_local
from taut.layers import Plain, Spatial, Upward
from taut.likelihoods import Bernoulli, Gaussian
from taut.model import VAE, Model, Step, centre, draw, follow, pick_prior
from taut.networks import MLP, BottleneckCell, GatedCell, Pyramid, SeparableCell, Tower, by_depth
from taut.objectives import IWAE, STL, DReG
from taut.posteriors import PrecisionNormal, RelativeNormal
from taut.training import active_units, examine, shift

CELLS = [BottleneckCell(), GatedCell(), SeparableCell()]


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("spec", [RelativeNormal(), PrecisionNormal()], ids=str)
def test_posteriors_that_follow_the_prior(spec):
    p, params = DiagonalNormal(some(5, 3), 0.4 * some(5, 3, seed=1)), some(5, 6, seed=2)
    q = spec.build((3,))(params, p)
    told, raw = params[:, :3], 8 * (params[:, 3:] / 8).tanh()
    if isinstance(spec, RelativeNormal):
        torch.testing.assert_close(q.mean, p.mean + p.stddev * told)
        torch.testing.assert_close(q.stddev, p.stddev * raw.exp())
        kl = (0.5 * (told.square() + (2 * raw).exp() - 1) - raw).sum(1)
    else:
        precision = p.variance.reciprocal() + (-2 * raw).exp()
        mean = (p.mean / p.variance + told * (-2 * raw).exp()) / precision
        torch.testing.assert_close(q.mean, mean)
        torch.testing.assert_close(q.variance, precision.reciprocal())
        ratio = q.variance / p.variance
        kl = 0.5 * (ratio + (mean - p.mean).square() / p.variance - 1 - ratio.log()).sum(1)
    found = divergence(q, p, q.mean, q.log_prob(q.mean), lambda: p.log_prob(q.mean))
    assert found.kind == "closed"
    torch.testing.assert_close(found.total, kl)


class Rung(nn.Module):
    """z ~ N(a h, s²) elementwise, and a q that weighs this prior against what x tells: a ladder whose exact posterior it is."""

    reads_prior = True

    def __init__(self, a: float, s: float, gain: float, noise: float) -> None:
        super().__init__()
        self.a, self.s, self.gain, self.noise = a, s, gain, noise
        self.q = PrecisionNormal().build((2,))
        self.p = nn.Identity()

    def evidence(self, features):
        raw = 8 * math.atanh(math.log(self.noise) / 8)
        return torch.cat([features * self.gain, torch.full_like(features, raw)], 1)

    def enter(self, h):
        return h

    def prior(self, h):
        mean = self.a * h if h.shape[1] else h.new_zeros(len(h), 2)
        return DiagonalNormal(mean, torch.full_like(mean, math.log(self.s)))

    def posterior(self, h, e, p):
        return self.q(e, p)

    def merge(self, h, z):
        return z


class Seen(nn.Module):
    def forward(self, h):
        base = DiagonalNormal(h, torch.full_like(h, math.log(0.5)))
        base.log_prob, inner = lambda x, mask=None: inner(fold(x, len(h) // len(x))), base.log_prob
        return base


def test_a_linear_ladder_is_exact():
    """z₁ ~ N(0, 1), z₂ ~ N(a z₁, s²), x ~ N(z₂, t²): told x, z₂ is seen with noise t and z₁, through a, with √(s² + t²)/a. So
    the ladder's posterior is exact, and every importance weight is p(x)."""
    a, s, t = 0.8, 0.7, 0.5
    layers = [Rung(0.0, 1.0, 1 / a, math.sqrt(s**2 + t**2) / a), Rung(a, s, 1.0, t)]
    vae = VAE(nn.Identity(), layers, Seen(), Statistics(torch.zeros(2), torch.ones(2))).double()
    batch = Batch(some(6, 2, seed=3))
    scale = batch.x.new_tensor(a**2 + s**2 + t**2).sqrt()
    exact = torch.distributions.Normal(0 * scale, scale).log_prob(batch.x).sum(1)
    torch.testing.assert_close(vae(batch, 7).log_weight(batch), exact.expand(7, 6), atol=1e-10, rtol=0)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 20), (3, 9, 14), (2, 5, 7)], ids=str)
def test_images_of_every_size(shape, cell):
    network = Pyramid((6, 8), cell=cell, cells=1)
    spec = Model(layers=(Spatial(groups=2, latents=2, cell=cell),), network=network, posterior=RelativeNormal())
    vae = spec.build(shape, Support("binary", 2), Statistics(torch.zeros(shape), torch.ones(shape)))
    batch = Batch((torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)) < 0.4).float())
    trace = vae(batch, 2)
    assert len(trace.steps) == 4
    assert trace.log_weight(batch).shape == (2, 3)
    assert vae.generate(3, pick_prior()).likelihood.mean.shape == (3, *shape)
    # at the start q is near p, and the model near the marginal of each pixel
    assert trace.rate().mean() < 1
    trace.log_weight(batch).mean().backward()
    assert all(weight.grad is not None for name, weight in vae.named_parameters())


def test_a_network_is_fitted_to_images_and_what_does_not_fit_is_refused():
    def fitted(shape, **options):
        found = Pyramid(**options).fitted((1, *shape))
        return found.patch, found.pad

    assert fitted((28, 28)) == (2, False)
    assert fitted((6, 10)) == (1, False), "what is open is chosen so that it divides"
    assert fitted((9, 14)) == (2, True), "and nothing that was given is at fault"
    assert fitted((28, 20), channels=(8, 8, 8)) == (1, False)
    assert fitted((28, 20), patch=8, pad=True) == (8, True)
    for shape, options, said in (
        ((28, 20), {"patch": 8}, r"patch: is 8 at 2 scales, which fit sides that 16 divides, and images are 28×20; "
         r"the nearest that fit are 16×16 and 32×32; give at most 2, or model.network.pad true for zeros up to 32×32$"),
        ((28, 28), {"channels": (8,) * 5}, r"channels: has 5 scales with patches of 1, .*give at most 3 scales, or"),
        ((28, 28), {"channels": (8,) * 4, "patch": 1}, r"channels: has 4 scales with .*; give at most 3 scales, or"),
        ((7, 7), {"patch": 2}, r"channels: .* 4×4 and 8×8; give at most 1 scale with model.network.patch 1, or .* 8×8$"),
        ((7, 7), {"pad": False}, r"channels: "),
    ):  # fmt: skip
        with pytest.raises(InputError, match=rf"^model.network.{said}"):
            fitted(shape, **options)
    assert Pyramid(patch=8).in_words((1, 28, 20)) == "Pyramid of images padded to 32×32"
    assert Pyramid().in_words((1, 28, 20)) == "Pyramid"


def test_what_is_padded_is_padded_as_asked():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (60, 9, 14)).astype(np.uint8)
    options = {"layers": [{"part": "Spatial", "latents": 1}]}
    run = taut.train(x, model=options, training={"steps": 2})
    assert (run.experiment.model.network.patch, run.experiment.model.network.pad) == (2, True)
    network = {"part": "Pyramid", "channels": [4, 4, 4]}
    with pytest.raises(InputError, match=r"^model.network.channels: has 3 scales"):
        taut.train(x, model={**options, "network": network}, training={"steps": 2})
    run = taut.train(x, model={**options, "network": {**network, "pad": True}}, training={"steps": 2})
    assert run.sample(2).shape == (2, 9, 14)


@pytest.mark.parametrize("patch", [1, 2])
def test_images_of_one_place(patch):
    channels = (4, 6)[: 3 - patch]
    for layers in ((Spatial(),), (Spatial(scale=len(channels) - 1),)):
        vae = Model(layers=layers, network=Pyramid(channels, patch)).build(
            (2, 1, 1), Support("binary", 2), Statistics(torch.zeros(2, 1, 1), torch.ones(2, 1, 1))
        )
        batch = Batch(torch.zeros(3, 2, 1, 1))
        assert vae(batch).log_weight(batch).shape == (1, 3)


def test_vectors_above_maps_and_below_them():
    shape, statistics = (1, 8, 8), Statistics(torch.zeros(1, 8, 8), torch.ones(1, 8, 8))
    batch = Batch(torch.zeros(3, *shape))
    for layers in ((Plain(latents=3), Spatial(scale=0)), (Spatial(scale=1), Plain(latents=3)), (Plain(latents=3),)):
        vae = Model(layers=layers, network=Pyramid((4, 6))).build(shape, Support("binary", 2), statistics)
        assert vae(batch, 2).log_weight(batch).shape == (2, 3)
    vae = Model(layers=(Spatial(groups=2),), network=Tower((9, 5))).build(
        (7,), Support("binary", 2), Statistics(torch.zeros(7), torch.ones(7))
    )
    assert vae(Batch(torch.zeros(3, 7))).log_weight(Batch(torch.zeros(3, 7))).shape == (1, 3)
    assert [layer.event for layer in vae.layers] == [(8,)] * 4


def test_a_stack_starts_near_the_identity():
    cells = [BottleneckCell().build(8, (4, 4)) for _ in range(9)]
    before = [cell.inner[-1].weight.detach().clone() for cell in cells]
    by_depth(cells)
    for cell, weight in zip(cells, before, strict=True):
        torch.testing.assert_close(cell.inner[-1].weight, weight / 3)
        assert not cell.inner[-1].bias.any()


def test_what_does_not_fit_is_refused():
    statistics = Statistics(torch.zeros(1, 8, 8), torch.ones(1, 8, 8))

    def build(**options):
        return Model(likelihood=Bernoulli(), **options).build((1, 8, 8), Support("binary", 2), statistics)

    with pytest.raises(
        InputError, match=r"model.layers: has Spatial, which reads maps, and the network MLP.*Pyramid, Tower"
    ):
        build(layers=(Spatial(),), network=MLP())
    with pytest.raises(InputError, match=r"model.layers: has scale 2, and the network has the scales 0 to 1; "):
        build(layers=(Spatial(scale=2),), network=Pyramid((4, 4)))
    with pytest.raises(InputError, match=r"model.layers: have the scales 0, 1 from the top down; put coarser"):
        build(layers=(Spatial(scale=0), Spatial(scale=1)), network=Pyramid((4, 4)))
    with pytest.raises(InputError, match=r"channels: has 5 scales for images of 8×8 with patches of 2; give at most 3"):
        build(layers=(Spatial(),), network=Pyramid((4,) * 5, patch=2))
    with pytest.raises(InputError, match=r"channels: has 5 scales for images of 8×8; give at most 4"):
        build(layers=(Spatial(),), network=Pyramid((4,) * 5, patch=1))
    with pytest.raises(InputError, match=r"channels: has 3 scales for images of 8×8 with patches of 4; give at most 2"):
        build(layers=(Spatial(),), network=Pyramid((4,) * 3, patch=4))
    with pytest.raises(InputError, match=r"patch: is 16 for images of 8×8; give at most 8"):
        build(layers=(Spatial(),), network=Pyramid((4,), patch=16))
    with pytest.raises(InputError, match=r"Pyramid needs images, and an example has shape \(7,\); choose Tower"):
        Pyramid().encoder((7,))
    with pytest.raises(InputError, match=r"VonMisesFisher is no density of numbers on a map"):
        build(
            layers=(Spatial(posterior=taut.posteriors.VonMisesFisher(), prior=taut.priors.UniformSphere()),),
            network=Pyramid((4, 4)),
        )
    with pytest.raises(
        InputError, match=r"RelativeNormal is placed by a normal of independent elements, which the AR1"
    ):
        build(layers=(Plain(),), posterior=RelativeNormal(), prior=taut.priors.AR1())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = {
        "posterior": "PrecisionNormal",
        "network": {"part": "Pyramid", "channels": [8, 8], "cells": 1},
        "layers": [{"part": "Spatial", "latents": 2}, {"part": "Spatial", "scale": 0, "latents": 1}],
    }
    return taut.train("digits", out=tmp_path_factory.mktemp("deep") / "run", model=model, training={"steps": 30})


def test_the_top_is_kept_and_the_rest_drawn_anew(run):
    vae = run.vae
    assert [layer.scale for layer in vae.layers] == [1, 0, 0]
    top = [step.z.expand(4, -1) for step in vae.generate(1, pick_prior()).steps[:1]]
    trace = vae.generate(4, follow(top, pick_prior([1.0, 1.0, 0.5])))
    assert torch.equal(trace.steps[0].z, top[0])
    assert not torch.equal(trace.steps[1].z[0], trace.steps[1].z[1])
    torch.manual_seed(0)
    one = vae.generate(4, pick_prior([1.0, 0.3, 1.0])).steps[1]
    torch.manual_seed(0)
    other = vae.generate(4, pick_prior([1.0, 0.6, 1.0])).steps[1]
    torch.testing.assert_close(2 * (one.z - one.p.mean), other.z - other.p.mean)
    x = run.sample(6, seed=1, means=True, keep=3)
    assert np.abs(x - x[:1]).max() < 1e-4
    assert (run.sample(6, seed=1, means=True) != x).any()
    half = run.sample(3, 0.5, seed=0)
    for number in (np.float32(0.5), np.array(0.5), torch.tensor(0.5), np.full(3, 0.5)):
        assert (run.sample(3, number, seed=0) == half).all()
    assert np.isfinite(run.complete(ways := run.draw_codes(2), 1, seed=0, temperature=np.float32(0.5))).all()
    assert ways.shape == (2, sum(run.sizes))
    for options, field in (
        ({"keep": 4}, "keep"),
        ({"temperature": [1, 1]}, "temperature"),
        ({"temperature": [1, 0, 1]}, "temperature"),
    ):
        with pytest.raises(InputError, match=f"^{field}: "):
            run.sample(2, **options)


def test_latents_of_a_hierarchy_are_named_with_their_layer(run, tmp_path, capsys):
    sizes = run.sizes
    assert run.latent_names[0] == "z0, layer 1"
    assert run.latent_names[sizes[0]] == f"z{sizes[0]}, layer 2"
    assert len(run.latent_names) == sum(sizes)
    picture = tmp_path / "t.png"
    assert main(["traverse", str(run.folder), "--dimensions", "3", "--steps", "3", "-o", str(picture)]) == 0
    told = capsys.readouterr().out
    best = [run.latent_names[i] for i in np.argsort(-np.array(run.summary["kl_per_dim"]))[:3]]
    assert f"latents {'; '.join(best)} moved" in told
    assert "layers counted from the top" in told
    assert picture.exists()


def test_a_row_of_a_traversal_has_its_own_latents_values(tmp_path, capsys, monkeypatch):
    from taut.report import images

    model = {"layers": [{"part": "Plain", "latents": 8, "posterior": "Categorical"}, {"part": "Plain", "latents": 2}]}
    run = taut.train("digits", out=tmp_path / "run", model=model, training={"steps": 60})
    assert [variable.real for variable in run.variables] == [False] * (len(run.variables) - 2) + [True] * 2
    seen, drawn = [], images.image_strips
    monkeypatch.setattr(images, "image_strips", lambda *given: seen.append(given[3:]) or drawn(*given))
    assert main(["traverse", str(run.folder), "--dimensions", "20", "--steps", "4"]) == 0
    told = capsys.readouterr().out
    names, heads = seen[0]
    assert heads is None
    assert all(
        ("at −3 … 3" in name) == ("layer 2" in name) and ("at 0 … " in name) == ("layer 1" in name) for name in names
    )
    assert " at 4 of their values" in told
    assert " moved from −3 to 3 deviations of their priors" in told
    report = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "or, where it is one of several values, takes " in report


def test_a_step_along_a_latent_means_as_much_in_every_layer(run):
    codes = run.encode(run.test_split())[:6]
    offsets = run.seen_from_prior(codes)
    np.testing.assert_allclose(run.placed_by_prior(offsets), codes, atol=1e-4)
    parts = torch.as_tensor(codes).split(run.sizes, 1)
    steps, _ = run.vae.walk(run.vae.root(6), [None] * 3, follow(list(parts)))
    own = torch.cat([(step.z - step.p.mean) / step.p.stddev for step in steps], 1).detach()
    np.testing.assert_allclose(offsets, own, atol=1e-4)
    ways = np.zeros((2, sum(run.sizes)), np.float32)
    ways[:, -1] = -3, 3  # of the lowest layer
    ends = run.placed_by_prior(ways)
    assert (ends[0, :-1] == ends[1, :-1]).all()
    steps, _ = run.vae.walk(run.vae.root(2), [None] * 3, follow(list(torch.as_tensor(ends).split(run.sizes, 1))))
    np.testing.assert_allclose(ends[1, -1] - ends[0, -1], 6 * float(steps[-1].p.stddev[0, -1]), rtol=1e-4)


def test_a_picture_comes_out_layer_by_layer(run):
    x = run.test_split().x[:5]
    split = run.test_split().take(torch.arange(5))
    steps = [run.reconstruct(split, layers) for layers in range(4)]
    assert np.abs(steps[0] - steps[0][:1]).max() < 1e-4, "told nothing, all are alike"
    assert (steps[3] == run.reconstruct(split)).all()
    assert len({step.tobytes() for step in steps}) == 4
    assert len(x) == 5
    with pytest.raises(InputError, match=r"^layers: is 4"):
        run.reconstruct(split, 4)


def test_a_picture_comes_out_layer_by_layer_where_q_runs_upwards(tmp_path):
    model = {"layers": [{"part": "Upward", "latents": 3}] * 2}
    run = taut.train("digits", out=tmp_path / "run", model=model, training={"steps": 60})
    split = run.test_split().take(torch.arange(5))
    steps = [run.reconstruct(split, layers) for layers in range(3)]
    assert np.abs(steps[0] - steps[0][:1]).max() < 1e-4, "told nothing, all are alike"
    np.testing.assert_allclose(steps[2], run.reconstruct(split), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(steps[1], run.decode(run.complete(run.encode(split), 1)), rtol=1e-4, atol=1e-4)
    assert len({step.tobytes() for step in steps}) == 3
    assert main(["reconstruct", str(run.folder), "--progressive"]) == 0


def test_estimators_that_stop_q_stop_what_it_takes_of_the_prior(run):
    """With STL the weights of a layer's own p get no gradient by way of log q, though q is placed by p."""
    batch = Batch(run.test_split().x[:4].float())
    vae = copy.deepcopy(run.vae).requires_grad_(True)
    trace = vae(batch, pick=STL().pick)
    step = trace.steps[1]
    weights = [w for w in vae.layers[1].p.parameters() if w.requires_grad]
    found = torch.autograd.grad(step.log_q.sum(), weights, allow_unused=True, retain_graph=True)
    z = torch.autograd.grad(step.z.sum(), weights, allow_unused=True, retain_graph=True)
    assert any(g is not None and g.any() for g in z)
    # all that reaches p's weights from log q comes through z
    (by_z,) = torch.autograd.grad(step.log_q.sum(), step.z, retain_graph=True)
    through = torch.autograd.grad(step.z, weights, by_z, allow_unused=True)
    for a, b in zip(found, through, strict=True):
        torch.testing.assert_close(a, b)


def test_centre_and_draw_walk_the_same_layers(run):
    batch = Batch(run.test_split().x[:4].float())
    assert [s.z.shape for s in run.vae(batch, pick=centre).steps] == [
        s.z.shape for s in run.vae(batch, pick=draw).steps
    ]


def chain() -> tuple[VAE, torch.distributions.Distribution]:
    """z₁ ~ N(0, 1), z₂ ~ N(z₁, s²), x ~ N(z₂, t²) of two numbers each, with q(z₂|x) q(z₁|z₂) the exact posterior."""
    s, t = 0.7, 0.5
    one = Statistics(torch.zeros(2), torch.ones(2))
    spec = Model(layers=(Upward(latents=2, hidden=()),) * 2, network=MLP(()), likelihood=Gaussian("constant", t))
    vae = spec.build((2,), Support("real"), one).double()
    eye = torch.eye(2, dtype=torch.float64)

    def put(weight, value):
        with torch.no_grad():
            weight.copy_(value)

    def tell(layer, gain, scale):
        put(layer.weight, torch.cat([gain * eye, 0 * eye]))
        put(layer.bias, torch.cat([0 * eye[0], (0 * eye[0] + 8 * math.atanh(math.log(scale) / 8))]))

    top, low = vae.layers
    total = 1 + s**2
    tell(
        low.told, total / (total + t**2), math.sqrt(total * t**2 / (total + t**2))
    )  # z₂ is N(0, 1 + s²), seen with noise t
    tell(top.up[-1], 1 / total, math.sqrt(s**2 / total))

    class Chained(nn.Module):
        def forward(self, h):
            return DiagonalNormal(h, torch.full_like(h, math.log(s)))

    low.p = Chained()
    put(vae.decoder.body[-1][0].weight, eye)
    put(vae.decoder.head.offset, torch.zeros(2))
    scale = torch.tensor(total + t**2, dtype=torch.float64).sqrt()
    return vae, torch.distributions.Normal(0 * scale, scale)


def test_inference_from_the_data_up_is_exact_where_it_can_be():
    vae, truth = chain()
    batch = Batch(some(6, 2, seed=3))
    exact = truth.log_prob(batch.x).sum(1)
    torch.manual_seed(0)
    trace = vae(batch, 5)
    torch.testing.assert_close(trace.log_weight(batch), exact.expand(5, 6), atol=1e-8, rtol=0)
    assert [step.kl.kind for step in trace.steps] == ["closed", "sampled"]
    # the ELBO by divergences has the same mean
    elbo = (-vae(batch, 40_000).distortion(batch) - vae(batch, 40_000).rate()).mean(0)
    torch.testing.assert_close(elbo, exact, atol=0.06, rtol=0)
    assert vae.generate(3, pick_prior()).likelihood.mean.shape == (3, 2)


def test_what_upward_layers_cannot_do_is_refused():
    statistics = Statistics(torch.zeros(2), torch.ones(2))

    def build(*layers, **options):
        return Model(layers=layers, network=MLP((4,)), **options).build((2,), Support("real"), statistics)

    with pytest.raises(InputError, match=r"model.layers: are Upward, Plain: of some q is told from below"):
        build(Upward(latents=2), Plain(latents=2))
    with pytest.raises(InputError, match=r"are Upward, whose q knows no prior, and PrecisionNormal"):
        build(Upward(latents=2), posterior=PrecisionNormal())
    with pytest.raises(InputError, match=r"below whose top no divergence is in closed form, and RelaxedBernoulli"):
        build(Upward(latents=2), Upward(latents=2), posterior=taut.posteriors.RelaxedBernoulli())
    with pytest.raises(
        InputError,
        match=r"DReG cannot serve the DiagonalNormal posterior of an Upward layer; DiagonalNormal takes Path",
    ):
        IWAE(estimator=(DReG(),)).resolved(
            Model(layers=(Upward(latents=2),), network=MLP((4,))).resolved((2,), Support("real")).layers
        )
    vae = build(Upward(latents=2), Upward(latents=3))
    with pytest.raises(InputError, match=r"--gaps: finds what each layer is told"):
        require_local(vae, "--gaps")
    with pytest.raises(InputError, match=r"layers: are each told by the one below"):
        vae.descend(vae.root(2), [vae.evidence(Batch(torch.zeros(2, 2)))[0], None], draw)


def test_coordinates_of_layers_that_are_picked_from_the_data_up():
    """AIS and BDMC walk layers top first, in whichever order inference picks them."""
    vae = Model(layers=(Upward(latents=2), Upward(latents=3)), network=MLP((4,)), likelihood=Gaussian()).build(
        (2,), Support("real"), Statistics(torch.zeros(2), torch.ones(2))
    )
    batch = Batch(torch.ones(4, 2))
    coordinates = Coordinates.of(vae, batch, 1, "posterior")
    with torch.no_grad():
        values = [step.z for step in vae(batch).steps]
        trace, _ = coordinates.trace(coordinates.of_values(values))
    for step, value in zip(trace.steps, values, strict=True):
        torch.testing.assert_close(step.z, value)


def test_a_q_on_maps_that_follows_the_prior_can_be_sought_and_bent():
    """--gaps: each example's own evidence, and a flow beyond it, in every layer of a hierarchy."""
    shape = (1, 6, 5)
    spec = Model(layers=(Spatial(latents=1), Plain(latents=2)), network=Pyramid((4, 4), 1), posterior=RelativeNormal())
    vae = spec.build(shape, Support("binary", 2), Statistics(torch.zeros(shape), torch.ones(shape)))
    batch = Batch(torch.ones(2, *shape))
    with still(vae):
        plain = Local(vae, vae.evidence(batch))
        bent = Bending(vae, plain)
        torch.manual_seed(0)
        one = plain(samples=3)
        torch.manual_seed(0)
        torch.testing.assert_close(bent(samples=3).steps[0].z, one.steps[0].z)
        assert bent(samples=3, pick=STL().pick).log_weight(batch).shape == (3, 2)


def test_a_unit_is_active_by_what_its_q_adds_to_the_prior():
    """A lower prior that moves with z₁ and a q that only follows it: no unit of the lower layer has learned anything of x."""
    torch.manual_seed(0)
    layers = (Plain(latents=2, posterior=RelativeNormal()), Plain(latents=3, posterior=RelativeNormal()))
    statistics = Statistics(torch.zeros(4), torch.ones(4))
    vae = Model(likelihood=Gaussian(), network=MLP((8,)), layers=layers).build((4,), Support("real"), statistics)
    top, low = vae.layers
    with torch.no_grad():
        top.evidence.weight.normal_()
        low.p.network[-1].weight.normal_()
        for dead in (low.evidence, low.above[-1]):
            dead.weight.zero_()
            dead.bias.zero_()
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    data = open_array(x)
    subject = Subject(vae, data.train, data.reading)
    found = bounds(subject, 5)
    trace = vae(subject.batch(subject.first(None)))
    assert trace.steps[1].q.mean.var(0).min() > 0.1, "q's mean moves"
    assert found.kl[1].abs().max() < 1e-6, "and says nothing"
    assert active_units(vae, found.variance) == [True, True, False, False, False]
    assert examine(vae, Feed(data.train, data.reading))["active_units"] == 2
    with torch.no_grad():
        low.evidence.weight[0].normal_()  # the first element of Δμ
    assert active_units(vae, bounds(subject, 5).variance) == [True, True, True, False, False]


def test_a_flat_unit_is_active_in_units_of_its_prior():
    """Under N(0, I) the measure is the variance of q's mean; a prior that is ten times as wide makes it a hundredth."""
    torch.manual_seed(0)
    mean = 0.5 * torch.randn(200, 1)
    q, zero = DiagonalNormal(mean, torch.zeros(200, 1)), torch.zeros(200, 1)
    layer = SimpleNamespace(q=SimpleNamespace(scale=1.0))
    torch.testing.assert_close(shift(layer, Step(q, DiagonalNormal(zero, zero), mean)), mean)
    wide = DiagonalNormal(zero + 3, zero + math.log(10))
    torch.testing.assert_close(shift(layer, Step(q, wide, mean)), (mean - 3) / 10)
    flow = taut.priors.RealNVP().build((2,), 0)(torch.zeros(200, 0))  # which knows no moments
    two = DiagonalNormal(mean.expand(200, 2), torch.zeros(200, 2))
    torch.testing.assert_close(shift(layer, Step(two, flow, two.mean)), two.mean)


def test_more_groups_than_fit_are_refused_before_anything_is_built():
    with pytest.raises(InputError, match=r"^groups: is 1,000,000, .*; give at most 512$"):
        Spatial(groups=1_000_000)
