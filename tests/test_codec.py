"""The codec: conditionals against densities, the coder against entropy, whole models there and back, and damaged files."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import taut
from taut import distributions as d
from taut import likelihoods, posteriors, priors
from taut.cli import main
from taut.codec import compress, compressed, decompress, decompressed, require_codable
from taut.codec.coder import Coder
from taut.codec.file import Header, pack, unpack
from taut.codec.frames import Grid
from taut.codec.latents import latents
from taut.data import Data, Split, Statistics, Support, open_array
from taut.distributions import Continuum, Course, draw_levels
from taut.distributions.normal import normal_cdf
from taut.errors import InputError
from taut.layers import Plain, fits
from taut.likelihoods import Likelihood
from taut.model import Model, pick_prior
from taut.networks import MLP
from taut.posteriors import Posterior
from taut.priors import Prior

torch.set_num_threads(1)

N = 3


def randn(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# --- courses


def masked(size: int, outputs: int):
    """A function of z (..., size) whose row d depends on z_<d alone, (..., size, outputs)."""
    weight = randn(size, outputs, size) * torch.ones(size, size).tril(-1).unsqueeze(1)
    bias = randn(size, outputs)
    return lambda z: torch.einsum("dok,...k->...do", weight, z.double()).tanh() + bias


def autoregressive() -> d.Autoregressive:
    raw = masked(4, 6)

    def conditionals(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_pi, mu, log_scale = raw(z).unflatten(-1, (3, 2)).unbind(-2)
        return log_pi.log_softmax(-1), mu, log_scale

    return d.Autoregressive(conditionals, N, (4,), randn(1))


def reals() -> dict[str, Course]:
    mean, log_scale = randn(N, 4), randn(N, 4, scale=0.5)
    return {
        "DiagonalNormal": d.DiagonalNormal(randn(N, 2, 2), randn(N, 2, 2)),
        "Laplace": d.Laplace(mean, log_scale),
        "Logistic": d.Logistic(mean, log_scale),
        "Cauchy": d.Cauchy(mean, log_scale),
        "TruncatedNormal": d.TruncatedNormal(randn(N, 4, scale=3.0), randn(N, 4), 2.0),
        "AR1": d.AR1(0.7, torch.zeros(N, 4, dtype=torch.float64), 0.3),
        "AR1 of series": d.AR1(-0.5, torch.zeros(N, 3, 2, dtype=torch.float64)),
        "Autoregressive": autoregressive(),
        "FullNormal": d.FullNormal(mean, log_scale, randn(N, 4, 4).tril(-1)),
        "LowRankNormal": d.LowRankNormal(mean, log_scale, randn(N, 4, 2)),
    }


@pytest.mark.parametrize("name", reals())
def test_conditionals_of_real_elements_are_those_of_the_density(name: str) -> None:
    """The derivatives of the distribution functions multiply to the density, and the functions run from 0 to 1."""
    p = reals()[name]
    z = p.sample()
    terms = []

    def choose(conditional: Continuum, position: slice) -> Tensor:
        place = z.flatten(1)[:, position].clone().requires_grad_(True)
        (density,) = torch.autograd.grad(conditional.cdf(place).sum(), place)
        terms.append(density.log())
        far = torch.full_like(place, torch.inf)
        ends = conditional.cdf(torch.stack([-far, far])).detach()
        assert torch.allclose(ends, torch.stack([torch.zeros_like(far), torch.ones_like(far)]), atol=1e-15)
        around = conditional.location + conditional.width * torch.linspace(-3, 3, 7, dtype=torch.float64).view(-1, 1, 1)
        assert (conditional.cdf(around).diff(dim=0) >= 0).all()
        return place.detach()

    assert torch.equal(p.walk(choose), z)
    assert torch.allclose(torch.cat(terms, 1).sum(1), p.log_prob(z), atol=1e-9)


@pytest.mark.parametrize("name", [name for name in reals() if name not in ("Cauchy", "FullNormal", "LowRankNormal")])
def test_location_and_width_are_mean_and_deviation(name: str) -> None:
    """By the integral of the distribution function, ∫ z dF."""
    p, whole = reals()[name], []

    def choose(conditional: Continuum, position: slice) -> Tensor:
        places = torch.linspace(-60, 60, 240001, dtype=torch.float64).view(-1, 1, 1)
        mass, middle = conditional.cdf(places.expand(-1, *conditional.location.shape)).diff(dim=0), places[1:] - 0.00025
        mean = (mass * middle).sum(0)
        deviation = (mass * (middle - mean).square()).sum(0).sqrt()
        factor = math.sqrt(p.unit_variance) if isinstance(p, d.Laplace | d.Logistic) else 1
        whole.append(torch.allclose(mean, conditional.location, atol=1e-4))
        whole.append(torch.allclose(deviation, factor * conditional.width, atol=2e-4, rtol=1e-3))
        return conditional.location

    p.walk(choose)
    assert all(whole)


def levels() -> dict[str, Course]:
    raw = masked(6, 2)

    def conditionals(z: Tensor) -> Tensor:
        return raw(z.flatten(-2)).flatten(-2).unflatten(-1, (3, 4))[..., :2].log_softmax(-1)

    ordered = d.AutoregressiveOneHot(conditionals, N, (3, 2), randn(1))
    codebook = randn(2, 5)
    return {
        "OneHot": d.OneHot(randn(N, 3, 4)),
        "Bits": d.Bits(randn(N, 2, 3)),
        "AutoregressiveOneHot": ordered,
        "Embedded": d.Embedded(d.OneHot(randn(N, 3, 2)), codebook),
        "Embedded in order": d.Embedded(ordered, codebook),
        "Factorised": d.Factorised(torch.distributions.Bernoulli(logits=randn(N, 2, 3))),
    }


@pytest.mark.parametrize("name", levels())
def test_conditionals_of_levels_are_those_of_the_density(name: str) -> None:
    """Over all values of an event the products of conditionals are its probabilities, which sum to one."""
    p = levels()[name]
    sizes: list[int] = []
    p.walk(
        lambda conditional, position: (
            sizes.extend([conditional.shape[-1]] * conditional.shape[1]) or draw_levels(conditional)
        )
    )
    total = 0.0
    for word in itertools.product(*(range(size) for size in sizes)):
        elements = torch.tensor(word).expand(N, -1)
        terms = []

        def choose(conditional: Tensor, position: slice, elements: Tensor = elements, terms: list = terms) -> Tensor:
            terms.append(conditional.gather(-1, elements[:, position].unsqueeze(-1)).squeeze(-1))
            return elements[:, position]

        value = p.walk(choose).double()
        assert torch.equal(p.spell(value).long(), elements)
        assert torch.allclose(torch.cat(terms, 1).sum(1), p.log_prob(value), atol=1e-12)
        total = total + p.log_prob(value).exp()
    assert torch.allclose(total, torch.ones(N, dtype=torch.float64))


def test_a_walk_that_draws_is_a_sample() -> None:
    p = levels()["AutoregressiveOneHot"]
    p._batch_shape = torch.Size([20000])
    drawn = p.walk(draw_levels).argmax(-1) @ torch.tensor([4, 2, 1])
    found = drawn.bincount(minlength=8) / 20000
    values = torch.tensor(list(itertools.product(range(2), repeat=3)))
    expected = p.log_prob(p.read(values)).exp()
    assert ((found - expected).abs() < 4 * (expected / 20000).sqrt()).all()


@pytest.mark.parametrize("index", [0, 2])
def test_rows_of_a_density_are_its_densities(index: int) -> None:
    for p in (*reals().values(), *levels().values()):
        if hasattr(p, "rows"):
            z = p.sample()
            one = p.rows(torch.tensor([index]))
            assert torch.allclose(one.log_prob(z[index : index + 1]), p.log_prob(z)[index : index + 1])


def parameters(*shape: int) -> Tensor:
    return torch.cat([randn(*shape, scale=2.0).flatten(), torch.tensor([-30.0, 30.0])])


@pytest.mark.parametrize("count", [2, 17, 256])
def test_log_probabilities_of_all_levels_at_once(count: int) -> None:
    one, two = parameters(40), parameters(40).flip(0)
    place, scale = 0.3 * count * (1 + one), (0.1 * two).clamp(-2, 2)
    cases = {
        "Binomial": d.Binomial(count - 1, one),
        "BetaBinomial": d.BetaBinomial(count - 1, one, two),
        "DiscretisedLogistic": d.DiscretisedLogistic(place, scale, count),
        "DiscretisedLogisticMixture": d.DiscretisedLogisticMixture(
            randn(42, 3), torch.stack([place, place - 3, 0 * place], -1), scale.unsqueeze(-1).expand(-1, 3), count
        ),
    }
    values = torch.arange(count, dtype=torch.float64).view(-1, 1)
    for name, p in cases.items():
        expected, found = p.log_prob(values).T, p.level_log_probs()
        assert torch.allclose(found.exp(), expected.exp(), atol=1e-12), name
        likely = expected > -30
        # a difference of a distribution function is as exact as the last digit of one
        tolerance = 1e-2 if "Logistic" in name else 1e-9
        assert torch.allclose(found[likely], expected[likely], atol=tolerance), name
        assert torch.allclose(found.logsumexp(-1), torch.zeros(42, dtype=torch.float64), atol=1e-9), name


# --- the coder


def test_what_is_pushed_is_popped_and_costs_its_entropy() -> None:
    weights = torch.rand(5000, 7).pow(3)
    symbols = draw_levels(weights.log())
    coder = Coder()
    coder.push(symbols, weights)
    share = weights / weights.sum(1, keepdim=True)
    bits = -share.gather(1, symbols.unsqueeze(1)).log2().sum().item()
    assert bits <= coder.bits <= bits + 64 + 0.001 * bits
    assert torch.equal(Coder(coder.words()).pop(weights), symbols)


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_bits_that_draws_were_made_by_come_back(size: int) -> None:
    """Popping before anything was pushed borrows; pushing the draws back leaves what was lent, to the last bit."""
    weights = torch.rand(size, 5)
    coder = Coder(random=np.random.default_rng(0))
    first, second = coder.pop(weights), coder.pop(weights.flip(0))
    expected = 2 * -(weights / weights.sum(1, keepdim=True)).log2().mul(weights / weights.sum(1, keepdim=True)).sum()
    assert coder.lent <= 1.2 * expected + 4 * 64
    coder.push(second, weights.flip(0))
    coder.push(first, weights)
    assert coder.bits == coder.lent
    again = Coder(coder.words())
    assert torch.equal(again.pop(weights), first) and torch.equal(again.pop(weights.flip(0)), second)


def test_borrowing_leaves_what_was_pushed_before() -> None:
    weights = torch.rand(200, 5)
    for pushed in range(8):
        coder = Coder(random=np.random.default_rng(pushed))
        coder.push(torch.zeros(pushed, dtype=torch.long), weights[:pushed])
        drawn = coder.pop(weights)
        coder.push(drawn, weights)
        back = Coder(coder.words())
        back.pop(weights)
        back.push(drawn, weights)
        assert torch.equal(back.pop(weights[:pushed]), torch.zeros(pushed, dtype=torch.long))


def test_draws_from_the_stack_follow_the_weights() -> None:
    weights = torch.tensor([0.05, 0.6, 0.3, 0.05])
    drawn = Coder(random=np.random.default_rng(1)).pop(weights.expand(20000, 4))
    assert ((drawn.bincount() / 20000 - weights).abs() < 4 * (weights / 20000).sqrt()).all()


def test_probabilities_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="no numbers"):
        Coder().push(torch.tensor([0]), torch.tensor([[0.5, torch.nan]]))


def test_a_number_drawn_in_bins_follows_its_density() -> None:
    q = d.DiagonalNormal(torch.full((20000, 1), 0.7), torch.full((20000, 1), -2.0))
    conditional = q.conditional(q.blank(), slice(None))
    grid = Grid(torch.zeros(20000, 1), torch.ones(20000, 1))
    coder = Coder(random=np.random.default_rng(0))
    symbols = grid.pop(coder, conditional)
    z, sigma = grid.elements(symbols).double(), math.exp(-2)
    assert abs(z.mean() - 0.7) < 4 * sigma / math.sqrt(20000) and abs(z.std() / sigma - 1) < 0.02
    ordered = z.flatten().sort().values
    distance = (normal_cdf(ordered, 0.7, sigma) - (torch.arange(20000) + 0.5) / 20000).abs().max()
    assert distance < 1.95 / math.sqrt(20000)  # Kolmogorov and Smirnov, at 0.1%
    grid.push(coder, conditional, symbols)
    assert coder.bits == coder.lent


def test_a_number_far_outside_is_still_coded() -> None:
    q = d.DiagonalNormal(torch.tensor([[50.0, -3e4]]), torch.tensor([[-5.0, -30.0]]))
    p = d.DiagonalNormal(torch.zeros(1, 2), torch.tensor([[0.0, -60.0]]))
    coder = Coder(random=np.random.default_rng(0))
    word = latents(p).pop_by(coder, q)
    latents(p).push(coder, word)
    assert torch.equal(latents(p).pop(Coder(coder.words())).symbols, word.symbols)


@pytest.mark.parametrize("kind", ["normals", "categories"])
def test_a_mixture_costs_what_its_density_says(kind: str) -> None:
    """Its component's bits come back: −log p(z), not −log w_k p_k(z)."""
    rows = 2000
    if kind == "normals":
        parts = d.DiagonalNormal(torch.randn(30, 3), torch.full((30, 3), -0.5))
    else:
        parts = d.OneHot(torch.randn(30, 4, 5))
    p = d.Mixture(parts, torch.randn(30), rows)
    q = parts.rows(torch.randint(30, (rows,)))
    layer, coder = latents(p), Coder(random=np.random.default_rng(0))
    word = layer.pop_by(coder, q)
    before = coder.bits - coder.lent
    layer.push(coder, word)
    log_p = p.log_prob(word.z).double()
    if kind == "normals":  # of a bin, its width by the logistic density
        (stride,) = word.steps
        u = ((word.z - stride.frame.location) / stride.frame.width).sigmoid()
        log_p = log_p + (stride.frame.width / (64**2 * u * (1 - u))).log().sum(1).double()
    bits = -log_p.sum().item() / math.log(2)
    assert abs(coder.bits - coder.lent - before - bits) < 0.002 * bits + 64
    popped = latents(p).pop(back := Coder(coder.words()))
    assert torch.equal(popped.symbols, word.symbols)
    latents(p).push_by(back, q, popped)
    assert back.bits == coder.lent


