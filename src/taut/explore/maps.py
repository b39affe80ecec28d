"""The plane in which a latent space is drawn, and the way between the plane and the space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from taut.errors import InputError

__all__ = ["Plane", "plane"]


@dataclass(frozen=True)
class Plane:
    """Two orthonormal directions of a D-dimensional latent space, and the codes seen along them.

    The directions are orthonormal and the origin stays the origin, so that under z ~ N(0, I) the coordinates are
    N(0, I) too: the prior's circles on a map are true ones.

    Attributes:
        description: which plane it is, in words.
        axes: the names of the two axes.
        coordinates: (N, 2), the codes in the plane.
        basis: (D, 2), orthonormal columns (D = 1: the second column is zero).
        rest: (D,), the mean code without its part in the plane: where a lifted point lies off the plane.
    """

    description: str
    axes: tuple[str, str]
    coordinates: np.ndarray
    basis: np.ndarray
    rest: np.ndarray

    def project(self, codes: np.ndarray) -> np.ndarray:
        """Codes (..., D) to coordinates (..., 2)."""
        return np.asarray(codes) @ self.basis

    def ellipse(self, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """N(mean, diag std²) seen in the plane: its middle (2,), and its axes at one standard deviation, the rows of (2, 2)."""
        covariance = self.basis.T @ (np.square(std)[:, None] * self.basis)
        variances, directions = np.linalg.eigh(covariance)
        return mean @ self.basis, (directions * np.sqrt(np.maximum(variances, 0))).T

    def lift(self, coordinates: np.ndarray) -> np.ndarray:
        """Coordinates (..., 2) to codes (..., D) whose part off the plane is that of the mean code."""
        return self.rest + np.asarray(coordinates) @ self.basis.T


def plane(
    means: np.ndarray,
    kl_per_dim: np.ndarray | None = None,
    choice: tuple[int, int] | Literal["principal"] | None = None,
) -> Plane:
    """Choose the plane in which to draw codes.

    Two dimensions are drawn as they are, and one as a line. Of more, the two with the greatest KL are taken if they
    hold most of it; otherwise (or where no KL per dimension exists) the two principal axes of the codes.

    Args:
        means: (N, D), posterior means.
        kl_per_dim: (D,) mean KL(q‖p) of each dimension in nats; None where there is none (a point posterior).
        choice: two dimensions, or the principal axes, where the user has chosen.

    Raises:
        InputError: where the chosen dimensions are not two of those that there are.

    >>> rng = np.random.default_rng(0)
    >>> plane(rng.normal(size=(9, 5)), np.array([0.1, 3.0, 0.0, 2.0, 0.1])).description
    'dimensions 1 and 3 of 5, which hold 96% of the rate'
    """
    means = np.asarray(means, dtype=np.float64)
    means = means.reshape(len(means), -1)
    size = means.shape[1]
    if size == 1:
        return _seen(means, np.array([[1.0, 0.0]]), "the one latent dimension", ("z0", ""))
    if size == 2:
        return _seen(means, np.eye(2), "both latent dimensions", ("z0", "z1"))
    if choice is not None and choice != "principal":
        first, second = choice
        if first == second or not all(0 <= i < size for i in choice):
            raise InputError("plane", f"is of dimensions {first} and {second}", f"give two from 0 to {size - 1}")
        words = f"dimensions {first} and {second} of {size}, as chosen"
        return _seen(means, np.eye(size)[:, [first, second]], words, (f"z{first}", f"z{second}"))
    if choice is None and kl_per_dim is not None:
        kl = np.nan_to_num(np.asarray(kl_per_dim, dtype=np.float64).ravel())
        first, second = sorted(np.argsort(-kl, kind="stable")[:2].tolist())
        share = (kl[first] + kl[second]) / kl.sum() if len(kl) == size and kl.sum() > 0 else 0.0
        if share > 0.5:
            words = f"dimensions {first} and {second} of {size}, which hold {share:.0%} of the rate"
            return _seen(means, np.eye(size)[:, [first, second]], words, (f"z{first}", f"z{second}"))
    basis, share = _principal_axes(means)
    words = f"the two principal axes of the codes, {share:.0%} of their variance in {size} dimensions"
    return _seen(means, basis, words, ("first principal axis", "second principal axis"))


def _seen(means: np.ndarray, basis: np.ndarray, description: str, axes: tuple[str, str]) -> Plane:
    mean = means.mean(axis=0) if len(means) else np.zeros(means.shape[1])
    return Plane(description, axes, means @ basis, basis, mean - mean @ basis @ basis.T)


def _principal_axes(means: np.ndarray) -> tuple[np.ndarray, float]:
    """The two directions (D, 2) of greatest variance, and the share of it that they hold."""
    finite = means[np.isfinite(means).all(axis=1)]
    if not len(finite):
        return np.eye(means.shape[1])[:, :2], 0.0
    centred = finite - finite.mean(axis=0)
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    basis = vectors[:, [-1, -2]]
    # An eigenvector's sign is arbitrary: its largest component is made positive, so that a map is never mirrored.
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), [0, 1]])
    share = variances[-2:].sum() / variances.sum() if variances.sum() > 0 else 0.0
    return basis, float(share)
