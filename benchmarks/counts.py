"""Counts of single cells: taut at its defaults beside scvi-tools' SCVI at its own, the same split, the same time.

    TAUT_DATA=… python benchmarks/counts.py [--seconds 120] [--seed 0] [--scvi PYTHON]

`single_cell`, 10,000 cells by 1,000 genes; 8,000 to learn from, 1,000 to choose weights by, 1,000 to measure on. Each
cell's total is given. The reconstruction NLL is the mean over test cells of −E_q[ log p(x|z, total) ], nats a cell; beside it
−ELBO. Time is the processor's, one thread, for the steps of training alone.

SCVI's weight of the rate rises over 400 epochs, and where time is up before them it ends below 1, which buys reconstruction
with rate. So taut is measured twice: at its defaults, whose weight ends at 1, and with the weight that SCVI ended at.

With --scvi it is SCVI of that interpreter. Without, it is a **reproduction written here** of what its documentation and
paper (Lopez et al. 2018) say of the defaults: one hidden layer of 128 in encoder and decoder, with batch normalisation, ReLU
and dropout 0.1 in the encoder; 10 latents; log(1 + x) as input; a softmax over genes times the total as mean, ZINB with a
dispersion a gene and the zeros' log-odds by the decoder; Adam at 1e-3, weight decay 1e-6, ε 0.01; batches of 128; the weight
of the rate rises over 400 epochs. Its numbers are the reproduction's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import nn
from torch.distributions import Normal, kl_divergence

from taut.config import merge, parse
from taut.data import Feed, open_data
from taut.distributions import ZeroInflatedNegativeBinomial
from taut.experiment import Experiment, build, resolve, train
from taut.training import seeded

RISE = 400  # epochs over which SCVI's weight of the rate rises to 1

SCVI = """
import sys, json, time, numpy as np, torch, anndata, scvi
x, train, test = (np.load(path) for path in sys.argv[1:4])
seconds, seed = float(sys.argv[4]), int(sys.argv[5])
torch.set_num_threads(1)
scvi.settings.seed = seed
from lightning.pytorch.callbacks import Timer
data = anndata.AnnData(x.astype(np.float32))
def model(rows):
    some = data[rows].copy(); scvi.model.SCVI.setup_anndata(some); return some, scvi.model.SCVI(some)
some, m = model(train)
class Stop(Timer):
    def on_train_start(self, *a, **k):
        self.began = time.process_time()
    def on_train_batch_end(self, trainer, *a, **k):
        trainer.should_stop = time.process_time() - self.began > seconds
m.train(train_size=1.0, accelerator='cpu', callbacks=[Stop(duration=None)], enable_progress_bar=False)
held = data[test].copy(); m._validate_anndata(held)
error = m.get_reconstruction_error(held)
error = error['reconstruction_loss'] if isinstance(error, dict) else error
bound = abs(float(m.get_elbo(held)))
print(json.dumps({'nll': abs(float(error)), 'minus_elbo': bound, 'epochs': int(m.trainer.current_epoch)}))
"""


def by_taut(source: str, seconds: float, seed: int, options: dict) -> dict:
    """taut.train's model, for as many steps as fit; the parts that a configuration names come from `options`."""
    tree = merge({"data": {"source": source, "offset": "library"}, "seed": seed}, options)
    experiment = parse(Experiment, tree)
    data = open_data(experiment.data)
    pace = _pace(merge(tree, {"training": {"steps": 40}}), data)
    experiment = resolve(parse(Experiment, merge(tree, {"training": {"steps": max(50, int(seconds / pace))}})), data)
    began = time.process_time()
    vae, facts = train(experiment, data)
    spent = time.process_time() - began
    with torch.no_grad(), seeded(seed):
        distortion, rate = [], []
        for index in torch.arange(len(data.test)).split(250):
            batch = Feed(data.test, data.reading).batch(index)
            trace = vae.eval()(batch, 10)
            distortion.append(trace.distortion(batch).mean(0))
            rate.append(trace.rate().mean(0))
    nll, rate = float(torch.cat(distortion).mean()), float(torch.cat(rate).mean())
    return {"nll": nll, "minus_elbo": nll + rate, "steps": facts["steps"], "seconds": spent}


def _pace(tree: dict, data) -> float:
    experiment = resolve(parse(Experiment, tree), data)
    build(experiment, data)
    train(experiment, data)  # what is slow once is paid here
    began = time.process_time()
    train(experiment, data)
    return (time.process_time() - began) / experiment.training.steps