# --- models, there and back

SHAPE = (1, 4, 4)
CODABLE = [name for name, member in Likelihood.members.items() if member.codable]
SMALL = {
    "Vamp": {"components": 20},
    "Mixture": {"components": 10},
    "Autoregressive": {"components": 2, "hidden": (16,)},
}


def part(family: type, name: str):
    return family.members[name](**SMALL.get(name, {}))


def built(model: Model, support: Support, shaken: float = 3.0):
    """A model whose posteriors are not its priors."""
    top = (support.levels or 9) - 1
    statistics = Statistics(torch.full(SHAPE, 0.4 * top), torch.full(SHAPE, 0.4 * top + 0.1))
    vae = model.build(SHAPE, support, statistics).eval().requires_grad_(False)
    for layer in vae.layers:
        layer.evidence.weight.mul_(shaken)
        for weight in layer.p.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return vae


def there_and_back(model: Model, support: Support, n: int, close: float | None = None) -> None:
    vae, traces = built(model, support), []
    with torch.no_grad():
        x = vae.generate(n, pick_prior()).likelihood.sample().to(torch.uint8)
    forward = vae.forward

    def watched(batch, pick):
        traces.append((forward(batch, pick=pick), batch))
        return traces[-1][0]

    vae.forward = watched
    message = compress(vae, x, support.levels)
    assert torch.equal(decompress(vae, message.words, message.plan), x.to(torch.float32))
    if close is not None:
        bits = -sum(trace.log_weight(batch).double().sum().item() for trace, batch in traces) / math.log(2)
        assert abs(32 * len(message.words) - message.lent - bits) < close * abs(bits) + 64


