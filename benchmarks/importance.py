"""IW-1000 of one model by this project and by pythae's get_nll, in turns: milliseconds an image, and the ratio.

    python benchmarks/importance.py --pythae PYTHON [--images 64] [--rounds 5]

PYTHON is the interpreter of an environment that has pythae 0.1.2, which pins packages that break others. Both sides have
a 784-200-200-50 perceptron, tanh, Bernoulli pixels, random weights, K = 1000; each round measures one after the other.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

K = 1000

THEIRS = """
import json, sys, time, torch
from torch import nn
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
torch.set_num_threads(int(sys.argv[1])); torch.manual_seed(0)
def body(*sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers)
class Encoder(BaseEncoder):
    def __init__(self):
        super().__init__(); self.body = body(784, 200, 200); self.mu = nn.Linear(200, 50); self.log_var = nn.Linear(200, 50)
    def forward(self, x):
        h = self.body(x.flatten(1)); return ModelOutput(embedding=self.mu(h), log_covariance=self.log_var(h))
class Decoder(BaseDecoder):
    def __init__(self):
        super().__init__(); self.body = body(50, 200, 200); self.out = nn.Linear(200, 784)
    def forward(self, z):
        return ModelOutput(reconstruction=self.out(self.body(z)).sigmoid().view(-1, 1, 28, 28))
config = VAEConfig(input_dim=(1, 28, 28), latent_dim=50, reconstruction_loss="bce")
model = VAE(config, encoder=Encoder(), decoder=Decoder()).eval()
x = (torch.rand(int(sys.argv[2]), 1, 28, 28) < 0.13).float()
for line in sys.stdin:
    begin = time.perf_counter()
    with torch.no_grad():
        model.get_nll(x, n_samples=1000, batch_size=int(line))
    print(json.dumps(time.perf_counter() - begin), flush=True)
"""


def ours(images: int, threads: int):
    """A function that evaluates the same model once, and says how long it took in seconds."""
    import torch

    from taut.data import Split, Statistics, Support, open_array
    from taut.evaluation import Subject, bounds
    from taut.model import Model
    from taut.networks import MLP

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = (torch.rand(max(images, 20), 1, 28, 28) < 0.13).float()
    data = open_array(x.numpy())
    statistics = Statistics(torch.zeros(1, 28, 28), torch.ones(1, 28, 28))
    vae = Model(latents=50, network=MLP((200, 200), "tanh")).build((1, 28, 28), Support("binary"), statistics).eval()

    def once() -> float:
        begin = time.perf_counter()
        bounds(Subject(vae, Split(x[:images]), data.reading), K)
        return time.perf_counter() - begin

    return once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pythae", required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    command = [args.pythae, "-c", THEIRS, str(args.threads), str(args.images)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:

        def theirs(batch: int) -> float:
            other.stdin.write(f"{batch}\n")
            other.stdin.flush()
            while not (line := other.stdout.readline()).startswith(tuple("0123456789")):
                if not line:
                    sys.exit("pythae's side ended")
            return json.loads(line)

        mine = ours(args.images, args.threads)
        mine(), theirs(100)  # warm both
        rows = [(mine(), theirs(100), theirs(1000)) for _ in range(args.rounds)]
        other.stdin.close()
    print(
        f"IW-{K}, {args.images} images, {args.threads} threads, {args.rounds} rounds in turns: median (least to most)"
    )
    for name, side in zip(
        ("taut", "pythae, batches of 100", "pythae, batches of 1000"), zip(*rows, strict=True), strict=True
    ):
        each = [1000 * seconds / args.images for seconds in side]
        print(f"{name:24} {statistics.median(each):7.2f} ms an image ({min(each):.2f} to {max(each):.2f})")
    for name, i in (("100", 1), ("1000", 2)):
        ratios = [row[i] / row[0] for row in rows]
        print(f"pythae ({name}) / taut: {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"largest memory of this side: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
