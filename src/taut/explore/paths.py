"""Paths through a latent space: between two codes, and along one dimension."""

from __future__ import annotations

from typing import Literal

import numpy as np

from taut.errors import InputError

__all__ = ["interpolate", "traverse"]


def interpolate(
    a: np.ndarray, b: np.ndarray, steps: int = 10, path: Literal["linear", "spherical"] = "linear"
) -> np.ndarray:
    """Codes on the way from ``a`` to ``b``, both ends included.

    Linear: z(t) = (1 − t) a + t b, with t in equal steps from 0 to 1. Under N(0, I) in many dimensions the middle of
    such a line is nearer the origin than almost any draw. Spherical (Shoemake, 1985) turns the direction along the
    great circle at constant speed, by the angle ω between a and b, and blends the lengths linearly:

        z(t) = ((1 − t)|a| + t|b|) · (sin((1 − t)ω) a/|a| + sin(tω) b/|b|) / sin ω

    Where no single great circle exists (opposite ends, or an end at the origin) the path is the linear one.

    Args:
        a, b: the ends, of one shape (\\*D).
        steps: how many codes, at least 2.
        path: ``"linear"`` or ``"spherical"``.

    Returns:
        (steps, \\*D), of the ends' floating type.

    >>> interpolate(np.array([1.0, 0.0]), np.array([0.0, 3.0]), steps=3)
    array([[1. , 0. ],
           [0.5, 1.5],
           [0. , 3. ]])
    >>> interpolate(np.array([1.0, 0.0]), np.array([0.0, 3.0]), steps=3, path="spherical").round(3)
    array([[1.   , 0.   ],
           [1.414, 1.414],
           [0.   , 3.   ]])
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise InputError("interpolate", f"the ends have shapes {a.shape} and {b.shape}", "give two codes of one shape")
    if steps < 2:
        raise InputError("steps", f"is {steps}", "give 2 or more: both ends are on the path")
    if path not in ("linear", "spherical"):
        raise InputError("path", f"is {path!r}", "give linear or spherical")
    kind = np.result_type(a, b, np.float32)
    start, end = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    t = np.linspace(0.0, 1.0, steps)[:, None]
    line = (1 - t) * start + t * end
    if path == "spherical":
        line = _great_circle(start, end, t, line)
    # The ends are the codes themselves, not the codes up to rounding.
    line[0], line[-1] = start, end
    return line.reshape(steps, *a.shape).astype(kind)


def _great_circle(a: np.ndarray, b: np.ndarray, t: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The spherical path (S, D) between vectors a and b (D,) at times t (S, 1); ``otherwise`` where there is none."""
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    if length_a == 0 or length_b == 0:
        return otherwise
    u, v = a / length_a, b / length_b
    # Half-angle form: accurate for nearly equal and nearly opposite directions, where arccos is not.
    angle = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))
    if np.sin(angle) < 1e-6:
        return otherwise
    direction = (np.sin((1 - t) * angle) * u + np.sin(t * angle) * v) / np.sin(angle)
    return ((1 - t) * length_a + t * length_b) * direction


def traverse(center: np.ndarray, dimension: int, values: np.ndarray) -> np.ndarray:
    """Copies of one code in which a single dimension takes the given values, or several that stand side by side.

    Args:
        center: (D,), the code to start from.
        dimension: which of the D dimensions moves, or the first of W that do; the others stay.
        values: (S,) or (S, W), what it is set to.

    Returns:
        (S, D).

    >>> traverse(np.zeros(3), 1, np.array([-1.0, 1.0]))
    array([[ 0., -1.,  0.],
           [ 0.,  1.,  0.]])
    """
    center, values = np.asarray(center), np.asarray(values)
    values = values.reshape(len(values), -1)
    last = len(center) - values.shape[1]
    if not 0 <= dimension <= last:
        raise InputError("dimension", f"is {dimension}", f"give one from 0 to {last}")
    codes = np.repeat(center[None].astype(np.result_type(center, np.float32)), len(values), axis=0)
    codes[:, dimension : dimension + values.shape[1]] = values
    return codes