COUPLES = sorted(
    (p, q)
    for p in Prior.members
    for q in Posterior.members
    if Prior.members[p].codable and Prior.members[p].alone and Posterior.members[q].codable
    if fits(part(Prior, p), part(Posterior, q))
)


@pytest.mark.parametrize(("number", "couple"), list(enumerate(COUPLES)), ids=[f"{p}-{q}" for p, q in COUPLES])
def test_every_codable_prior_and_posterior(number: int, couple: tuple[str, str]) -> None:
    likelihood = CODABLE[number % len(CODABLE)]
    support = Support("binary") if likelihood == "Bernoulli" else Support("integers", 5)
    model = Model(4, part(Prior, couple[0]), part(Posterior, couple[1]), part(Likelihood, likelihood), MLP((16,)))
    there_and_back(model, support, 12)


@pytest.mark.parametrize(
    "layers",
    [
        (Plain(4, priors.StandardNormal()), Plain(3), Plain(2)),
        (Plain(4, priors.Vamp(20)), Plain(6, priors.Autoregressive(2, (16,)), posteriors.FullNormal())),
        (Plain(4, priors.AR1(0.3)), Plain(6, priors.Laplace(), posteriors.Laplace())),
        (
            Plain(4, posterior=posteriors.Bernoulli()),
            Plain(3, priors.Categorical(), posteriors.Categorical(5)),
            Plain(5),
        ),
        (Plain(4, priors.AutoregressiveCategorical((16,)), posteriors.VectorQuantised()),),
        (),
    ],
    ids=["normals", "correlated", "series", "mixed", "codes", "none"],
)
def test_layers_in_a_row_cost_their_bound(layers: tuple[Plain, ...]) -> None:
    model = Model(likelihood=likelihoods.Bernoulli(), network=MLP((16,)), layers=layers)
    there_and_back(model, Support("binary"), 400, close=0.005)


