"""The autoregressive likelihood against exact truth: each element depends on those before it and on all of them in reach, the
probabilities of all images sum to one, one element at a time says what one pass says, and draws are as frequent as they
are probable."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import taut
from taut.cli import main
from taut.data import Batch, Statistics, Support
from taut.distributions import Chain, central
from taut.errors import InputError
from taut.evaluation import Subject, bounds
from taut.likelihoods import Bernoulli, Binomial, Categorical, DiscretisedLogisticMixture, Gaussian, PixelCNN
from taut.model import Model, draw
from taut.networks import MLP, GatedPixels, WithinPixel

torch.set_num_threads(1)

BINARY = Support("binary", 2)


def shaken(module: nn.Module) -> nn.Module:
    """In float64, and far from its start."""
    module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.6 * torch.randn_like(p))
    return module


def likelihood(shape=(1, 2, 3), support=BINARY, rows=1, seed=0, **options) -> Chain:
    torch.manual_seed(seed)
    top = support.levels - 1
    statistics = Statistics(torch.full(shape, 0.4 * top), torch.full(shape, 0.4 * top))
    spec = PixelCNN(**{"channels": 4, "kernels": (3, 3), "maps": 2, **options})
    head = shaken(spec.build(shape, support, statistics))
    return head(torch.randn(rows, head.outputs, *shape, dtype=torch.float64))


def everything(shape: tuple[int, ...], levels: int = 2) -> torch.Tensor:
    """All images of a shape."""
    size = torch.Size(shape).numel()
    return torch.tensor(list(itertools.product(range(levels), repeat=size)), dtype=torch.float64).view(-1, *shape)


def rows(p: Chain, x: torch.Tensor) -> torch.Tensor:
    """log p of many x under a density of one row."""
    return torch.cat([p.log_prob(one.unsqueeze(0)) for one in x])


def order(shape: tuple[int, ...]) -> torch.Tensor:
    """When each element of (C, H, W) comes, by its place in the flattened event."""
    channels, height, width = shape
    return torch.tensor(
        [(i * width + j) * channels + k for k in range(channels) for i in range(height) for j in range(width)]
    )


# --- who sees whom -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [(3,), (5,), (3, 1, 1), (3, 3), (5, 3, 1, 3), (7, 3)], ids=str)
@pytest.mark.parametrize("shape", [(1, 7, 6), (3, 4, 5), (1, 1, 6), (2, 6, 1)], ids=str)
def test_an_element_sees_all_that_is_before_it_within_reach_and_nothing_else(kernels, shape):
    torch.manual_seed(0)
    channels, height, width = shape
    pixels, within = shaken(GatedPixels(channels, 2, 6, kernels)), shaken(WithinPixel(6, channels, 2))
    context = torch.randn(1, 2, height, width, dtype=torch.float64)

    def said(x: torch.Tensor) -> torch.Tensor:
        return within(pixels(x, context), x).square().sum((0, 1)).flatten()

    x = torch.randn(1, *shape, dtype=torch.float64)
    sees = torch.autograd.functional.jacobian(said, x).flatten(1) != 0
    reach = sum(kernel // 2 for kernel in kernels)
    k, i, j = (axis.flatten() for axis in torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij"))
    down, right = i.unsqueeze(1) - i, j.unsqueeze(1) - j  # how far above and to the left the seen one is
    same = (down == 0) & (right == 0)
    before = (down > 0) | ((down == 0) & (right > 0))
    near = (down <= reach) & (right.abs() <= reach)
    assert torch.equal(sees, (before & near) | (same & (k < k.unsqueeze(1))))


def test_features_depend_on_the_context_of_their_own_pixel_whatever_x_is():
    torch.manual_seed(0)
    net, x = shaken(GatedPixels(1, 2, 4, (3, 3))), torch.randn(1, 1, 3, 3, dtype=torch.float64)
    context = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda c: net(x, c).sum((0, 1)).flatten(), context)
    own = jacobian.view(9, 2, 9).diagonal(dim1=0, dim2=2)
    assert (own != 0).all()


# --- a probability -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 3, 2), (2, 2, 2), (3, 1, 2), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("kernels", [(3, 3), (5,)], ids=str)
def test_the_probabilities_of_all_binary_images_sum_to_one(shape, kernels):
    p = likelihood(shape, kernels=kernels)
    total = rows(p, everything(shape)).exp().sum()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=0)


@pytest.mark.parametrize("conditional", [None, Binomial(), DiscretisedLogisticMixture(components=2)], ids=str)
def test_the_probabilities_of_all_images_of_three_levels_sum_to_one(conditional):
    shape = (2, 1, 2)
    p = likelihood(shape, Support("integers", 3), conditional=conditional)
    total = rows(p, everything(shape, 3)).exp().sum()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-10, atol=0)


def test_elements_are_not_independent():
    """Otherwise all of the above would hold of a Bernoulli."""
    x = everything((1, 1, 2))
    table = rows(likelihood((1, 1, 2)), x).exp().view(2, 2)
    assert (table - table.sum(1, keepdim=True) * table.sum(0)).abs().max() > 1e-3


# --- one element at a time ---------------------------------------------------------------------------------------

CASES = {
    "binary": ((1, 5, 4), BINARY, {}),
    "one row": ((1, 1, 7), BINARY, {}),
    "one column": ((1, 6, 1), BINARY, {}),
    "levels": ((1, 3, 5), Support("integers", 5), {}),
    "colour": ((3, 4, 3), Support("integers", 256), {}),
    "wide": ((1, 6, 5), BINARY, {"kernels": (7, 3, 1, 5)}),
    "narrow": ((1, 6, 5), BINARY, {"kernels": (3, 1, 1)}),
    "coloured binomial": ((2, 3, 3), Support("integers", 7), {"conditional": Binomial()}),
}


def told(p: Chain, x: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """The places that a walk along x goes through, and the log-probabilities that it is told: of each place (N, L)."""
    places, numbers = [], []

    def choose(log_probs: torch.Tensor, place: int) -> torch.Tensor:
        places.append(place)
        numbers.append(log_probs)
        return x.flatten(1)[:, place]

    assert torch.equal(p.walk(choose), x)
    return places, torch.stack(numbers)


@pytest.mark.parametrize(("shape", "support", "options"), CASES.values(), ids=CASES)
def test_the_walk_tells_what_one_pass_tells(shape, support, options):
    p = likelihood(shape, support, rows=3, **options)
    x = torch.randint(support.levels, (3, *shape)).double()
    places, numbers = told(p, x)
    assert places == order(shape).argsort().tolist()
    assert numbers.shape == (x[0].numel(), 3, support.levels)
    torch.testing.assert_close(
        numbers.exp().sum(2), torch.ones(numbers.shape[:2], dtype=x.dtype), rtol=1e-9, atol=1e-12
    )
    each = p.conditionals(x).log_prob(x).flatten(1)[:, places].T
    chosen = x.flatten(1)[:, places].T.long().unsqueeze(2)
    torch.testing.assert_close(numbers.gather(2, chosen)[..., 0], each, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(numbers.gather(2, chosen).sum((0, 2)), p.log_prob(x), rtol=1e-10, atol=0)


def test_the_walk_tells_it_in_single_precision_too():
    torch.manual_seed(0)
    shape = (1, 28, 28)
    head = PixelCNN().build(shape, BINARY, Statistics(torch.full(shape, 0.2), torch.full(shape, 0.4)))
    with torch.no_grad():
        for p in head.parameters():
            p.add_(0.1 * torch.randn_like(p))
        p = head(torch.randn(2, head.outputs, *shape))
    x = (torch.rand(2, *shape) < 0.3).float()
    places, numbers = told(p, x)
    each = p.conditionals(x).log_prob(x).flatten(1)[:, places].T
    chosen = numbers.gather(2, x.flatten(1)[:, places].T.long().unsqueeze(2))[..., 0]
    torch.testing.assert_close(chosen, each.detach(), rtol=0, atol=1e-5)


def test_the_walk_cannot_know_what_is_to_come():
    p = likelihood((1, 4, 4), rows=2)
    x = torch.randint(2, (2, 1, 4, 4)).double()
    y = x.clone()
    y[:, :, 2, 1:] = 1 - y[:, :, 2, 1:]
    (_, one), (_, two) = told(p, x), told(p, y)
    assert torch.equal(one[:10], two[:10]), (
        "the tenth element is the first that differs, and is told before it is known"
    )
    assert not torch.equal(one[10:], two[10:])
    assert torch.equal(told(p, x)[1], one), "the same choices are told the same numbers"


# --- draws -------------------------------------------------------------------------------------------------------


def test_draws_are_as_frequent_as_they_are_probable():
    shape, n = (1, 2, 3), 20_000
    x = everything(shape)
    many = likelihood(shape, rows=1)
    probable = rows(many, x).exp()
    drawn = Chain(*_repeated(shape, n), shape, 2, torch.zeros(n, dtype=torch.float64)).sample()
    index = (drawn.flatten(1) * 2.0 ** torch.arange(5, -1, -1)).sum(1).long()
    counts = torch.bincount(index, minlength=64)
    expected = n * probable
    some = expected > 5
    chi2 = ((counts - expected)[some].square() / expected[some]).sum()
    freedom = int(some.sum())
    assert freedom > 20
    assert chi2 < freedom + 4 * (2 * freedom) ** 0.5


def _repeated(shape, n):
    """The conditionals and the course of the density of one row, for many."""
    torch.manual_seed(0)
    statistics = Statistics(torch.full(shape, 0.4), torch.full(shape, 0.4))
    head = shaken(PixelCNN(channels=4, kernels=(3, 3), maps=2).build(shape, BINARY, statistics))
    out = torch.randn(1, head.outputs, *shape, dtype=torch.float64).expand(n, -1, -1, -1, -1)
    p = head(out)
    return p.conditionals, p.course


def test_sampling_is_seeded_and_carries_no_gradient():
    p = likelihood((3, 4, 3), Support("integers", 256), rows=2)
    torch.manual_seed(0)
    one = p.sample()
    torch.manual_seed(0)
    assert torch.equal(p.sample(), one)
    assert not torch.equal(p.sample(), one)
    assert not one.requires_grad
    Support("integers", 256).check(one, "x")
    assert p.sample((2, 3)).shape == (2, 3, 2, 3, 4, 3)


def test_the_centre_is_one_draw_for_every_row():
    p = likelihood((1, 4, 4), rows=3)
    torch.rand(5)
    state = torch.get_rng_state()
    centre = central(p)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(central(p), centre)
    torch.manual_seed(0)
    statistics = Statistics(torch.full((1, 4, 4), 0.4), torch.full((1, 4, 4), 0.4))
    head = shaken(PixelCNN(channels=4, kernels=(3, 3), maps=2).build((1, 4, 4), BINARY, statistics))
    out = torch.randn(3, head.outputs, 1, 4, 4, dtype=torch.float64)
    for i in range(3):
        assert torch.equal(central(head(out[i : i + 1])), central(head(out))[i : i + 1]), (
            "a row does not know the others"
        )
    same = central(head(out[:1].expand(3, -1, -1, -1, -1)))
    assert (same == same[:1]).all()


def test_the_centre_is_a_fair_draw_of_its_uniforms():
    """Of one element it is 1 where u falls in the upper part, so that over many logits it is as often 1 as they say."""
    logits = torch.linspace(-4, 4, 2001, dtype=torch.float64)
    p = Chain(None, lambda x: iter([(0, torch.distributions.Bernoulli(logits=logits))]), (1,), 2, logits)
    ones = central(p)[:, 0]
    assert (ones.diff() >= 0).all(), "the same u for all: from some logit on it is 1"
    u = torch.rand(1, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(ones, ((-logits).sigmoid() <= u).double())


# --- refusals ----------------------------------------------------------------------------------------------------


def test_missing_cells_are_refused():
    p = likelihood((1, 2, 3))
    x = torch.zeros(1, 1, 2, 3, dtype=torch.float64)
    with pytest.raises(InputError, match=r"^data: has missing cells.*; fill them in, or choose "):
        p.log_prob(x, torch.ones_like(x, dtype=torch.bool))


def test_vectors_are_refused_with_what_fits():
    with pytest.raises(
        InputError, match=r"^model.likelihood: PixelCNN goes through images.*30.*--data.shape.*Bernoulli$"
    ):
        Model(likelihood=PixelCNN(), network=MLP(hidden=(4,))).build(
            (30,), BINARY, Statistics(torch.zeros(30), torch.ones(30))
        )


@pytest.mark.parametrize(
    "support", [Support("real"), Support("unit"), Support("counts"), Support("real", whole=True)], ids=str
)
def test_it_is_no_likelihood_of_values_that_cannot_be_counted_out(support):
    with pytest.raises(InputError, match=r"^model.likelihood: PixelCNN is no likelihood of "):
        Model(likelihood=PixelCNN()).resolved((1, 4, 4), support)


def test_conditionals_must_fit():
    assert not PixelCNN(conditional=Bernoulli()).fits(Support("integers", 5))
    assert not PixelCNN(conditional=Gaussian()).fits(BINARY)
    assert isinstance(PixelCNN().each(Support("integers", 17)), Categorical)
    assert isinstance(PixelCNN().each(Support("integers", 256)), DiscretisedLogisticMixture)
    with pytest.raises(
        InputError, match=r"^model.likelihood.conditional: Gaussian is no likelihood of values \{0, 1\}; "
    ):
        Model(likelihood=PixelCNN(conditional=Gaussian())).resolved((1, 4, 4), BINARY)
    with pytest.raises(InputError, match=r"^conditional: is PixelCNN, itself a model of all elements together; name "):
        PixelCNN(conditional=PixelCNN())


@pytest.mark.parametrize("kernels", [(), (1, 3), (4,), (3, 2), (3, -1)], ids=str)
def test_kernels_that_make_no_sense_are_refused(kernels):
    with pytest.raises(InputError, match=r"^kernels: "):
        PixelCNN(kernels=kernels)


def test_a_decoder_that_sees_much_knows_how_to_see_less():
    assert "`--model.likelihood.kernels 3,1,1,1`" in PixelCNN().weaker
    assert PixelCNN(kernels=(3, 1, 1, 1)).weaker is None


# --- in a model --------------------------------------------------------------------------------------------------


def test_with_latents_it_makes_traces_like_any_other():
    shape = (1, 6, 5)
    spec = Model(latents=3, likelihood=PixelCNN(channels=4, kernels=(3,), maps=2), network=MLP(hidden=(8,)))
    torch.manual_seed(0)
    vae = shaken(spec.build(shape, BINARY, Statistics(torch.full(shape, 0.4), torch.full(shape, 0.5))))
    batch = Batch((torch.rand(4, *shape) < 0.4).double())
    trace = vae(batch, 3, draw)
    assert trace.distortion(batch).shape == trace.log_weight(batch).shape == (3, 4)
    single = vae.descend(vae.root(4), [e for e in vae.evidence(batch)], lambda site: trace.steps[0])  # noqa: C416
    assert single.likelihood.batch_shape == (12,)
    gradient = torch.autograd.grad(trace.distortion(batch).sum(), trace.steps[0].z)[0]
    assert (gradient != 0).all(), "z has a say in every example"


def test_without_latents_the_bound_is_log_p(tmp_path):
    model = {"layers": [], "likelihood": {"part": "PixelCNN", "channels": 4, "kernels": [3, 3]}}
    run = taut.train("digits", out=tmp_path / "run", model=model, training={"steps": 30})
    summary = run.summary
    assert summary["latent_dim"] == 0
    assert summary["iw"]["k"] == 1
    assert summary["elbo"] == pytest.approx(-summary["distortion"])
    assert summary["rate"] == 0
    test = run.dataset().test
    x = test.x[:20].float()
    trace = run.vae(Batch(x))
    torch.testing.assert_close(trace.log_weight(Batch(x))[0], trace.likelihood.log_prob(x))
    again = taut.load(tmp_path / "run")
    torch.testing.assert_close(again.vae(Batch(x)).distortion(Batch(x)), trace.distortion(Batch(x)), rtol=0, atol=0)
    new = run.sample(4, seed=0, means=True)
    assert not (new[0] == new[1]).all(), "new data are draws, not one picture four times"
    text = (tmp_path / "run" / "report.html").read_text()
    assert "log p(x)" in text
    assert "Active units" not in text
    assert "Draws from p(x)." in text


def test_decodings_are_draws_and_the_report_says_so(tmp_path):
    model = {"latents": 2, "likelihood": {"part": "PixelCNN", "channels": 4, "kernels": [3]}}
    run = taut.train("digits", out=tmp_path / "run", model=model, training={"steps": 5})
    codes = run.encode(run.dataset().test)
    decoded = run.decode(codes[:5])
    assert (decoded == decoded.round()).all(), "values of x, not means"
    assert (run.decode(codes[:5]) == decoded).all()
    assert (run.decode(codes[2:3]) == decoded[2:3]).all()
    text = (tmp_path / "run" / "report.html").read_text()
    assert "draws from p(x|z) by the same random numbers" in text
    assert "means of p(x|z)" not in text


def test_the_terminal_speaks_of_log_p_where_there_are_no_latents(tmp_path, capsys):
    argv = ["train", "digits", "--model.layers", "[]", "--model.likelihood", "PixelCNN", "--training.steps", "3"]
    assert main([*argv, "--model.likelihood.channels", "4", "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--samples", "7"]) == 0
    assert main(["sample", str(tmp_path / "run"), "-n", "4"]) == 0
    said = capsys.readouterr().out
    assert "Categorical given what is before it, by PixelCNN" in said
    assert "model: no latents, MLP;" in said
    assert "exact: there are no latents" in said
    assert "4 draws of x\n" in said
    for word in ("rate ", "active", "ELBO ", "IW-", "prior"):
        assert word not in said.replace("ELBO for 3 steps", "")


def test_a_committed_rate_is_kept_under_a_decoder_that_needs_no_latents():
    model = {
        "latents": 4,
        "likelihood": {"part": "PixelCNN", "channels": 4, "kernels": [5, 3]},
        "prior": {"part": "AR1", "alpha": 0.8},
        "posterior": {"part": "CommittedNormal", "delta": 3.0},
    }
    rates = []

    def listen(event) -> None:
        rates.append(event.train["rate"])
        if event.valid:
            rates.append(event.valid["rate"])

    run = taut.train("digits", model=model, training={"steps": 60, "validations": 4}, listen=listen)
    rates.append(run.summary["rate"])
    subject = Subject(run.vae, run.dataset().test, run.reading)
    rates.append(float(bounds(subject, 2).rate.min()))
    assert min(rates) >= 3.0 - 1e-5
    assert len(rates) > 5


def test_colour_images_come_back_as_they_went_in():
    x = np.random.default_rng(0).integers(0, 256, (40, 5, 4, 3)).astype(np.uint8)
    run = taut.train(x, model={"latents": 2, "likelihood": {"part": "PixelCNN", "channels": 4}}, training={"steps": 2})
    for made in (run.reconstruct(x[:3]), run.sample(3, seed=0)):
        assert made.shape == (3, 5, 4, 3)
        assert made.min() >= 0
        assert made.max() <= 255
