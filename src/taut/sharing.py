"""A run as a folder to pass on: weights, configuration, numbers and a model card, to a disk or to a model hub.

    FOLDER/README.md            the card: a YAML header that hubs read, then what a person must know
        config.yaml  data.json  model.safetensors  summary.json      as in a run

What comes from others is read as any run is: weights from safetensors alone, and parts outside the package only if trusted by
name. Nothing but these five files is fetched.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from taut import __version__
from taut.config import write_yaml
from taut.errors import InputError
from taut.runs import CONFIG, DATA, SUMMARY, Run, load
from taut.training.checkpoint import WEIGHTS, write_atomically

__all__ = ["card", "from_pretrained", "push_to_hub", "save_pretrained"]

CARD = "README.md"
FILES = (CARD, CONFIG, DATA, WEIGHTS, SUMMARY)
MADE = ("evaluations", "explore", "export", "web")  # what commands keep or write in such a folder


def save_pretrained(run: Run, folder: str | Path, force: bool = False, licence: str | None = None) -> Path:
    """Write a run as a folder to pass on. Of where the data lay on this machine it keeps the last name alone.

    Args:
        run: trained.
        folder: new, unless ``force``, which replaces the files of an earlier one.
        force: overwrite; what commands made of the earlier one in its folder goes with it.
        licence: of the weights, as hubs name it, such as ``apache-2.0``; the card says nothing of it if left open.

    Raises:
        InputError: where the folder exists, holds what is no part of such a folder, or cannot be made.
    """
    folder = Path(folder)
    there = {path.name for path in folder.iterdir()} if os.path.isdir(folder) else set()
    if foreign := sorted(there - {*FILES, *MADE}):
        raise InputError(
            str(folder), f"also holds {foreign[0]}, which is no part of a model to pass on", "name another folder"
        )
    data, training = run.experiment.data, run.experiment.training
    data = replace(
        data, root=None, source=Path(data.source).name if run.reading.origin not in ("named", "array") else data.source
    )
    if training.start is not None:
        training = replace(training, start=replace(training.start, run=Path(training.start.run).name))
    passed = replace(run, experiment=replace(run.experiment, data=data, training=training), folder=None)
    passed.save(folder, force)
    for name in there & {*MADE}:  # they tell of the model that was there before
        shutil.rmtree(folder / name, ignore_errors=True)
    write_atomically(folder / CARD, card(passed, licence).encode())
    return folder


def from_pretrained(
    name: str | Path, trust: Iterable[str] = (), revision: str | None = None, token: str | None = None
) -> Run:
    """The run in a folder, or that of a hub under OWNER/NAME.

    Args:
        name: a folder that is there, else a name on the hub.
        trust: modules outside the package whose parts the configuration may name; naming them runs their code.
        revision: which version on the hub; the newest if left open.
        token: for what is not public.

    Raises:
        InputError: where there is no such run, or it is damaged.
    """
    if Path(name).is_dir():
        return load(name, trust)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise InputError(str(name), "is no folder, and no name on a hub", "give a folder, or OWNER/NAME")
    hub = _hub()
    try:
        folder = hub.snapshot_download(str(name), revision=revision, token=token, allow_patterns=list(FILES))
    except Exception as error:  # of many kinds: no network, no such model, no leave to read it
        raise InputError(
            str(name), f"cannot be fetched ({_first(error)})", "check the name, the network and the token"
        ) from None
    return load(folder, trust)


def push_to_hub(
    run: Run, name: str, private: bool = False, licence: str | None = None, token: str | None = None
) -> str:
    """Put a run on the hub and return its address.

    Args:
        run: the run.
        name: OWNER/NAME.
        private: let nobody else see it.
        licence: of the weights, for the card.
        token: of the hub; the one that it has stored if left open.

    Raises:
        InputError: where the hub refuses it.
    """
    hub = _hub()
    with tempfile.TemporaryDirectory() as place:
        folder = save_pretrained(run, Path(place) / "model", licence=licence)
        try:
            api = hub.HfApi(token=token)
            api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=folder, commit_message=f"A model of {run.reading.name}")
        except Exception as error:
            raise InputError(
                "--push", f"{name} cannot be written ({_first(error)})", "check the name, the network and the token"
            ) from None
    return f"{getattr(api, 'endpoint', '')}/{name}"


def card(run: Run, licence: str | None = None) -> str:
    """The model card in Markdown: data, numbers with what each bounds and its standard error, how to load, limits."""
    reading, summary, model = run.reading, run.summary, run.experiment.model
    layers = " → ".join(f"{layer.latents} {type(layer.posterior).__name__}" for layer in model.layers) or "none"
    table = "\nrows = run.frame(new)  # with the names, types and categories of the table" if reading.fields else ""
    kind = {"vector": "table"}.get(reading.layout, reading.layout)
    head = f"---\n{write_yaml(_header(run, licence))}---\n"
    numbers = "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in _numbers(summary))
    told, names = _told(run), ", ".join(condition.name for condition in reading.conditions) or "nothing"
    said = "\n".join(f"- {line}" for line in _limits(run))
    return f"""{head}
# A variational autoencoder of {reading.name}