@pytest.mark.parametrize("name", [name for name in CODABLE if name != "Bernoulli"])
def test_every_likelihood_costs_its_bound(name: str) -> None:
    model = Model(3, likelihood=Likelihood.members[name](), network=MLP((16,)))
    there_and_back(model, Support("integers", 256), 200, close=0.005)


def test_flags_of_codable_parts_are_true() -> None:
    """Whatever is flagged meets a model above; whatever is not is refused, and what could stand in its place is named."""
    met = {name for couple in COUPLES for name in couple} | {"ConditionalNormal"}
    for family in (Prior, Posterior):
        assert {name for name, member in family.members.items() if member.codable} <= met
    normal = Model(2, likelihood=likelihoods.Bernoulli()).resolved(SHAPE, Support("binary"))
    require_codable(normal, Support("binary"), 16)
    for name, member in Prior.members.items():
        if not member.codable:
            with pytest.raises(InputError, match=f"model.prior: is {name}, which cannot be coded.*StandardNormal"):
                require_codable(_with(normal, prior=member()), Support("binary"), 16)
    for name, member in Posterior.members.items():
        if not member.codable:
            with pytest.raises(InputError, match=f"model.posterior: is {name}, which cannot be coded.*DiagonalNormal"):
                require_codable(_with(normal, posterior=member()), Support("binary"), 16)


