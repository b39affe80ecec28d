"""The bodies of encoders and decoders; they know shapes, not probabilities."""

from taut.networks.base import Network, activation
from taut.networks.bend import Bend
from taut.networks.convolutional import Conv, ResNet
from taut.networks.gated import Gated
from taut.networks.masked import Masked
from taut.networks.perceptron import MLP, ResidualMLP
from taut.networks.pixels import GatedPixels, WithinPixel

__all__ = [
    "MLP",
    "Bend",
    "Conv",
    "Gated",
    "GatedPixels",
    "Masked",
    "Network",
    "ResNet",
    "ResidualMLP",
    "WithinPixel",
    "activation",
]
