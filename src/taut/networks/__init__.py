"""The bodies of encoders and decoders; they know shapes, not probabilities."""

from taut.networks.base import Network, activation
from taut.networks.bend import Bend
from taut.networks.convolutional import Conv, ResNet
from taut.networks.denoisers import Denoiser, DenoisingMLP, UNet, default_denoiser
from taut.networks.gated import Gated
from taut.networks.masked import Masked
from taut.networks.noising import Noise
from taut.networks.perceptron import MLP, ResidualMLP
from taut.networks.pixels import GatedPixels, WithinPixel

__all__ = [
    "MLP",
    "Bend",
    "Conv",
    "Denoiser",
    "DenoisingMLP",
    "Gated",
    "GatedPixels",
    "Masked",
    "Network",
    "Noise",
    "ResNet",
    "ResidualMLP",
    "UNet",
    "WithinPixel",
    "activation",
    "default_denoiser",
]
