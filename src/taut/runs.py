"""A run: a trained model with how its data were read; in memory, or in a folder that `taut.load` gives back.

What lies in the folder is in :mod:`taut.runfiles`.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from taut import __version__
from taut.codec import Archive, compressed, decompressed, require_codable
from taut.data import Dataset, Feed, Reading, Split, Statistics, read_like
from taut.data.columns import frame_of, table_names
from taut.data.conditions import columns_of, given
from taut.distributions import central
from taut.distributions.factorised import scaled
from taut.errors import InputError
from taut.evaluation import Ledger, Scores, Space, Subject, evaluate, impute, judge, quality, score
from taut.evaluation.subject import require_positive
from taut.experiment import Experiment
from taut.model import VAE, Site, Step, centre, follow, pick_prior
from taut.runfiles import (
    CONFIG,
    DATA,
    METRICS,
    PROFILE,
    SUMMARY,
    facts_of,
    finite,
    made,
    read_head,
    read_json,
    same_data,
    write_head,
    write_json,
)
from taut.training import seeded, spread_of
from taut.training.checkpoint import WEIGHTS, read_tensors, write_tensors

__all__ = ["CONFIG", "DATA", "METRICS", "PROFILE", "SUMMARY", "WEIGHTS", "Run", "Variable", "facts_of", "finite", "load",
           "read_head", "read_json", "same_data", "write_head", "write_json"]  # fmt: skip

POOL = 20_000  # training examples among which copies are sought, at most


@dataclass(frozen=True)
class Variable:
    """One latent, as codes hold it.

    Attributes:
        start: the first of its columns.
        values: all that it can be, (K, W) in W columns; none where it is a number of a continuum, in one column.
        real: whether every number is a value of it; else it is an element of a direction.
    """

    start: int
    values: np.ndarray | None = None
    real: bool = True

    @property
    def reach(self) -> float:
        """How far to either side it is worth moving: in deviations of its prior, where it is real."""
        return 3.0 if self.real else 1.0

    def places(self, steps: int) -> int:
        """At how many places it can be looked at, of so many."""
        return steps if self.values is None else min(steps, len(self.values))

    def course(self, reach: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """So many of its values, (steps, W), and what to call them, (steps,): numbers from −reach to reach, or which of all."""
        if self.values is None:
            numbers = np.linspace(-reach, reach, steps)
            return numbers[:, None], numbers
        chosen = np.linspace(0, len(self.values) - 1, steps).round().astype(int)
        return self.values[chosen], chosen


@dataclass
class Run:
    """A trained model and what to do with it; arrays go in and come out as the user stores them.

    Args:
        vae: the model.
        experiment: the resolved configuration.
        reading: how raw arrays become the model's x.
        facts: what :func:`taut.data.Dataset` said of the data: description, hash, names of labels and factors.
        summary: the bounds on the test split, and the facts of the training.
        folder: where the run is kept; ``None`` if only in memory.
        data: the data set, if it is at hand.
    """

    vae: VAE
    experiment: Experiment
    reading: Reading
    facts: dict[str, Any]
    summary: dict[str, Any]
    folder: Path | None = None
    data: Dataset | None = None

    def encode(self, x: ArrayLike | Split, sample: bool = False, seed: int = 0, condition: Any = None) -> np.ndarray:
        """The posterior means, or a draw from the posterior, of examples as the user stores them.

        Where a mean is no value that z can take, the one that stands for it is given: on a sphere, the mean's direction.

        Args:
            x: (N, *raw shape).
            sample: draw instead of taking the mean.
            seed: of the draw.
            condition: what the examples are conditioned on where the model is; those of a split or a table if left open.

        Returns:
            (N, latents), the layers of a hierarchy side by side, top first. Means are the same at each call.
        """
        self.require_latents()
        feed = self._feed(x, condition)
        codes = []
        with torch.no_grad(), seeded(seed, feed.x.device):
            for index in torch.arange(len(feed), device=feed.x.device).split(1024):
                trace = self.vae(feed.still(index)) if sample else self.vae(feed.still(index), pick=centre)
                codes.append(torch.cat([step.z.flatten(1) for step in trace.steps], 1))
        return torch.cat(codes).cpu().numpy()

    def decode(self, z: ArrayLike, condition: Any = None, offset: Tensor | None = None) -> np.ndarray:
        """E[x|z] for codes (N, latents) as :meth:`encode` gives them, in the user's layout; others are brought to their
        :meth:`place`.

        Where x|z has no mean that could be had, as when it is autoregressive, a draw stands for it, of the same random
        numbers for every code and at each call. A model with a condition is told it as :meth:`sample` is;
        counts are those of a typical total, or of log-scales ``offset`` (N, 1) beside that.
        """
        images, codes = [], self._codes(z)
        told = self._condition(condition, len(codes))
        with torch.no_grad():
            for index in torch.arange(len(codes)).split(1024):
                pick = follow(self._placed(codes[index]))
                likelihood = self.vae.generate(len(index), pick, told(index)).likelihood
                likelihood = likelihood if offset is None else scaled(likelihood, offset[index])
                images.append(self._centre_of(likelihood))
        return self.reading.restore(torch.cat(images))

    def seen_from_prior(self, z: ArrayLike, condition: Any = None) -> np.ndarray:
        """Codes (N, latents) → how many deviations of its prior each latent that is a number lies from its prior's mean.

        The prior is the one given what the code has above: so in a hierarchy a step of 1 means as much in every layer. Under
        N(0, I) these are the codes themselves.
        """
        return self._walked(z, condition, lambda value, mean, width: ((value - mean) / width, value))

    def placed_by_prior(self, offsets: ArrayLike, condition: Any = None) -> np.ndarray:
        """The way back: offsets (N, latents) → codes, each layer laid by its prior given the layers above it."""

        def place(value: Tensor, mean: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
            z = torch.addcmul(mean, width, value)
            return z, z

        return self._walked(offsets, condition, place)

    def _walked(
        self, values: ArrayLike, condition: Any, turn: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> np.ndarray:
        """Down the layers, each told of its part of the values what is found and what z it is."""
        parts = self._codes(values).split(self.sizes, 1)
        told = self._condition(condition, len(parts[0]))
        found = []

        def pick(site: Site) -> Step:
            value = parts[site.index].view(-1, *site.layer.event)
            if site.layer.space == "real":
                kept, z = turn(value, *spread_of(site.layer, site.p, value))
            else:
                kept = z = site.layer.q.place(value)
            found.append(kept.flatten(1))
            return Step(site.p, site.p, z)

        with torch.no_grad():
            n = len(parts[0])
            self.vae.walk(self.vae.root(n, told(torch.arange(n))), [None] * len(self.vae.layers), pick)
        return torch.cat(found, 1).numpy()

    def draw_codes(self, n: int, seed: int = 0, condition: Any = None) -> np.ndarray:
        """Draws z ~ p(z), (n, latents), the layers side by side."""
        self.require_latents()
        told = self._condition(condition, n)
        with torch.no_grad(), seeded(seed):
            chunks = [self.vae.walk(self.vae.root(len(some), told(some)), [None] * len(self.vae.layers), pick_prior())[0]
                      for some in torch.arange(n).split(1024)]  # fmt: skip
        return torch.cat([torch.cat([step.z.flatten(1) for step in steps], 1) for steps in chunks]).numpy()

    def complete(
        self, z: ArrayLike, layers: int, seed: int | None = None, temperature: float = 1.0, condition: Any = None
    ) -> np.ndarray:
        """Codes (N, latents) whose first layers, from the top, are kept, and whose others are what the model makes of these.

        Args:
            z: (N, latents); what it says of the other layers is not looked at.
            layers: how many are kept.
            seed: of the draws of the others; the centres of what is expected of them if left open.
            temperature: of the draws.
            condition: what a model with a condition is told, as :meth:`sample` is.
        """
        codes, count = self._codes(z), len(self.vae.layers)
        told = self._condition(condition, len(codes))
        if not 0 <= layers <= count:
            raise InputError("layers", f"is {layers}", f"give 0 to {count}, the layers of the model")
        pick = centre if seed is None else pick_prior(temperature)
        found = []
        with torch.no_grad(), seeded(seed or 0):
            for index in torch.arange(len(codes)).split(1024):
                kept = follow(self._placed(codes[index])[:layers], pick)
                steps, _ = self.vae.walk(self.vae.root(len(index), told(index)), [None] * count, kept)
                found.append(torch.cat([step.z.flatten(1) for step in steps], 1))
        return torch.cat(found).numpy()

    def place(self, z: ArrayLike) -> np.ndarray:
        """The nearest code that the latents can take to each of those made by hand, (N, latents).

        On a sphere that is the point in the same direction; where every vector is a code, it is z itself.
        """
        return torch.cat([value.flatten(1) for value in self._placed(self._codes(z))], 1).numpy()

    @property
    def usual(self) -> str | None:
        """The condition under which draws are like the data: those of the data, where there are conditions."""
        return "data" if self.reading.conditions else None

    def told(self, value: Any, n: int, seed: int = 0) -> Tensor | None:
        """What each of n examples is conditioned on, (n, C) numbers, none of a model without conditions.

        Args:
            value: as :meth:`sample` is told it.
            n: how many.
            seed: of which training examples, where that is ``"data"``.

        Raises:
            InputError: where the model is conditioned on something and is not told what, or what it never saw.
        """
        conditions = self.reading.conditions
        if not conditions:
            if value is not None:
                problem = "is given, and the model is conditioned on nothing"
                raise InputError("condition", problem, "leave it out, or train with --data.condition")
            return None
        if value is None:
            names = ", ".join(condition.name for condition in conditions)
            examples = [each.categories[0] if each.categories else f"{each.mean:.4g}" for each in conditions]
            said = [f"{each.name}={value}" for each, value in zip(conditions, examples, strict=True)]
            mend = f"say which, as in --condition {examples[0] if len(said) == 1 else ','.join(said)}"
            raise InputError("condition", f"is not given, and the model is conditioned on {names}", mend)
        if isinstance(value, str) and value == "data":
            some = self._known("condition")
            rows = some[torch.randint(len(some), (n,), generator=torch.Generator().manual_seed(seed))]
        else:
            rows = value if isinstance(value, Tensor) else given(conditions, value, n)
        return rows.expand(n, -1).to(self.vae.shift.device)

    def _condition(self, value: Any, n: int, seed: int = 0) -> Callable[[Tensor], Tensor | None]:
        """The same as an index of rows → (…, C)."""
        rows = self.told(value, n, seed)
        return lambda index: None if rows is None else rows[index]

    def _known(self, what: Literal["condition", "offset"]) -> Tensor:
        """What is known of training examples, (N, …)."""
        known = getattr(self.dataset().seen, what)
        if known is None:
            raise InputError("data", f"have no {what} any more", "restore them as they were in training")
        return known

    def _offsets(self, n: int, seed: int) -> Tensor | None:
        """The known log-scales of n draws: those of training examples at random, as what is modelled is x given them."""
        if self.reading.library is None:
            return None
        some = self._known("offset")
        return some[torch.randint(len(some), (n,), generator=torch.Generator().manual_seed(seed))]

    @property
    def notes(self) -> list[str]:
        """What was decided in reading the data, such as which columns were left out: what the command line says in its first
        lines."""
        return self.data.notes() if self.data is not None else list(self.facts.get("notes") or ())

    @property
    def proper(self) -> bool:
        """Whether there is an evidence lower bound."""
        return all(layer.posterior.proper for layer in self.experiment.model.layers)

    @property
    def averaged(self) -> bool:
        """Whether E[x|z] is what :meth:`decode` gives."""
        return self.experiment.model.chosen[0].averaged

    @property
    def decodings(self) -> str:
        """What :meth:`decode` gives, in words."""
        return "means of p(x|z)" if self.averaged else "draws from p(x|z) by the same random numbers"

    @property
    def real(self) -> bool:
        """Whether every vector is a code."""
        return all(layer.posterior.space == "real" for layer in self.experiment.model.layers)

    @property
    def centre(self) -> str:
        """What :meth:`encode` gives of a posterior, in words."""
        return "posterior mean" if self.real else "posterior centre"

    @property
    def reach(self) -> float:
        """How far to either side of 0 an element of a code is worth looking at."""
        return 3.0 if self.real else 1.0  # what is not real is a direction or a choice, of elements from −1 to 1

    @property
    def variables(self) -> list[Variable]:
        """The latents one by one, in the order of a code's columns; the summary's KL is of each where posterior and prior
        factorise."""
        found, start = [], 0
        for layer, size in zip(self.vae.layers, self.sizes, strict=True):
            values = None if layer.q.values is None else layer.q.values.detach().cpu().numpy()
            found += [Variable(start + place, values, layer.space == "real") for place in range(0, size, layer.q.block)]
            start += size
        return found

    @property
    def latent_names(self) -> list[str]:
        """What they are called: z0, z1, …; of several layers each with its layer, counted from the top."""
        blocks = (size // layer.q.block for layer, size in zip(self.vae.layers, self.sizes, strict=True))
        layers = [i for i, count in enumerate(blocks, 1) for _ in range(count)]
        several = len(self.vae.layers) > 1
        return [f"z{i}" + f", layer {layer}" * several for i, layer in enumerate(layers)]

    @property
    def sizes(self) -> list[int]:
        """How many columns of a code each layer has, top first."""
        return [torch.Size(layer.event).numel() for layer in self.vae.layers]

    def require_latents(self) -> None:
        """Refuse a model of no layers what only codes have.

        Raises:
            InputError: with what can be done instead.
        """
        if not self.vae.layers:
            raise InputError(
                "model.layers", "is empty, so the run has no latents and no codes", "evaluate it, or sample"
            )

    def _codes(self, z: ArrayLike) -> Tensor:
        self.require_latents()
        codes, width = torch.as_tensor(np.asarray(z), dtype=self.vae.shift.dtype), sum(self.sizes)
        if codes.ndim != 2 or codes.shape[1] != width:
            raise InputError("z", f"has shape {tuple(codes.shape)}", f"give codes of shape (N, {width})")
        return codes

    def _placed(self, codes: Tensor) -> list[Tensor]:
        """Codes (N, latents) as values that the latents can take, (N, *event) for each layer."""
        parts = zip(codes.split(self.sizes, 1), self.vae.layers, strict=True)
        return [layer.q.place(part.view(-1, *layer.event)) for part, layer in parts]

    def reconstruct(self, x: ArrayLike | Split, layers: int | None = None, condition: Any = None) -> np.ndarray:
        """What :meth:`decode` gives at the posterior mean of z, for examples (N, *raw shape).

        Args:
            x: the examples.
            layers: how many, from the top, are told of x; those below are at the centre of what they expect, so that with
                more of them a picture comes out bit by bit. All of them if left open.
            condition: as of :meth:`encode`.
        """
        if layers is None:
            split = self._split(x, condition)
            return self.decode(self.encode(split), split.condition, split.offset)
        self.require_latents()
        if not 0 <= layers <= len(self.vae.layers):
            raise InputError("layers", f"is {layers}", f"give 0 to {len(self.vae.layers)}, the layers of the model")
        feed, images = self._feed(x, condition), []
        with torch.no_grad():
            for index in torch.arange(len(feed), device=feed.x.device).split(1024):
                batch = feed.still(index)
                root = self.vae.root(len(index), batch.condition)
                steps, _ = self.vae.walk(root, self.vae.evidence(batch), centre)  # whichever way z is inferred
                kept = follow([step.z for step in steps[:layers]], centre)
                trace = self.vae.descend(root, [None] * len(steps), kept)
                images.append(self._centre_of(trace.given(batch)))
        return self.reading.restore(torch.cat(images))

    def sample(
        self,
        n: int = 16,
        temperature: float | Sequence[float] = 1.0,
        seed: int | None = None,
        means: bool = False,
        keep: int = 0,
        condition: Any = None,
    ) -> np.ndarray:
        """New data: z ~ p(z), x ~ p(x|z).

        Args:
            n: how many.
            temperature: scales the spread of the prior, one for all layers or one for each; below 1 gives likelier, less
                varied data.
            seed: of the draws; other ones each time if left open.
            means: give E[x|z] instead of a draw of x; a draw all the same where there is no such mean.
            keep: how many layers, from the top, are drawn once and shared by all: what is below is drawn anew.
            condition: what the model is to be conditioned on, where it is: a value, a dictionary of values, one or n of each;
                or ``"data"`` for those of training examples drawn at random.

        Returns:
            (n, *raw shape).
        """
        count = len(self.vae.layers)
        each = [float(t) for t in np.ravel(temperature)]  # numbers of any kind
        if n < 1:
            raise InputError("n", f"is {n}", "give 1 or more")
        if not each or not all(0 < t < math.inf for t in each):
            raise InputError("temperature", f"is {', '.join(f'{t:g}' for t in each)}", "give a number above 0")
        if not count and each != [1]:
            problem = (
                f"is {', '.join(f'{t:g}' for t in each)}, and the model has no latents whose prior it could act on"
            )
            raise InputError("temperature", problem, "leave it out")
        if len(each) not in (1, count):
            raise InputError(
                "temperature",
                f"has {len(each)} numbers for {count} layer{'s'[: count != 1]}",
                "give one, or one a layer",
            )
        if not 0 <= keep <= count:
            raise InputError("keep", f"is {keep}", f"give 0 to {count}, the layers of the model")
        drawn, seed = [], secrets.randbits(62) if seed is None else seed
        told, scales = self._condition(condition, n, seed), self._offsets(n, seed)
        with torch.no_grad(), seeded(seed):
            pick = pick_prior(each)
            first = torch.arange(1)
            kept = [step.z for step in self.vae.generate(1, pick, told(first)).steps[:keep]] if keep else []
            for chunk in torch.arange(n).split(1024):
                top = [z.expand(len(chunk), *z.shape[1:]) for z in kept]
                likelihood = self.vae.generate(len(chunk), follow(top, pick), told(chunk)).likelihood
                likelihood = likelihood if scales is None else scaled(likelihood, scales[chunk])
                drawn.append(self._centre_of(likelihood) if means and self.averaged else self._draw_of(likelihood))
        return self.reading.restore(torch.cat(drawn))

    def compress(
        self,
        x: ArrayLike | Split,
        seed: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Archive:
        """Examples (N, *raw shape) as the content of a file, of about −ELBO bits; :meth:`decompress` gives them back.

        Where grey values are binarised anew at each pass, what is compressed is one draw, that of a static binarisation.

        Args:
            x: (N, *raw shape), whole numbers.
            seed: of the binarisation, and of the first bits that latents are drawn by.
            progress: told how many examples are done, of how many.

        Raises:
            InputError: where a part of the model cannot be coded, or x is not such as the model was trained on.
        """
        require_codable(self.experiment.model, self.reading.support, torch.Size(self.reading.shape).numel(),
                        self.reading.conditioned)  # fmt: skip
        split = self._split(x)
        require_possible(split)
        return compressed(self.vae, self.reading, split, seed, progress)

    def decompress(
        self, content: bytes, name: str = "FILE", progress: Callable[[int, int], None] = lambda done, total: None
    ) -> np.ndarray:
        """The examples (N, *raw shape) in the content of a file, every byte as it was; ``name`` is what errors call it.

        Raises:
            InputError: where the file is damaged, or was made by another model.
        """
        require_codable(self.experiment.model, self.reading.support, torch.Size(self.reading.shape).numel(),
                        self.reading.conditioned)  # fmt: skip
        return decompressed(self.vae, self.reading, content, name, progress)

    def evaluate(
        self,
        data: Dataset | str | None = None,
        samples: int = 100,
        limit: int | None = None,
        iw_limit: int | None = None,
        seed: int = 0,
        root: str | None = None,
        progress: Callable[[float, int], None] = lambda done, total: None,
        condition: Any = None,
    ) -> dict[str, Any]:
        """Lower bounds of log p(x) on the test split, or on other data read the same way; see :mod:`taut.evaluation`.

        Where these data have labels or factors that the run's have, ``quality`` says what the codes tell of them; ``notes``
        say what was decided in reading them.
        """
        subject = self.subject(data, seed, root, condition)
        result = evaluate(subject, samples, limit, iw_limit, progress)
        result |= {"notes": list(subject.split.notes)} if subject.split.notes else {}
        found = self._quality(subject.split.take(slice(limit)), root)
        return result | {"quality": found} if found else result

    def subject(
        self, data: Dataset | str | None = None, seed: int = 0, root: str | None = None, condition: Any = None
    ) -> Subject:
        """This model and the examples on which it is measured: the test split, or other data read the same way.

        Results are kept in the folder ``evaluations`` of the run. A ``condition`` stands for that of the data, as in
        :meth:`encode`.
        """
        if data is None:
            split, name = self.test_split(root), "test"
        elif isinstance(data, Dataset):
            split, name = self._comparable(data), "test"
        else:
            split, name = read_like(self.reading, data, root), str(data)
        split = self._split(split, condition)
        require_possible(split)
        kept = Ledger(None if self.folder is None else self.folder / "evaluations")
        return Subject(self.vae, split, self.reading, name, seed, kept, {"taut": __version__})

    def judge(self, n: int = 1000, seed: int = 0, root: str | None = None) -> dict[str, Any]:
        """Draws x ~ p(x) beside training and test examples: are they new, true to the data, and varied?

        See :mod:`taut.evaluation.draws` for what is returned; empty for a model with codes and no distribution of them.

        Args:
            n: how many draws.
            seed: of the draws, of dynamic binarisation, and of which training examples are looked at.
            root: where named data lie.
        """
        if not self.proper:
            return {}
        data = self.dataset(root)
        space = Space.of(data)
        generator = torch.Generator().manual_seed(seed)
        some = torch.randperm(len(data.seen), generator=generator)[:POOL]
        with seeded(seed):
            train, test = (
                space.points(self.reading.restore(Feed(split, self.reading).batch(index).x))
                for split, index in (
                    (data.seen, some),
                    (data.test, torch.randperm(len(data.test), generator=generator)[:n]),
                )
            )
        return judge(space.points(self.sample(n, seed=seed, condition=self.usual)), test, train)

    def _comparable(self, data: Dataset) -> Split:
        """The test split of a data set, without labels and factors that are not the run's."""
        labels, factors = (
            list(theirs or ()) == list(self.facts.get(name) or ())
            for name, theirs in (("label_names", data.label_names), ("factor_names", data.factor_names))
        )
        test = data.test
        return replace(test, labels=test.labels if labels else None, factors=test.factors if factors else None)

    def _quality(self, split: Split, root: str | None) -> dict[str, Any]:
        if any(condition.name == "labels" for condition in self.reading.conditions):
            split = replace(split, labels=None)  # what the encoder was told, codes need not tell
        if not self.vae.layers or (split.labels is None and split.factors is None):
            return {}
        train, why = None, ""
        try:
            train = self.dataset(root).seen
        except InputError as error:
            why = f"the training split, from which it is learnt, is not at hand ({error})"
        return quality(self.encode, split, train, tuple(self.facts.get("factor_names") or ()), why)

    def dataset(self, root: str | None = None) -> Dataset:
        """The data that the run was trained on, found again and checked by their hash.

        Raises:
            InputError: where they are gone or have changed.
        """
        if self.data is None:
            self.data = same_data(self.experiment.data, self.facts, root)
        return self.data

    def test_split(self, root: str | None = None) -> Split:
        """The test split of the run's own data."""
        return self.dataset(root).test

    def save(self, folder: str | Path, force: bool = False) -> Path:
        """Write the run: configuration, reading, weights and summary.

        Raises:
            InputError: where the folder exists and ``force`` is false, or cannot be made.
        """
        folder = Path(folder)
        if os.path.isdir(folder) and not force:
            raise InputError(str(folder), "exists", "name another folder, or say --force")
        made(folder)
        self.folder = folder
        write_head(folder, self.experiment, self.reading, self.facts)
        self.write()
        return folder

    def write(self) -> None:
        """Write weights and summary into the run's folder.

        Raises:
            InputError: where it has none.
        """
        if self.folder is None:
            raise InputError("run", "is in memory only", "name a folder: run.save(FOLDER)")
        write_tensors(self.folder / WEIGHTS, self.vae.state_dict(), {"format": 1})
        write_json(self.folder / SUMMARY, self.summary)

    def frame(self, x: ArrayLike, condition: Any = None) -> Any:
        """Examples (N, *raw shape), such as :meth:`sample` gives, as a table of polars: of a run on a table, with its columns,
        types and names of categories; and with those that the examples were conditioned on, if that is said, as in
        :meth:`sample`."""
        x = np.asarray(x)
        return as_frame(self.reading, x, None if condition is None else self.told(condition, len(x)))

    def impute(
        self,
        x: ArrayLike | Split,
        samples: int = 100,
        seed: int = 0,
        draw: bool = False,
        progress: Callable[[float, int], None] = lambda done, total: None,
        condition: Any = None,
    ) -> tuple[Any, Any]:
        """Examples with their missing cells filled, and how sure that is; see :func:`taut.evaluation.cells.impute`.

        Cells that the model holds impossible count as missing.

        Args:
            x: a table, an array (N, D), NaN where a cell is missing, or a split.
            samples: K, draws of z for each row.
            seed: of all draws.
            draw: fill with one draw given what is known instead of its mean: so that many fillings vary as the truth may.
            progress: told how many rows are done, of how many.
            condition: as of :meth:`encode`.

        Returns:
            What is filled and its spread, (N, D) each: means with standard deviations; of categories, zeros and ones the
            likeliest with the chance that it is another. The spread of a cell that is known is 0. Under a q that is one
            point, such as a vector-quantised one, it is that of x given z alone, and too small.
        """
        self._require_rows("impute")
        if samples < 2:
            raise InputError("samples", f"is {samples}", "give 2 or more: one draw says nothing of a spread")
        split = self._split(x, condition)
        filled, spread = impute(self.vae, self._feed(split), samples, seed, draw, progress)
        wide = np.zeros((len(filled), *self.reading.raw_shape))
        wide[:, self.reading.kept] = spread
        return self.reading.restore(filled), wide

    def score(
        self,
        x: ArrayLike | Split,
        samples: int = 32,
        seed: int = 0,
        progress: Callable[[float, int], None] = lambda done, total: None,
        condition: Any = None,
    ) -> Scores:
        """How unlikely each example is under the model, given its condition, and because of which columns; see
        :func:`taut.evaluation.cells.score`."""
        require_positive("samples", samples)
        split = self._split(x, condition)
        return score(self.vae, self._feed(split), samples, seed, split.impossible, progress)

    def _require_rows(self, what: str) -> None:
        if self.reading.fields is None:
            why = "and the run's data have no missing cells, nor columns of their own kinds"
            raise InputError(what, f"fills the cells of tables, {why}", "train with --data.support columns")

    def _split(self, x: ArrayLike | Split, condition: Any = None) -> Split:
        """Examples with what is known of them; a condition that is given stands for that of the data."""
        split = x if isinstance(x, Split) else read_like(self.reading, x)
        if condition is None and (split.condition is not None or not self.reading.conditions):
            return split
        return replace(split, condition=self.told(condition, len(split)))

    def _feed(self, x: ArrayLike | Split, condition: Any = None) -> Feed:
        return Feed(self._split(x, condition), self.reading, self.vae.dequantise, self.vae.shift.device)

    def _centre_of(self, likelihood: torch.distributions.Distribution) -> Tensor:
        # a dequantised value lies between a whole number and the next: its mean is half a step too high
        return central(likelihood) - 0.5 if self.vae.dequantise else central(likelihood)

    def _draw_of(self, likelihood: torch.distributions.Distribution) -> Tensor:
        drawn = likelihood.sample()
        return drawn.floor() if self.vae.dequantise else drawn


