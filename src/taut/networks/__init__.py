"""The bodies of encoders and decoders; they know shapes, not probabilities."""

from taut.networks.base import Network, activation
from taut.networks.convolutional import Conv, ResNet
from taut.networks.perceptron import MLP, ResidualMLP

__all__ = ["MLP", "Conv", "Network", "ResNet", "ResidualMLP", "activation"]
