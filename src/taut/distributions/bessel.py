"""The modified Bessel function I_ν: its logarithm and the ratio of neighbouring orders, from κ = 0 to wherever numbers end.

A density on the sphere S^{D−1} needs κ^ν/I_ν(κ) of order ν = D/2 − 1, which is 0/0 at κ = 0 and 0 where I_ν overflows.
What is found here is

    log F_ν(κ) − κ,   F_ν(κ) = Γ(ν + 1) (2/κ)^ν I_ν(κ)         F_ν(0) = 1
    r_ν(κ) = I_{ν+1}(κ)/I_ν(κ) = d log F_ν/dκ                    0 ≤ r_ν < 1

and with them 1 − r_ν and r_ν', which for large κ are small beside the numbers that they are differences of. With
ρ_ν = r_ν/κ the recurrence I_{ν−1} = (2ν/κ) I_ν + I_{ν+1} steps down one order:

    ρ_{ν−1} = 1/(2ν + κ² ρ_ν)                                     log F_{ν−1} = log F_ν − log 2ν ρ_{ν−1}
    1 − r_{ν−1} = (2ν − κ (1 − r_ν)) ρ_{ν−1}                      r'_{ν−1} = (2ν − κ² r'_ν) ρ²_{ν−1}

A step multiplies errors by r or r² < 1. The first order is the least of ν, ν + 1, … that is 12 or more, N, where Debye's
expansion is good to 1e-15 for every κ at once. With R² = N² + κ² and p = N/R ∈ (0, 1],

    log F_N = R − N − N log (N + R)/2N + ½ log p + Φ(p) − Φ(1),     Φ' = φ,   φ(p) ~ Σ_k φ_k(p) N^{−k}

Put into Bessel's equation this asks, with h(p) = ½ p² (1 − p²), for

    φ_1 = ⅛ (1 − 5p²),     φ_{k+1} = (h φ_k)' + h Σ_{i+j=k} φ_i φ_j

the logarithmic form of the recurrence for Debye's polynomials U_k (NIST Handbook, 10.41). The constant Γ(ν + 1) needs no
series of its own: F is 1 at p = 1. Two derivatives are, with α = ½ + pφ and β = (1 − p²)(2α + pα') − α,

    ρ_N = 1/(N + R) − α/R²,     r'_N = N/(R (N + R)) + β/R²
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor
from torch.autograd.function import once_differentiable

from taut.distributions.precision import wide

__all__ = ["bessel"]

ORDER, TERMS = 12, 16  # the least order at which Debye's expansion is used, and its terms


def bessel(order: float, kappa: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log F_ν(κ) − κ, the ratio r_ν(κ) = I_{ν+1}(κ)/I_ν(κ), and 1 − r_ν(κ), each as exact as its type can hold it.

    They are found in float64, where the device has it, and are given in the type of κ; each has a first derivative.

    Args:
        order: ν ≥ 0.
        kappa: κ ≥ 0, any shape.

    >>> log, ratio, rest = bessel(0.5, torch.tensor(2.0))  # I_½ is elementary: F_½ = sinh κ/κ, r_½ = coth κ − 1/κ
    >>> round(log.item(), 4), round(math.log(math.sinh(2) / 2) - 2, 4)
    (-1.4048, -1.4048)
    >>> round(ratio.item(), 4), round(1 / math.tanh(2) - 1 / 2, 4)
    (0.5373, 0.5373)
    """
    return _Bessel.apply(kappa, order)


class _Bessel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kappa: Tensor, order: float) -> tuple[Tensor, Tensor, Tensor]:
        log, ratio, rest, slope = _bessel(order, wide(kappa))
        ctx.save_for_backward(rest, slope)
        return log.to(kappa.dtype), ratio.to(kappa.dtype), rest.to(kappa.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_log: Tensor, of_ratio: Tensor, of_rest: Tensor) -> tuple[Tensor, None]:
        rest, slope = ctx.saved_tensors
        return ((of_ratio - of_rest) * slope - of_log * rest).to(of_log.dtype), None


def _bessel(order: float, kappa: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log F_ν(κ) − κ, r_ν, 1 − r_ν and r_ν'."""
    steps = max(0, math.ceil(ORDER - order))
    n = order + steps
    square = kappa.square()
    r = (n**2 + square).sqrt()
    p = n / r
    table = torch.as_tensor(_debye(n), dtype=p.dtype, device=p.device)
    big_phi, alpha, beta = (torch.linalg.vander(p, N=len(table)) @ table).unbind(-1)
    alpha, beta = alpha / r.square(), beta / r.square()
    log = -n * kappa * (1 + kappa / (n + r)) / (r + kappa)  # R − N − κ
    log = log - n * torch.log1p(square / (2 * n * (n + r))) + 0.5 * p.log() + big_phi
    rho = 1 / (n + r) - alpha
    rest = (n + n**2 / (r + kappa)) / (n + r) + kappa * alpha
    slope = n / (r * (n + r)) + beta
    for twice in (2 * (n - step) for step in range(steps)):
        rho = 1 / (twice + square * rho)
        log = log - (twice * rho).log()
        rest = (twice - kappa * rest) * rho
        slope = (twice - square * slope) * rho.square()
    return log, kappa * rho, rest, slope


@cache
def _debye(n: float) -> np.ndarray:
    """Φ − Φ(1), α and β at order N: the coefficients of 1, p, p², …, a column each."""
    p = Polynomial([0.0, 1.0])
    h = 0.5 * p**2 * (1 - p**2)
    terms = [(1 - 5 * p**2) / 8]
    for k in range(1, TERMS):
        pairs = sum((terms[i] * terms[k - 2 - i] for i in range(k - 1)), 0 * p)
        terms.append((h * terms[-1]).deriv() + h * pairs)
    phi = sum(term / n**k for k, term in enumerate(terms, 1))
    big_phi = phi.integ()
    alpha = 0.5 + p * phi
    beta = (1 - p**2) * (2 * alpha + p * alpha.deriv()) - alpha
    table = np.zeros((len(beta.coef), 3))
    for column, polynomial in enumerate((big_phi - big_phi(1), alpha, beta)):
        table[: len(polynomial.coef), column] = polynomial.coef
    return table