def load(folder: str | Path, trust: Iterable[str] = ()) -> Run:
    """The run in a folder; the model's class need not be named.

    Args:
        folder: as `taut train` made it.
        trust: modules outside the package whose parts the configuration may name; naming them runs their code.

    Raises:
        InputError: where the folder is no run, or a file in it is missing, damaged or changed.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):  # which answers for names that no folder can have, too
        raise InputError(str(folder)[:200], "is no folder", "give a run folder that `taut train` made")
    experiment, reading, facts = read_head(folder, trust)
    if not (folder / WEIGHTS).exists() and (folder / "checkpoint.safetensors").exists():
        raise InputError(str(folder), "holds an unfinished run", f"finish it: taut train --resume {folder}")
    summary = read_json(folder / SUMMARY)
    if not isinstance(summary, dict):
        raise InputError(str(folder / SUMMARY), "is damaged", "restore it from a copy")
    weights, _ = read_tensors(folder / WEIGHTS)
    weights = {name: weight.float() if weight.is_floating_point() else weight for name, weight in weights.items()}
    blank = Statistics(
        weights.get("shift", torch.zeros(reading.shape)), weights.get("scale", torch.ones(reading.shape))
    )
    vae = experiment.model.build(reading.shape, reading.support, blank, reading.conditioned)
    try:
        vae.load_state_dict(weights)
    except RuntimeError:
        raise InputError(
            str(folder / WEIGHTS), "does not fit the model in config.yaml", "restore both from a copy"
        ) from None
    return Run(vae.eval().requires_grad_(False), experiment, reading, facts, summary, folder)


def require_possible(split: Split) -> None:
    """Refuse examples of which the model holds a cell impossible, where what is not said would be false.

    Raises:
        InputError: with where the first of them is.
    """
    if split.impossible is None:
        return
    rows = int(split.impossible.any(1).sum())
    told = next(note.partition(": taken")[0] for note in split.notes if "impossible" in note)
    problem = f"{rows:,} of {len(split):,} rows have log p(x) = −∞, as {told}"
    raise InputError("data", problem, "take such rows out, or leave such cells empty")


def as_frame(reading: Reading, x: np.ndarray, condition: Tensor | None = None) -> Any:
    """Examples (N, *raw shape) as a table of polars, with the names and types that their columns had; and in their places
    the columns that they were conditioned on (N, C)."""
    import polars

    flat = x.reshape(len(x), -1)
    names = table_names(reading)
    if reading.fields is None:
        frame = polars.DataFrame(dict(zip(names, flat.T, strict=True)))
    else:
        frame = frame_of(flat, names, reading.fields, reading.centre)
    if condition is None:
        return frame
    given = columns_of(reading.conditions, condition)
    told = {(reading.options.get("labels") or name) if name == "labels" else name: v for name, v in given.items()}
    frame = frame.with_columns(**{name: polars.Series(values) for name, values in told.items()})
    order = reading.options.get("order") or ()
    return frame.select(sorted(frame.columns, key=lambda name: order.index(name) if name in order else len(order)))