def _with(model: Model, **parts) -> Model:
    from dataclasses import replace

    return replace(model, layers=(replace(model.layers[0], **parts),))


@pytest.mark.parametrize(
    ("support", "said"),
    [
        (Support("counts"), "Poisson, which cannot be coded: counts from 0 have no greatest value; no likelihood"),
        (
            Support("integers", 17),
            "Gaussian, which cannot be coded: real numbers have no finite code; those that can are Be",
        ),
        (
            Support("real"),
            "Gaussian, which cannot be coded: real numbers have no finite code; no likelihood of such data",
        ),
    ],
)
def test_likelihoods_without_finite_codes_are_refused(support: Support, said: str) -> None:
    likelihood = likelihoods.Poisson() if support.kind == "counts" else likelihoods.Gaussian()
    with pytest.raises(InputError, match=said):
        require_codable(Model(2, likelihood=likelihood).resolved(SHAPE, support), support, 16)


def test_so_many_levels_that_memory_would_not_hold_them_are_refused() -> None:
    support = Support("integers", 2**16)
    model = Model(2, likelihood=likelihoods.DiscretisedLogistic()).resolved((3, 64, 64), support)
    with pytest.raises(InputError, match="too many probabilities"):
        require_codable(model, support, 3 * 64 * 64)


