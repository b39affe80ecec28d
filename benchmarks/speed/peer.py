"""The other side of the comparison, run by an interpreter that has pythae 0.1.2: reads a line of JSON, does the work, says
how long it took. Nothing of this project is imported here."""

import contextlib
import json
import logging
import os
import sys
import tempfile
import time

os.environ["TQDM_DISABLE"] = "1"

import torch
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import nn


def perceptron(*sizes):
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    return nn.Sequential(*(part for a, b in pairs for part in (nn.Linear(a, b), nn.Tanh())))


class Encoder(BaseEncoder):
    def __init__(self):
        super().__init__()
        self.body, self.mu, self.log_var = perceptron(784, 200, 200), nn.Linear(200, 50), nn.Linear(200, 50)

    def forward(self, x):
        h = self.body(x.flatten(1))
        return ModelOutput(embedding=self.mu(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    def __init__(self):
        super().__init__()
        self.body, self.out = perceptron(50, 200, 200), nn.Linear(200, 784)

    def forward(self, z):
        return ModelOutput(reconstruction=self.out(self.body(z)).sigmoid().view(-1, 1, 28, 28))


class ConvEncoder(BaseEncoder):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(4096, 256),
            nn.SiLU(),
        )
        self.mu, self.log_var = nn.Linear(256, 32), nn.Linear(256, 32)

    def forward(self, x):
        h = self.body(x)
        return ModelOutput(embedding=self.mu(h), log_covariance=self.log_var(h))


class ConvDecoder(BaseDecoder):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, 256),
            nn.SiLU(),
            nn.Linear(256, 4096),
            nn.Unflatten(1, (64, 8, 8)),
            nn.SiLU(),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.PixelShuffle(2),
            nn.SiLU(),
            nn.Conv2d(32, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, z):
        return ModelOutput(reconstruction=self.body(z))


def build(case):
    if case == "conv":
        config = VAEConfig(input_dim=(3, 32, 32), latent_dim=32, reconstruction_loss="mse")
        return VAE(config, encoder=ConvEncoder(), decoder=ConvDecoder()), (3, 32, 32)
    if case == "iwae":
        config = IWAEConfig(input_dim=(1, 28, 28), latent_dim=50, reconstruction_loss="bce", number_samples=50)
        return IWAE(config, encoder=Encoder(), decoder=Decoder()), (1, 28, 28)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=50, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(), decoder=Decoder()), (1, 28, 28)


def train(case, steps, batch):
    model, shape = build(case)
    x = torch.rand(steps * batch, *shape)
    x = (x < 0.13).float() if case != "conv" else 2 * x - 1
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, learning_rate=1e-3, per_device_train_batch_size=batch, no_cuda=True
        )
        trainer = BaseTrainer(model=model, train_dataset=list_of(x), training_config=config)
        begin = time.perf_counter()
        trainer.train()
        return time.perf_counter() - begin


def list_of(x):
    from pythae.data.datasets import BaseDataset

    return BaseDataset(x, torch.zeros(len(x)))


def nll(images, batch):
    model, _ = build("mlp")
    x = (torch.rand(images, 1, 28, 28) < 0.13).float()
    begin = time.perf_counter()
    with torch.no_grad():
        model.eval().get_nll(x, n_samples=1000, batch_size=batch)
    return time.perf_counter() - begin


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(int(sys.argv[1]))
    answer = sys.stdout
    for line in sys.stdin:
        ask = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            seconds = {"train": train, "nll": nll}[ask.pop("do")](**ask)
        print(json.dumps(seconds), file=answer, flush=True)
