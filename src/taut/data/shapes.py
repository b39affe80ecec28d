"""A set whose factors are known: shapes, each with a place, a size, an angle and a kind, drawn from a seed.

The five factors of an example are independent and uniform:

    x, y     centre of gravity, 11 to 21 pixels from the left and from the top of 32
    size     square root of the area, 8 to 12.5 pixels; kinds of one size have one area, so that ink says nothing of kind
    angle    −60 to 60 degrees, counter-clockwise
    kind     rectangle, 5 by 2; ellipse, 5 by 3; heart

An angle is only a factor if the image shows it. No kind looks the same after less than half a turn, and no two angles
of the range are half a turn apart. Its two ends even look 60 degrees apart, so that the angle is a quantity without a
seam. No shape crosses the border: the farthest point of any lies 0.86 sizes from its centre.

A pixel is 1 where its centre lies inside, else 0, as in dSprites (Matthey et al. 2017), which the set resembles. The
likelihood of such data is a probability, Bernoulli's, and says everything; grey edges would ask for one of 256 levels.

With p a pixel's centre and u = R(−angle) (p − centre) / size, each kind is a region of u of area 1 about the origin.
"""

from __future__ import annotations

import math

import numpy as np

from taut.data.source import Source

__all__ = ["FACTORS", "KINDS", "draw_shapes", "shapes_source"]

KINDS = ("rectangle", "ellipse", "heart")
FACTORS = ("x", "y", "size", "angle", "kind")
SIDE = 32
EXAMPLES = 10_000
LOW, HIGH = (11.0, 11.0, 8.0, -60.0), (21.0, 21.0, 12.5, 60.0)
CHUNK = 250  # images drawn together: about what a processor's cache holds


def shapes_source(seed: int) -> Source:
    """10,000 images (32, 32) of {0, 1} with their factors; the labels are the kinds."""
    # RandomState's stream is frozen by numpy's own promise, so that a seed means the same images for ever.
    random = np.random.RandomState(seed)
    factors = np.column_stack([random.uniform(LOW, HIGH, (EXAMPLES, 4)), random.randint(len(KINDS), size=EXAMPLES)])
    kinds = factors[:, -1].astype(np.int64)
    images = draw_shapes(factors)
    return Source(
        "shapes", "named", {"all": images}, {"all": kinds}, names=KINDS, factors={"all": factors}, factor_names=FACTORS
    )


def draw_shapes(factors: np.ndarray) -> np.ndarray:
    """The images (N, 32, 32), uint8, of factors (N, 5) in the units of the module's table.

    >>> heart = draw_shapes(np.array([[16, 16, 13, 0, 2]]))[0]
    >>> print("\\n".join("".join("-#"[pixel] for pixel in row) for row in heart[9:26, 6:26]))
    --------------------
    ----#####--#####----
    ---##############---
    --################--
    --################--
    --################--
    --################--
    --################--
    ---##############---
    ---##############---
    ----############----
    -----##########-----
    ------########------
    -------######-------
    --------####--------
    ---------##---------
    --------------------
    """
    images = np.zeros((len(factors), SIDE, SIDE), np.uint8)
    centres = np.arange(SIDE) + 0.5  # float64, so that the last bit of another machine's cosine moves no pixel
    for kind, inside in enumerate((_rectangle, _ellipse, _heart)):
        rows = np.flatnonzero(factors[:, 4] == kind)
        for some in np.split(rows, range(CHUNK, len(rows), CHUNK)):
            x, y, size, angle = (column[:, None, None] for column in factors[some, :4].T)
            right, up = (centres - x) / size, (y - centres[:, None]) / size
            c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            images[some] = inside(c * right + s * up, c * up - s * right)
    return images


def _rectangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Sides √r and 1/√r with r = 5/2."""
    return (np.abs(u) <= math.sqrt(5 / 2) / 2) & (np.abs(v) <= math.sqrt(2 / 5) / 2)


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Half-axes rb and b with r = 5/3 and πrb² = 1."""
    return (3 / 5 * u) ** 2 + v * v <= 3 / (5 * math.pi)


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A square of side 2 on its corner and half a disc of radius 1 on each upper side: 4 + π in area before scaling.

    Along either upward side, the half-disc beyond the other has its centre of gravity at 1 + 4/3π, and the whole heart
    at (π/2)(1 + 4/3π)/(4 + π).
    """
    scale = math.sqrt((4 + math.pi) / 2)
    gravity = (math.pi / 2 + 2 / 3) / (4 + math.pi)
    a, b = scale * (v + u) + gravity, scale * (v - u) + gravity
    square = (np.abs(a) <= 1) & (np.abs(b) <= 1)
    return square | ((a - 1) ** 2 + b * b <= 1) | (a * a + (b - 1) ** 2 <= 1)