class Reproduced(nn.Module):
    """SCVI's defaults, as the docstring of this file has them."""

    def __init__(self, genes: int, hidden: int = 128, latents: int = 10) -> None:
        super().__init__()
        norm = lambda: nn.BatchNorm1d(hidden, momentum=0.01, eps=0.001)  # noqa: E731
        self.encoder = nn.Sequential(nn.Linear(genes, hidden), norm(), nn.ReLU(), nn.Dropout(0.1))
        self.mean, self.log_variance = nn.Linear(hidden, latents), nn.Linear(hidden, latents)
        self.decoder = nn.Sequential(nn.Linear(latents, hidden), norm(), nn.ReLU())
        self.share, self.zeros = nn.Linear(hidden, genes), nn.Linear(hidden, genes)
        self.log_theta = nn.Parameter(torch.randn(genes))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """−log p(x|z, total) and KL, (B,) nats each."""
        h = self.encoder(x.log1p())
        q = Normal(self.mean(h), self.log_variance(h).exp().sqrt() + 1e-4)
        h = self.decoder(q.rsample())
        log_mean = self.share(h).log_softmax(1) + x.sum(1, keepdim=True).clamp_min(1).log()
        density = ZeroInflatedNegativeBinomial(log_mean, self.log_theta.expand_as(log_mean), self.zeros(h))
        return -density.log_prob(x).sum(1), kl_divergence(q, Normal(0.0, 1.0)).sum(1)


def reproduced(x: np.ndarray, train_rows: np.ndarray, test: np.ndarray, seconds: float, seed: int) -> dict:
    """The reproduction, for a time."""
    torch.manual_seed(seed)
    learn, held = torch.from_numpy(x[train_rows]).float(), torch.from_numpy(x[test]).float()
    model = Reproduced(x.shape[1])
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, eps=0.01, weight_decay=1e-6)
    began, steps, epoch = time.process_time(), 0, 0
    while time.process_time() - began < seconds:
        for rows in torch.randperm(len(learn)).split(128):
            nll, rate = model(learn[rows])
            optimiser.zero_grad()
            (nll + min(1.0, epoch / RISE) * rate).mean().backward()
            optimiser.step()
            steps += 1
            if time.process_time() - began >= seconds:
                break
        epoch += 1
    spent = time.process_time() - began
    model.eval()
    with torch.no_grad():
        drawn = [model(held) for _ in range(10)]
    nll, rate = (float(torch.stack(part).mean()) for part in zip(*drawn, strict=True))
    return {"nll": nll, "minus_elbo": nll + rate, "steps": steps, "epochs": epoch, "seconds": spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scvi", metavar="PYTHON", help="an interpreter that has scvi-tools")
    parser.add_argument("--options", type=json.loads, default={}, help="of taut, JSON; its defaults if left out")
    parser.add_argument("--on-validation", action="store_true", help="measure on validation cells, to choose by")
    args = parser.parse_args()
    torch.set_num_threads(1)
    stored = np.load(next((Path(os.environ["TAUT_DATA"]) / "single_cell").glob("*.npz")))
    x = (
        csr_matrix((stored["data"], stored["indices"], stored["indptr"]), tuple(stored["shape"]))
        .toarray()
        .astype(np.int32)
    )
    order = np.random.RandomState(args.seed).permutation(len(x))
    test, valid, learn = order[:1000], order[1000:2000], order[2000:]
    if args.on_validation:
        test, valid = valid, test
    with tempfile.TemporaryDirectory() as folder:
        where = {name: str(Path(folder) / f"{name}.npy") for name in ("x", "learn", "test")}
        for name, array in (("x", x), ("learn", learn), ("test", test)):
            np.save(where[name], array)
        split = Path(folder) / "cells.npz"
        np.savez(split, train=x[learn], valid=x[valid], test=x[test])
        options = merge({"data": {"support": "counts"}}, args.options)
        if args.scvi:
            words = [args.scvi, "-c", SCVI, *where.values(), str(args.seconds), str(args.seed)]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            peer, name = json.loads(said.strip().splitlines()[-1]), "SCVI"
        else:
            peer, name = reproduced(x, learn, test, args.seconds, args.seed), "a reproduction of SCVI"
        weight = min(1.0, peer["epochs"] / RISE)
        print(f"{name}, weight of the rate {weight:.3g} at its end", json.dumps(peer), flush=True)
        print("taut", json.dumps(by_taut(str(split), args.seconds, args.seed, options)), flush=True)
        if weight < 1:
            weighed = merge({"objective": {"beta": weight}}, options)
            result = by_taut(str(split), args.seconds, args.seed, weighed)
            print(f"taut, weight of the rate {weight:.3g}", json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
