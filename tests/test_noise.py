"""Densities that know the noise behind a value: the noise is standard normal, there and back, and the density is the same."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from taut import distributions as d
from taut.distributions import NonCentred, tempered
from taut.posteriors import Posterior
from taut.priors import Prior

torch.set_num_threads(1)

ROWS, EVENTS = 4, ((3,), (2, 3))
KNOW = {"AR1", "ConditionalNormal", "RealNVP", "StandardNormal"}
KNOW_TOO = {"CommittedNormal", "DiagonalNormal", "FullNormal", "IAF"}


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return module.double()


def of_priors() -> list:
    return [(name, event, state) for name in sorted(KNOW) for event in EVENTS for state in (0, 5)
            if not (name == "ConditionalNormal" and state == 0)]  # fmt: skip


def holds(p: torch.distributions.Distribution) -> None:
    """The promises of a density that knows its noise."""
    assert isinstance(p, NonCentred)
    noise = torch.randn(ROWS, *p.event_shape, dtype=torch.float64, requires_grad=True)
    z, log_p = p.from_noise(noise)
    assert z.shape == noise.shape and log_p.shape == (ROWS,)
    torch.testing.assert_close(p.to_noise(z), noise)
    torch.testing.assert_close(p.log_prob(z), log_p)
    # log p(z) = log N(ε; 0, I) − log |det ∂z/∂ε|, row by row
    jacobian = torch.autograd.functional.jacobian(lambda e: p.from_noise(e)[0].sum(0).flatten(), noise)
    size = p.event_shape.numel()
    log_normal = -0.5 * (noise.flatten(1).square().sum(1) + size * math.log(2 * math.pi))
    log_det = jacobian.reshape(size, ROWS, size).transpose(0, 1).slogdet().logabsdet
    torch.testing.assert_close(log_p, log_normal - log_det)
    (gradient,) = torch.autograd.grad(log_p.sum() + z.sum(), noise)
    assert torch.isfinite(gradient).all() and gradient.any()


@pytest.mark.parametrize(("name", "event", "state"), of_priors())
def test_priors(name: str, event: tuple[int, ...], state: int) -> None:
    torch.manual_seed(0)
    module = shaken(Prior.members[name]().build(event, state))
    holds(module(torch.randn(ROWS, state, dtype=torch.float64)))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", [*sorted(KNOW_TOO), "low rank"])
def test_posteriors(name: str, event: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    spec = Posterior.members["FullNormal"](rank=2) if name == "low rank" else Posterior.members[name]()
    module = shaken(spec.build(event))
    params = torch.randn(ROWS, module.width, dtype=torch.float64)
    p = Prior.members["StandardNormal"]().build(event, 0).double()(torch.zeros(ROWS, 0, dtype=torch.float64))
    holds(module(params, p) if spec.reads_prior else module(params))


def test_no_other_part_claims_to_know_and_flows_that_draw_slowly_do_not() -> None:
    for name, member in Prior.members.items():
        if member.space == "real" and name not in KNOW and member.alone:
            p = member().build((3,), 0)(torch.zeros(ROWS, 0))
            assert not isinstance(p, NonCentred), name
    for name, member in Posterior.members.items():
        module = member().build(member().event(3))
        if name not in KNOW_TOO and not member.reads_prior:
            assert not isinstance(module(torch.zeros(ROWS, module.width)), NonCentred), name


def test_a_tempered_density_knows_its_noise_too() -> None:
    torch.manual_seed(0)
    flow = shaken(Prior.members["RealNVP"]().build((3,), 0))(torch.zeros(ROWS, 0, dtype=torch.float64))
    holds(tempered(flow, 0.7))
    holds(tempered(d.AR1(0.8, torch.zeros(ROWS, 5, dtype=torch.float64)), 0.7))


def test_draws_through_noise_have_the_moments_of_draws() -> None:
    torch.manual_seed(0)
    n = 100_000
    p = d.AR1(-0.7, torch.zeros(n, 3, dtype=torch.float64))
    z, _ = p.from_noise(torch.randn(n, 3, dtype=torch.float64))
    wanted = torch.tensor([[1, -0.7, 0.49], [-0.7, 1, -0.7], [0.49, -0.7, 1]], dtype=torch.float64)
    covariance: Tensor = z.T.cov()
    torch.testing.assert_close(covariance, wanted, atol=4 * math.sqrt(2 / n), rtol=0)
