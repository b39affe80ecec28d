"""Ways through a latent space, as pure functions on arrays: paths between codes, traversals, the plane of a map."""

from __future__ import annotations

from taut.explore.maps import Plane, plane
from taut.explore.paths import interpolate, traverse

__all__ = ["Plane", "interpolate", "plane", "traverse"]