# --- files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("codec")
    options = "--training.steps 300 --training.batch 64 --model.network MLP --model.network.hidden 32 --model.latents 3"
    options += " --model.likelihood Categorical --quiet"
    assert main(["train", "digits", "--out", str(where / "run"), *options.split()]) == 0
    assert main(["compress", str(where / "run"), "-o", str(where / "file"), "--quiet"]) == 0
    return where


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    capsys.readouterr()
    assert main([str(arg) for arg in argv]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("taut: ")
    return error


def test_another_process_decodes_every_byte(folder: Path, tmp_path: Path) -> None:
    run = taut.load(folder / "run")
    out = tmp_path / "x.npy"
    argv = [sys.executable, "-m", "taut.cli", "decompress", str(folder / "run"), str(folder / "file"), "-o", str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    x = run.reading.restore(run.test_split().x)
    found = np.load(out)
    assert found.dtype == x.dtype and found.tobytes() == x.tobytes()


def test_compression_is_said_in_numbers(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["compress", str(folder / "run"), "digits", "-o", str(tmp_path / "file"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["images", "bytes", "bits_per_dim", "elbo_bits_per_dim", "ratio", "initial_bits"]
    size = (tmp_path / "file").stat().st_size
    assert found["images"] == 1797 and found["bytes"] == size
    assert found["bits_per_dim"] == pytest.approx(8 * size / (1797 * 64))
    assert found["ratio"] == pytest.approx(1797 * 64 * 5 / (8 * size))  # 17 levels take five bits
    content = (tmp_path / "file").read_bytes()
    header = content.index(b"}", content.index(b'{"model"')) + 1  # a checksum before it may hold any byte
    bits = 8 * (size - header) - found["initial_bits"]
    assert bits / (1797 * 64) == pytest.approx(found["elbo_bits_per_dim"], rel=0.005)


def test_a_thousand_flipped_bits_are_all_found(folder: Path) -> None:
    run = taut.load(folder / "run")
    content, random = (folder / "file").read_bytes(), np.random.default_rng(0)
    places = {*range(8 * 300), *random.integers(8 * len(content), size=1000).tolist()}
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        with pytest.raises(InputError, match=r"file: is (damaged|cut short|no file)"):
            run.decompress(bytes(flipped), "file")


def test_a_file_that_was_cut_short_or_grew_is_refused(folder: Path) -> None:
    content = (folder / "file").read_bytes()
    for size in range(0, len(content), 7):
        with pytest.raises(InputError, match=r"file: is (cut short|no file)"):
            unpack(content[:size], "file")
    with pytest.raises(InputError, match="damaged"):
        unpack(content + b"\0", "file")


def test_nothing_is_written_where_a_file_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = folder / "run", tmp_path / "x.npy"
    (tmp_path / "half").write_bytes((folder / "file").read_bytes()[:500])
    assert "half: is cut short: 500 of" in refused(capsys, "decompress", run, tmp_path / "half", "-o", out)
    assert "is no file" in refused(capsys, "decompress", run, tmp_path / "nowhere", "-o", out)
    assert "no file that `taut compress` made" in refused(capsys, "decompress", run, run / "config.yaml", "-o", out)
    assert "end it in .npy" in refused(capsys, "decompress", run, folder / "file", "-o", tmp_path / "x.png")
    assert "exists" in refused(capsys, "compress", run, "-o", folder / "file")
    assert not out.exists()


def test_what_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = taut.load(folder / "run")
    monkeypatch.setitem(sys.modules, "constriction", None)
    for work in (lambda: run.compress(run.test_split()), lambda: run.decompress((folder / "file").read_bytes())):
        with pytest.raises(InputError, match=r"needs the package constriction; pip install 'taut\[codec\]'"):
            work()


def test_another_model_is_refused(folder: Path) -> None:
    run = taut.load(folder / "run")
    run.vae.shift += 1e-3
    content = (folder / "file").read_bytes()
    header, _ = unpack(content, "file")
    assert tuple(header.shape) == (8, 8)
    held = f"holds {header.count:,} examples of shape 8×8 compressed by another model"
    with pytest.raises(InputError, match=held):
        run.decompress(content, "file")


def test_data_that_come_out_otherwise_are_refused_and_the_place_is_named(folder: Path) -> None:
    run = taut.load(folder / "run")
    header, words = unpack((folder / "file").read_bytes(), "file")
    words[len(words) // 2] ^= 1
    with pytest.raises(InputError, match="decodes to other data than were compressed; compress it again"):
        run.decompress(pack(header, words), "file")
    elsewhere = Header(**{**vars(header), "torch": "1.0", "cpu": "NEON"})
    with pytest.raises(
        InputError, match=r"made by torch 1.0 with .* on NEON, and this is torch .*; decode it where it was made"
    ):
        run.decompress(pack(elsewhere, words), "file")
    assert len(run.decompress(pack(elsewhere, unpack((folder / "file").read_bytes(), "file")[1]))) == header.count


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"count": 0},
        {"count": 1.5},
        {"share": "x"},
        {"more": 1},
        {"threads": -1},
        {"shape": 8},
        {"shape": [8, 0]},
    ],
)
def test_a_header_of_another_format_is_refused(folder: Path, change: dict) -> None:
    header, words = unpack((folder / "file").read_bytes(), "file")
    other = Header.__new__(Header)
    other.__dict__.update({**vars(header), **change})
    content = pack_any(other, {**vars(header), **change}, words)
    with pytest.raises(InputError, match="of another format"):
        unpack(content, "file")


def pack_any(header: Header, said: dict, words: np.ndarray) -> bytes:
    from taut.codec import file

    body = json.dumps(said).encode()
    rest = body + words.astype("<u4").tobytes()
    size = file.START.size + len(rest)
    return file.START.pack(file.MAGIC, size, file._digest(size, len(body), rest), len(body)) + rest


def test_data_that_the_model_is_not_of_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((5, 9, 9)))
    np.save(tmp_path / "high.npy", np.full((5, 8, 8), 17.0))
    run, out = folder / "run", tmp_path / "out"
    assert "examples of shape 9×9" in refused(capsys, "compress", run, tmp_path / "wide.npy", "-o", out)
    assert "the value 17" in refused(capsys, "compress", run, tmp_path / "high.npy", "-o", out)
    assert not out.exists()


def test_grey_values_that_are_drawn_anew_are_drawn_once() -> None:
    grey = (np.random.default_rng(0).random((60, 6, 6)) * 255).astype(np.uint8)
    options = {"data": {"binarize": "dynamic"}, "model": {"latents": 2, "network": "MLP"}, "training": {"steps": 5}}
    run = taut.train(grey, **options)
    archive = run.compress(grey)
    found = run.decompress(archive.content)
    static = open_array(grey, spec=Data("array", binarize="static")).reading.apply(grey)
    assert found.dtype == np.uint8 and (found == static.numpy()[:, 0]).all()
    assert (run.decompress(run.compress(grey, seed=1).content) != found).any()


def test_threads_are_put_back_and_an_archive_needs_no_run() -> None:
    model = Model(2, likelihood=likelihoods.Bernoulli(), network=MLP((16,)))
    vae, x = built(model, Support("binary")), torch.rand(9, *SHAPE).round().to(torch.uint8)
    reading = open_array(x[:, 0].numpy()).reading
    threads = torch.get_num_threads()
    archive = compressed(vae, reading, Split(x))
    header, words = unpack(archive.content, "FILE")
    many = pack(Header(**{**vars(header), "threads": 2}), words)
    assert (decompressed(vae, reading, many) == x[:, 0].numpy()).all()
    assert torch.get_num_threads() == threads
