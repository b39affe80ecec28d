"""Stochastic layers: each owns a prior, a posterior, and what the layers below it are told."""

from taut.layers.base import Layer
from taut.layers.pairing import default_prior, fits, require_pair
from taut.layers.plain import Plain
from taut.layers.spatial import Spatial
from taut.layers.upward import Upward

__all__ = ["Layer", "Plain", "Spatial", "Upward", "default_prior", "fits", "require_pair"]
