"""Gated autoregressive maps: u → z with a masked network of u and a context c (Kingma et al. 2016).

    z_d = g_d u_d + (1 − g_d) m_d,    (r_d, s_d) = θ_d(u_<d, c)

    m_d = R tanh(r_d / R),    g_d = γ + (1 − γ) sigmoid(s_d)

The Jacobian is triangular, so that log |det ∂z/∂u| = Σ_d log g_d ≤ 0. Gates lie between γ = 0.1 and 1 and targets within
±R = 50, far outside what codes need, so that |u_d| < (|z_d| + R)/γ: no element runs away when the map is inverted,
whatever the network says of vectors that it has not seen.

**One pass forward.** All of u is there, and θ is one pass of the network.

**One pass backward, in D steps.** To invert, u_d = (z_d − (1 − g_d) m_d) / g_d wants u_<d. A unit of degree m sees u_1 … u_m,
so when u_m has been found every unit of degree m can be, and none has to be found again. Units are sorted by degree,
the step of degree m is a few rows of every weight matrix, and all D steps together are the arithmetic of one pass.

**Its gradient, in D steps.** With ρ = ∂L/∂u, where L is what is made of u and log |det|, and the chain rule through the
same steps in reverse order, for d = D … 1,

    λ_d = ρ_d + what the units of degree ≥ d, done before, send back to u_d

    ∂L/∂z_d = λ_d / g_d,    ∂L/∂m_d = −λ_d (1 − g_d)/g_d,    ∂L/∂s_d = ( ∂L/∂log|det| − λ_d (u_d − m_d) ) g'_d / g_d

which solves the triangular system (∂z/∂u)ᵀ ∂L/∂z = ρ of the implicit function theorem without forming the Jacobian, again
in the arithmetic of one pass. Gradients of weights are products of what the steps left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from taut.distributions import soft
from taut.networks.base import Modules, activation
from taut.networks.masked import Masked

__all__ = ["Gated"]

LEAST = 0.1  # γ
REACH = 50.0  # R


class Gated(nn.Module):
    """One map of vectors (..., N, D) with a context for each of the N.

    It starts near z = g u with g = 0.89 for all d, contexts and u. What the first layer is given by the contexts is the
    same for every u, so it is found apart and once: a = ``read(c)``, (N, width).

    Args:
        size: D.
        context: width of c.
        hidden: widths of the masked network.
        name: its activation.
        turned: the order of the elements: the last first.

    >>> seed = torch.manual_seed(0)
    >>> f, u, c = Gated(4, 2, (8,), "silu", turned=False), torch.randn(3, 4), torch.randn(3, 2)
    >>> z, log_det = f(u, f.read(c))
    >>> back, again = f.inverse(z, f.read(c))
    >>> torch.allclose(back, u, atol=1e-5), torch.allclose(again, log_det, atol=1e-5)
    (True, True)
    """

    start: float = 2.0  # s_d at first

    read: nn.Linear
    layers: Modules[Masked]
    activation: nn.Module
    below: list[list[int]]

    def __init__(self, size: int, context: int, hidden: Sequence[int], name: str, turned: bool) -> None:
        super().__init__()
        self.turned = turned
        degrees = [torch.arange(1, size + 1)]
        degrees += [torch.arange(width) * size // width for width in hidden]
        degrees += [torch.arange(size).repeat_interleave(2)]
        self.read = nn.Linear(context, len(degrees[1]))
        pairs = zip(degrees, degrees[1:], strict=False)
        self.layers = Modules(Masked(before, after, bias=i > 0) for i, (before, after) in enumerate(pairs))
        self.activation = activation(name)
        # below[i][m]: how many units of layer i, the inputs being layer 0, are of a degree below m
        self.below = [torch.searchsorted(each, torch.arange(size + 1)).tolist() for each in degrees]
        with torch.no_grad():
            self.layers[-1].weight.mul_(0.01)
            bias = self.layers[-1].bias if hidden else self.read.bias
            bias.zero_()
            bias[1::2] = self.start

    def forward(self, u: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """z (..., N, D) and log |det ∂z/∂u| (..., N) nats, for a = read(c)."""
        u = u.flip(-1) if self.turned else u
        x = self.layers[0](u) + a
        for layer in self.layers[1:]:
            x = layer(self.activation(x))
        r, s = x.unflatten(-1, (-1, 2)).unbind(-1)
        g = _gate(s)
        z = torch.lerp(_target(r), u, g)
        return z.flip(-1) if self.turned else z, g.log().sum(-1)

    def inverse(self, z: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """u (..., N, D) and log |det ∂z/∂u| (..., N) nats; differentiable once in z, a and every weight."""
        z = z.flip(-1) if self.turned else z
        weights = [layer.masked for layer in self.layers]
        biases = [layer.bias for layer in self.layers[1:]]
        u, log_det = _Inverse.apply(self, z, a, *weights, *biases)
        return u.flip(-1) if self.turned else u, log_det


def _target(r: Tensor) -> Tensor:
    return soft(r, REACH)


def _gate(s: Tensor) -> Tensor:
    return LEAST + (1 - LEAST) * s.sigmoid()


class _Inverse(torch.autograd.Function):
    """u and log |det ∂z/∂u| of :meth:`Gated.inverse`, with the gradient by hand.

    Inside, elements and units come first and the P vectors last, so that all of a degree are a few whole rows.
    """

    @staticmethod
    def forward(ctx: Any, net: Gated, z: Tensor, a: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        depth, below = len(net.layers), net.below
        weights, biases = weights[:depth], [bias.unsqueeze(1) for bias in weights[depth:]]
        v, read = z.reshape(-1, z.shape[-1]).T.contiguous(), a.T.unsqueeze(1)
        u, draws = torch.empty_like(v), v.shape[1] // len(a)
        sums = [v.new_empty(len(weight), v.shape[1]) for weight in weights]  # what each unit is given
        units = [u, *map(torch.empty_like, sums[:-1])]  # and what it makes of it
        for d in range(len(u)):
            for i, weight in enumerate(weights):
                own, seen = slice(below[i + 1][d], below[i + 1][d + 1]), below[i][d + 1]
                here = sums[i][own]
                if i == 0:
                    torch.mm(weight[own, :seen], u[:seen], out=here)
                    here.view(len(here), draws, len(a)).add_(read[own])
                else:
                    torch.addmm(biases[i - 1][own], weight[own, :seen], units[i][:seen], out=here)
                if i < depth - 1:
                    units[i + 1][own] = net.activation(here)
            m, g = sums[-1][2 * d : 2 * d + 2]  # so far r and s
            m.copy_(_target(m))
            g.copy_(_gate(g))
            torch.addcdiv(m, v[d] - m, g, out=u[d])
        ctx.net, ctx.contexts = net, len(a)
        ctx.save_for_backward(u, *sums, *weights)
        return u.T.view(z.shape), sums[-1][1::2].log().sum(0).view(z.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rho: Tensor, of_log_det: Tensor) -> tuple[Tensor | None, ...]:
        depth, below = len(ctx.net.layers), ctx.net.below
        (u, *sums), weights = ctx.saved_tensors[: depth + 1], ctx.saved_tensors[depth + 1 :]
        units, slopes = zip((u, None), *(_with_slope(ctx.net.activation, given) for given in sums[:-1]), strict=True)
        m, g = sums[-1][0::2], sums[-1][1::2]
        inverse = g.reciprocal()
        slope = (g - LEAST) * (1 - g) * inverse / (1 - LEAST)  # g'/g
        to_r, to_s = (1 - inverse) * (1 - (m / REACH).square()), (m - u) * slope
        from_det = slope * of_log_det.reshape(-1)
        back = rho.reshape(-1, len(u)).T.clone(memory_format=torch.contiguous_format)  # ρ; λ in the rows that are done
        grads = [torch.empty_like(given) for given in sums]
        for d in reversed(range(len(u))):
            after = below[1][d + 1]
            back[d : d + 1].addmm_(weights[0][after:, d : d + 1].T, grads[0][after:])
            torch.mul(to_r[d], back[d], out=grads[-1][2 * d])
            torch.addcmul(from_det[d], to_s[d], back[d], out=grads[-1][2 * d + 1])
            for i in range(depth - 1, 0, -1):
                own, after = slice(below[i][d], below[i][d + 1]), below[i + 1][d]
                here = torch.mm(weights[i][after:, own].T, grads[i][after:], out=grads[i - 1][own])
                here.mul_(slopes[i][own])
        wanted = ctx.needs_input_grad[3:]
        of_z = (back * inverse).T.view(rho.shape)
        of_a = grads[0].view(len(grads[0]), -1, ctx.contexts).sum(1).T
        of_weights = [g @ x.T if want else None for g, x, want in zip(grads, units, wanted[:depth], strict=True)]
        of_biases = [g.sum(1) if want else None for g, want in zip(grads[1:], wanted[depth:], strict=True)]
        return None, of_z, of_a, *of_weights, *of_biases


def _with_slope(function: nn.Module, given: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and f'(x)."""
    with torch.enable_grad():
        x = given.detach().requires_grad_()
        made = function(x)
        (slope,) = torch.autograd.grad(made.sum(), x)
    return made.detach(), slope
