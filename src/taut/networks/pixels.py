"""Convolutions that know the raster order: at each pixel they see what lies before it, and all of that within reach.

The gated PixelCNN (van den Oord et al. 2016) has two stacks. With r_l the reach of the l-th kernel, pixels (i, j) counted
from the top left and v_0 = h_0 = x,

    a_l(i, j) = Σ_{0 ≤ s ≤ r, |t| ≤ r} V_st v_{l−1}(i − s, j + t)                              vertical: the rows above
    b_l(i, j) = Σ_{0 ≤ t ≤ r} H_t h_{l−1}(i, j − t) + L a_l(i, j) + C_l c(i, j)                horizontal: this row too
    v_l = tanh a′_l ⊙ σ(a″_l),    h_l = h_{l−1} + O (tanh b′_l ⊙ σ(b″_l))                      with a = (a′, a″)

where the first layer, which looks at x itself, leaves out s = 0 and t = 0, and h_{l−1} before the plus. By induction
v_l(i, j) is a function of x in the R = Σ r_l rows above i, in the R columns to either side of j, and h_l(i, j) of these
and of the R pixels to the left: of all pixels before (i, j) in that window, with no blind spot, and of none other. The
context c, what a decoder says of z, is told to the horizontal stack, which sees everything; what the vertical one would
make of it, this one can.

**Pixel after pixel.** The vertical stack at row i reads rows that are done, so that it is found for a whole row at once,
from the last r_l rows of each layer; the horizontal one at (i, j) reads the last r_l pixels of each layer. So all pixels
one after the other are the arithmetic of one pass, not of one for each (:meth:`GatedPixels.course`).

**Channel after channel.** The channels x_1 … x_C of one pixel have an order too. With h the features of the pixels before,

    y_k = D_k φ( A_k h + Σ_{m<k} B_km x_m )                                    what is said of x_k (:class:`WithinPixel`)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from taut.errors import InputError
from taut.networks.base import Modules, positive
from taut.networks.masked import Masked

__all__ = ["GatedPixels", "WithinPixel"]


class GatedPixels(nn.Module):
    """x (N, C, H, W) with a context (N, E, H, W) → features (N, width, H, W) of what lies before each pixel.

    Args:
        inputs: C.
        context: E.
        width: channels of either stack.
        kernels: odd widths of the kernels, r = (kernel − 1)/2; the first is 3 or more, of the others 1 looks no further.

    >>> seed = torch.manual_seed(0)
    >>> net, x, c = GatedPixels(1, 2, 4, (3, 3)), torch.randn(1, 1, 5, 5), torch.randn(1, 2, 5, 5)
    >>> one_by_one = torch.stack([h for _, h in net.course(x, c)], -1).view(1, 4, 5, 5)
    >>> torch.allclose(one_by_one, net(x, c), atol=1e-6)
    True
    """

    blocks: Modules[_Block]

    def __init__(self, inputs: int, context: int, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        positive("channels", width)
        require_kernels(kernels)
        self.width = width
        reaches = [(kernel - 1) // 2 for kernel in kernels]
        self.blocks = Modules(
            _Block(inputs if i == 0 else width, context, width, reach, first=i == 0) for i, reach in enumerate(reaches)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        v = h = x
        for block in self.blocks:
            v, h = block(v, h, context)
        return h

    def course(self, x: Tensor, context: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """The features (N, width) of each pixel (i, j) in raster order, as :meth:`forward` gives them.

        Those of a pixel read of x what lies before it and nothing else: x may be filled in on the way.
        """
        size = context.shape[2:]
        walks = [block.walk(x.new_zeros(len(x), block.inputs, *size)) for block in self.blocks]
        above = x.new_zeros(len(x), x.shape[1], size[1])
        for i in range(size[0]):
            row = above
            for block, walk in zip(self.blocks, walks, strict=True):
                row = walk.begin(row, block.read(context[:, :, i : i + 1])[:, :, 0])
            left = x.new_zeros(len(x), x.shape[1])
            for j in range(size[1]):
                h = left
                for walk in walks:
                    h = walk.step(h)
                yield (i, j), h
                left = x[:, :, i, j]
            above = x[:, :, i]


def require_kernels(kernels: tuple[int, ...]) -> None:
    """Refuse kernels that have no middle, or a first one that sees nothing."""
    for kernel in kernels:
        if kernel < 1 or kernel % 2 == 0:
            raise InputError("kernels", f"has {kernel}", "give odd numbers")
    if not kernels or kernels[0] < 3:
        shown = f"starts with {kernels[0]}" if kernels else "is empty"
        raise InputError("kernels", f"{shown}, which sees no pixel", "start with 3 or more, such as 7,3,3")


class _Block(nn.Module):
    """One layer of both stacks."""

    def __init__(self, inputs: int, context: int, width: int, reach: int, first: bool) -> None:
        super().__init__()
        self.inputs, self.width, self.reach, self.first = inputs, width, reach, int(first)
        taps = reach + 1 - self.first
        self.down = nn.Conv2d(inputs, 2 * width, (taps, 2 * reach + 1))
        self.right = nn.Conv2d(inputs, 2 * width, (1, taps), bias=False)
        self.link = nn.Conv2d(2 * width, 2 * width, 1, bias=False)
        self.read = nn.Conv2d(context, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, v: Tensor, h: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        r = self.reach
        a = self.down(functional.pad(v, (r, r, r, -self.first)))
        b = self.right(functional.pad(h, (r, -self.first))) + self.link(a) + self.read(context)
        new = self.out(_gate(b))
        return _gate(a), new if self.first else h + new

    def walk(self, blank: Tensor) -> _Walk:
        """The layer over images of the shape of ``blank``, pixel after pixel."""
        return _Walk(self, blank)


class _Walk:
    """A layer in the course of a walk: the rows of v and the pixels of h that its kernels still see."""

    def __init__(self, block: _Block, blank: Tensor) -> None:
        n, inputs, _, columns = blank.shape
        self.block = block
        self.rows = blank.new_zeros(n, inputs, block.down.kernel_size[0], columns + 2 * block.reach)
        self.pixels = blank.new_zeros(n, columns + block.reach, inputs)
        self.right = block.right.weight[:, :, 0].transpose(1, 2).flatten(1)
        self.out = block.out.weight[:, :, 0, 0]

    def begin(self, row: Tensor, told: Tensor) -> Tensor:
        """A new row i: v_l of it, (N, width, W), from v_{l−1} of it or from the row of x above, (N, inputs, W).

        ``told``, (N, 2 width, W), is what the context tells.
        """
        r = self.block.reach
        self.rows = torch.cat([self.rows[:, :, 1:], functional.pad(row, (r, r)).unsqueeze(2)], 2)
        a = self.block.down(self.rows)
        self.told = (self.block.link(a)[:, :, 0] + told).permute(2, 0, 1).contiguous()
        self.pixels.zero_()
        self.place = 0
        return _gate(a)[:, :, 0]

    def step(self, new: Tensor) -> Tensor:
        """The next pixel j: h_l of it, (N, width), from h_{l−1} of it or from the pixel of x before, (N, inputs)."""
        j, taps = self.place, self.block.right.kernel_size[1]
        self.pixels[:, j + taps - 1] = new
        b = functional.linear(self.pixels[:, j : j + taps].flatten(1), self.right) + self.told[j]
        out = functional.linear(_gate(b), self.out, self.block.out.bias)
        self.place += 1
        return out if self.block.first else new + out


def _gate(x: Tensor) -> Tensor:
    turned, opened = x.chunk(2, 1)
    return turned.tanh() * opened.sigmoid()


class WithinPixel(nn.Module):
    """Features (N, width, H, W) of what lies before each pixel, and x (N, C, H, W) → (N, outputs, C, H, W), at each channel
    a function of the features and of the channels before it.

    Args:
        width: of the features.
        channels: C.
        outputs: numbers for each element.
    """

    shape: tuple[int, int]
    read: nn.Conv2d
    told: Masked | None
    write: nn.Conv2d

    def __init__(self, width: int, channels: int, outputs: int) -> None:
        super().__init__()
        hidden = 2 * width
        self.shape = (channels, outputs)
        self.read = nn.Conv2d(width, channels * hidden, 1)
        self.told = None
        if channels > 1:
            order = torch.arange(channels)
            self.told = Masked(order + 1, order.repeat_interleave(hidden), bias=False)
        self.write = nn.Conv2d(channels * hidden, channels * outputs, 1, bias=False, groups=channels)
        with torch.no_grad():
            self.write.weight.mul_(0.1)

    def forward(self, features: Tensor, x: Tensor) -> Tensor:
        u = self.read(features)
        if self.told is not None:
            u = u + self.told(x.movedim(1, -1)).movedim(-1, 1)
        return self.write(functional.silu(u)).unflatten(1, self.shape).transpose(1, 2)
