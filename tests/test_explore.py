"""Paths and planes in a latent space: exact values, and the cases in which a formula breaks down."""

from __future__ import annotations

import numpy as np
import pytest

from taut.errors import InputError
from taut.explore import interpolate, plane, traverse


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_ends_are_the_codes_themselves(path):
    a, b = np.random.default_rng(0).normal(size=(2, 3, 4))
    way = interpolate(a, b, steps=7, path=path)
    assert way.shape == (7, 3, 4)
    np.testing.assert_array_equal(way[0], a)
    np.testing.assert_array_equal(way[-1], b)


def test_linear_is_equally_spaced():
    way = interpolate(np.zeros(2, np.float32), np.array([4, 8], np.float32), steps=5)
    np.testing.assert_allclose(way, [[0, 0], [1, 2], [2, 4], [3, 6], [4, 8]])
    assert way.dtype == np.float32


def test_spherical_turns_at_constant_speed_and_blends_lengths():
    a, b = np.array([2.0, 0, 0]), np.array([0, 4.0, 0])
    way = interpolate(a, b, steps=10, path="spherical")
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), np.linspace(2, 4, 10))
    np.testing.assert_allclose(np.arctan2(way[:, 1], way[:, 0]), np.linspace(0, np.pi / 2, 10))


@pytest.mark.parametrize(
    ("a", "b"), [([1.0, 0], [-1.0, 0]), ([0.0, 0], [1.0, 1]), ([1.0, 1], [0.0, 0]), ([0.0, 0], [0.0, 0])]
)
def test_without_a_great_circle_the_path_is_linear(a, b):
    way = interpolate(np.array(a), np.array(b), steps=5, path="spherical")
    np.testing.assert_array_equal(way, interpolate(np.array(a), np.array(b), steps=5))


def test_nearly_equal_directions_stay_on_the_sphere():
    a = np.array([1.0, 0.0])
    b = np.array([np.cos(1e-5), np.sin(1e-5)])
    np.testing.assert_allclose(np.linalg.norm(interpolate(a, b, 9, "spherical"), axis=1), 1, atol=1e-12)


def test_whole_number_codes_are_not_truncated():
    np.testing.assert_allclose(interpolate(np.array([0]), np.array([1]), 3).ravel(), [0, 0.5, 1])
    np.testing.assert_allclose(traverse(np.array([0, 0]), 1, np.array([0.5])), [[0, 0.5]])


def test_traverse_moves_one_dimension():
    codes = traverse(np.array([1.0, 2, 3]), 2, np.array([-1.0, 0, 1]))
    np.testing.assert_array_equal(codes, [[1, 2, -1], [1, 2, 0], [1, 2, 1]])


def test_mistakes_are_named():
    for wrong in (
        lambda: interpolate(np.zeros(2), np.zeros(3)),
        lambda: interpolate(np.zeros(2), np.zeros(2), steps=1),
        lambda: interpolate(np.zeros(2), np.zeros(2), path="curved"),
        lambda: traverse(np.zeros(2), 2, np.zeros(1)),
    ):
        with pytest.raises(InputError):
            wrong()


def test_two_dimensions_are_drawn_as_they_are():
    means = np.random.default_rng(0).normal(size=(6, 2))
    seen = plane(means)
    np.testing.assert_array_equal(seen.coordinates, means)
    np.testing.assert_allclose(seen.lift(seen.coordinates), means)


def test_one_dimension_becomes_a_line():
    means = np.array([[1.0], [2.0]])
    seen = plane(means, np.array([0.3]))
    np.testing.assert_array_equal(seen.coordinates, [[1, 0], [2, 0]])
    np.testing.assert_array_equal(seen.lift(seen.coordinates), means)


def test_the_dimensions_of_most_kl_are_taken_if_they_hold_most():
    means = np.random.default_rng(0).normal(size=(50, 6))
    seen = plane(means, np.array([0, 0.2, 3, 0, 0.1, 2]))
    assert seen.axes == ("z2", "z5")
    assert "dimensions 2 and 5 of 6" in seen.description
    np.testing.assert_array_equal(seen.coordinates, means[:, [2, 5]])


@pytest.mark.parametrize("kl", [None, np.ones(6), np.zeros(6), np.full(6, np.nan)])
def test_otherwise_the_principal_axes(kl):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(400, 6)) * [1, 5, 0.1, 1, 3, 0.1] + 2
    seen = plane(means, kl)
    assert "principal" in seen.description
    np.testing.assert_allclose(seen.basis.T @ seen.basis, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(np.abs(seen.basis[[1, 4], [0, 1]]), 1, atol=0.02)
    # The origin, where the prior's circles have their centre, stays the origin.
    np.testing.assert_allclose(seen.project(np.zeros(6)), 0)
    np.testing.assert_allclose(seen.project(seen.lift(seen.coordinates)), seen.coordinates)
    np.testing.assert_allclose(seen.lift(seen.project(means.mean(0))), means.mean(0))


def test_codes_that_are_not_finite_do_not_break_the_plane():
    means = np.random.default_rng(0).normal(size=(30, 4))
    means[3, 1] = np.nan
    assert np.isfinite(plane(means).basis).all()
    assert plane(np.zeros((5, 4))).coordinates.shape == (5, 2)


def test_traverse_may_move_dimensions_that_stand_side_by_side():
    codes = traverse(np.array([1.0, 2, 3]), 1, np.array([[0.0, 1], [1, 0]]))
    np.testing.assert_array_equal(codes, [[1, 0, 1], [1, 1, 0]])
    with pytest.raises(InputError, match=r"^dimension: is 2; give one from 0 to 1"):
        traverse(np.zeros(3), 2, np.zeros((1, 2)))
