"""Ways through a latent space, as pure functions: paths between codes, traversals, the plane of a map, what is drawn."""

from __future__ import annotations

from taut.explore.codes import nearest, standard_prior, usual_norm
from taut.explore.maps import Plane, plane
from taut.explore.paths import interpolate, traverse
from taut.explore.pictures import as_images, brightness, pictures, read_picture, shown

__all__ = [
    "Plane", "as_images", "brightness", "interpolate", "nearest", "pictures", "plane", "read_picture", "shown",
    "standard_prior", "traverse", "usual_norm",
]  # fmt: skip