| | |
|---|---|
| data | {run.facts.get("description", reading.name)} |
| hash of the data | `{run.facts.get("hash") or "none"}` |
| likelihood | {model.likelihood.in_words(reading.support)} |
| latents, top first | {layers} |
| prior | {type(model.prior).__name__} |
| conditioned on | {names} |
| network | {type(model.network).__name__} |
| objective | {type(run.experiment.objective).__name__}, β = {run.experiment.objective.beta:g} |
| trained for | {summary.get("steps", "?")} steps, seed {run.experiment.seed} |

## Numbers

Of the {summary.get("split", "test")} split, {summary.get("n", 0):,} examples, in nats per example unless another unit
is named; ± is one standard error over examples. All constants and the Jacobian of standardising are kept.

| | value | what it is |
|---|---|---|
{numbers}

## How to load

With taut {__version__}:

```python
import taut

run = taut.from_pretrained("FOLDER or OWNER/NAME")
new = run.sample(16{told})  # {kind} data of shape {tuple(reading.raw_shape)}
codes = run.encode(new{told})  # posterior means
back = run.decode(codes{told}){table}
```

`config.yaml` holds the whole configuration; `taut evaluate FOLDER --data OTHER` measures the model on other data.

## Limits

{said}
"""


def _told(run: Run) -> str:
    """The argument by which a model with conditions is told one, for the card; empty of others."""
    value = {
        each.name: each.categories[0] if each.categories else round(each.mean, 3) for each in run.reading.conditions
    }
    return f", condition={value if len(value) > 1 else next(iter(value.values()))!r}" if value else ""


def _header(run: Run, licence: str | None) -> dict[str, Any]:
    """What hubs read."""
    summary, name = run.summary, run.reading.name
    metrics = []
    if summary.get("elbo") is not None:
        metrics.append({"type": "elbo", "name": "ELBO, nats per example", "value": round(summary["elbo"], 4)})
    if (summary.get("iw") or {}).get("value") is not None:
        iw = summary["iw"]
        metrics.append(
            {"type": "iw-elbo", "name": f"IW-{iw['k']} bound, nats per example", "value": round(iw["value"], 4)}
        )
    image = run.reading.layout == "image"
    task = "unconditional-image-generation" if image else "feature-extraction"
    results = [{"task": {"type": task}, "dataset": {"name": name, "type": name, "split": "test"}, "metrics": metrics}]
    return {
        "library_name": "taut",
        **({"license": licence} if licence else {}),
        "pipeline_tag": task,
        "tags": ["variational-autoencoder", "density-estimation", "representation-learning"],
        **({"model-index": [{"name": f"{name}-vae", "results": results}]} if metrics else {}),
    }


def _numbers(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    if summary.get("elbo") is None:
        rows.append(("ELBO", "none", summary.get("why", "not measured")))
    else:
        exact = summary.get("latent_dim") == 0 and summary.get("exactness", "exact") == "exact"
        log_p = f"log {summary.get('density', 'p(x)')}"
        meaning = f"{log_p} itself, as there are no latents" if exact else f"a lower bound of {log_p}"
        rows.append((log_p if exact else "ELBO", _measured(summary["elbo"], summary.get("elbo_stderr")), meaning))
    iw = summary.get("iw") or {}
    if iw.get("value") is not None and summary.get("latent_dim"):
        meaning = (
            f"a tighter lower bound, of {iw['k']} samples; effective sample size {iw['ess']:.1f}, {iw['n']:,} examples"
        )
        rows.append((f"IW-{iw['k']}", _measured(iw["value"], iw.get("stderr")), meaning))
    for key, name, meaning in (
        ("bits_per_dim", "bits/dim", "−ELBO shared out over the elements of x"),
        ("distortion", "distortion", "−log p(x|z): what the code leaves out"),
        ("rate", "rate", "KL(q ‖ p): what the code says"),
    ):
        if summary.get(key) is not None:
            rows.append((name, _measured(summary[key]), meaning))
    if summary.get("latent_dim"):
        active = f"{summary['active_units']} of {summary['latent_dim']}"
        rows.append(("active units", active, "latents whose q's mean, seen from the prior's, varies with x"))
    return rows


def _measured(value: float, stderr: float | None = None) -> str:
    return f"{value:,.3f}".replace("-", "−") + (f" ± {stderr:.3f}" if stderr is not None else "")


def _limits(run: Run) -> list[str]:
    summary, reading = run.summary, run.reading
    found = [
        f"It was measured on data of one kind, {reading.name}, and says nothing of others; a high bound is no proof that an"
        " example is usual, nor a low one that it is not.",
        f"It takes examples of shape {tuple(reading.raw_shape)} with {reading.support}; other values are refused.",
    ]
    if summary.get("elbo") is not None and summary.get("latent_dim"):
        found.append("The bounds lie below log p(x) by an unknown amount: two models are compared by the same bound of the same"
                     " examples (`taut diff`).")  # fmt: skip
    if run.experiment.objective.beta != 1:
        found.append(
            f"It was trained at β = {run.experiment.objective.beta:g}, so it was not made for the bound at β = 1 above."
        )
    dead = (summary.get("latent_dim") or 0) - (summary.get("active_units") or 0)
    if dead > 0:
        found.append(f"{dead} of its latents carry nothing.")
    if copies := (drawn := summary.get("draws") or {}).get("copies"):
        found.append(f"{copies:,} of {drawn['n']:,} draws nearly equal a training example.")
    return found + [f"{note}." for note in run.facts.get("notes") or []]


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise InputError("hub", "needs the package huggingface_hub", "pip install 'taut[hub]'") from None


def _first(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
