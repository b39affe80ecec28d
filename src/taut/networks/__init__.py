"""The bodies of encoders and decoders; they know shapes, not probabilities."""

from taut.networks.base import Network, activation
from taut.networks.bend import Bend
from taut.networks.cells import BottleneckCell, Cell, GatedCell, SeparableCell, by_depth
from taut.networks.convolutional import Conv, ResNet
from taut.networks.denoisers import Denoiser, DenoisingMLP, UNet, default_denoiser
from taut.networks.entry import entry
from taut.networks.gated import Gated
from taut.networks.masked import Masked
from taut.networks.noising import Noise
from taut.networks.perceptron import MLP, ResidualMLP
from taut.networks.pixels import GatedPixels, WithinPixel
from taut.networks.pyramid import Pyramid, Tower

__all__ = [
    "MLP",
    "Bend",
    "BottleneckCell",
    "Cell",
    "Conv",
    "Denoiser",
    "DenoisingMLP",
    "Gated",
    "GatedCell",
    "GatedPixels",
    "Masked",
    "Network",
    "Noise",
    "Pyramid",
    "ResNet",
    "ResidualMLP",
    "SeparableCell",
    "Tower",
    "UNet",
    "WithinPixel",
    "activation",
    "by_depth",
    "default_denoiser",
    "entry",
]
