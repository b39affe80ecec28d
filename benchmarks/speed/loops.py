"""The same models trained by hand, in as few lines as they take: what a person would write, and what is left of it when
everything but matrix products is taken away.

    plain      a DataLoader of float32 examples, torch.optim.Adam, cross-entropy as torch has it, loss.item() at each step
    lean       indexed tensors, batched binarisation, fused Adam, closed forms, a running average of the weights
    floor      the products of matrices and the convolutions of a lean step, forwards and backwards, on tensors of their shapes
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from taut.training.profile import Products

__all__ = ["ConvVAE", "Ladder", "PerceptronVAE", "floor", "lean", "plain", "replay"]

LOG_2PI = math.log(2 * math.pi)


def kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL( N(μ, σ²) ‖ N(0, I) ), (N,) nats."""
    return 0.5 * (mu.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1)


def distortion(logits: Tensor, x: Tensor) -> Tensor:
    """−log p(x|z) of Bernoulli pixels, (N,) nats; x stands for as many rows as there are."""
    logits = logits.view(-1, *x.shape)
    return (functional.softplus(logits) - x * logits).flatten(2).sum(2)


class PerceptronVAE(nn.Module):
    """784-200-200-50 and back, tanh; the mean over examples of the negative bound of K samples."""

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.samples = samples
        self.encoder = nn.Sequential(
            nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 100)
        )
        self.decoder = nn.Sequential(
            nn.Linear(50, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 784, bias=False)
        )
        self.bias = nn.Parameter(torch.zeros(784))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        mu, log_sigma = self.encoder(x).chunk(2, 1)
        if self.samples == 1:
            z = torch.addcmul(mu, log_sigma.exp(), torch.randn_like(mu))
            return distortion(self.decoder(z) + self.bias, x).mean() + kl(mu, log_sigma).mean()
        noise = torch.randn(self.samples, *mu.shape)
        z = torch.addcmul(mu, log_sigma.exp(), noise)
        weight = (
            0.5 * (noise.square() - z.square()).sum(2)
            + log_sigma.sum(1)
            - distortion(self.decoder(z.flatten(0, 1)) + self.bias, x)
        )
        return -(weight.logsumexp(0) - math.log(self.samples)).mean()


class ConvVAE(nn.Module):
    """Strided convolutions on 32×32 in colour, 32 and 64 channels, a layer of 256, 32 latents; Gaussian pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), nn.SiLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.SiLU(), nn.Flatten(),
            nn.Linear(64 * 64, 256), nn.SiLU(), nn.Linear(256, 64),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(32, 256), nn.SiLU(), nn.Linear(256, 64 * 64), nn.Unflatten(1, (64, 8, 8)),
            nn.SiLU(), nn.Conv2d(64, 4 * 32, 3, padding=1), nn.PixelShuffle(2),
            nn.SiLU(), nn.Conv2d(32, 4 * 6, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip
        self.bias = nn.Parameter(torch.zeros(6, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        mu, log_sigma = self.encoder(x).chunk(2, 1)
        z = torch.addcmul(mu, log_sigma.exp(), torch.randn_like(mu))
        mean, log_width = (self.decoder(z) + self.bias).chunk(2, 1)
        terms = 0.5 * ((x - mean) * (-log_width).exp()).square() + log_width + 0.5 * LOG_2PI
        return terms.flatten(1).sum(1).mean() + kl(mu, log_sigma).mean()


class Ladder(nn.Module):
    """The networks of a ladder that this project built, walked by hand: normals of their closed forms, nothing kept."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.encoder, self.layers, self.body = vae.encoder, vae.layers, vae.decoder.body

    def forward(self, x: Tensor) -> Tensor:
        told = self.encoder(x)[0]
        h, rate = self.layers[0].start.expand(len(x), -1, -1, -1), 0.0
        for layer in self.layers:
            m, s = layer.p.network(h).flatten(1).chunk(2, 1)
            mu, log_sigma = layer.judge(torch.cat([h, told], 1)).flatten(1).chunk(2, 1)
            z = torch.addcmul(mu, log_sigma.exp(), torch.randn_like(mu))
            ratio = log_sigma - s
            rate = rate + (0.5 * (((mu - m) * (-s).exp()).square() + torch.expm1(2 * ratio)) - ratio).sum(1)
            h = layer.cells(h + layer.speak(z[..., None, None]))
        return distortion(self.body(h)[:, 0], x).mean() + rate.mean()


def lean(model: nn.Module, grey: Tensor, batch: int, binary: bool) -> Callable[[int], None]:
    """A loop that runs so many steps: nothing in it that a step does not need."""
    parameters = list(model.parameters())
    optimiser = torch.optim.Adam(parameters, 1e-3, fused=True)
    average = [p.detach().clone() for p in parameters]
    source = [p.detach() for p in parameters]

    def run(steps: int) -> None:
        order, place = torch.randperm(len(grey)), 0
        for step in range(steps):
            if place + batch > len(grey):
                order, place = torch.randperm(len(grey)), 0
            x = grey[order[place : place + batch]].float()
            place += batch
            x = (torch.rand_like(x) * 255 < x).float() if binary else x + torch.rand_like(x)
            if not binary:
                x = x / 128 - 1
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * (1 + math.cos(math.pi * step / steps)) / 2
            loss = model(x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            torch._foreach_lerp_(average, source, 1e-3)

    return run


class _Tutorial(PerceptronVAE):
    """The same model in the words of most tutorials."""

    def forward(self, x: Tensor) -> Tensor:
        mu, log_var = self.encoder(x.flatten(1)).chunk(2, 1)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(log_var)
        logits = self.decoder(z) + self.bias
        bce = functional.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
        return (bce - 0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())) / len(x)


def plain(grey: Tensor, batch: int) -> Callable[[int], None]:
    """The loop of most tutorials: a DataLoader in this process, Adam as it comes, the loss read at each step."""
    model = _Tutorial()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    loader = DataLoader(TensorDataset(grey.float() / 255), batch_size=batch, shuffle=True, drop_last=True)

    def run(steps: int) -> None:
        done, total = 0, 0.0
        while done < steps:
            for (x,) in loader:
                loss = model(torch.bernoulli(x))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item()
                done += 1
                if done == steps:
                    break

    return run


def replay(work: Callable[[], object]) -> Callable[[int], None]:
    """A loop that runs the matrix products and convolutions of some work, and nothing else of it."""
    with Products() as products:
        work()
    return products.run


def floor(model: nn.Module, x: Tensor) -> Callable[[int], None]:
    """The same of a step of training."""
    model = copy.deepcopy(model)
    return replay(lambda: model(x).backward())
