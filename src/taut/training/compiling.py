"""A step as one graph for torch's compiler (``training.compile``): the losses of the plain step, to rounding.

What is compiled is model, loss and gradient, from a batch on; optimiser and averages are few calls on all weights at once and
stay as they are. Draws are left to torch's own generators, so that a compiled step draws the noise of the plain one and leaves
the generators where that does; a run goes on from its checkpoint as ever. β and the progress of the run come in as tensors:
numbers would be compiled into the graph, and it anew with each of them.

On a GPU each graph is captured as a CUDA graph in its first steps and replayed from then on. **Untested on a GPU.**
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from taut.data import Batch
from taut.errors import lost_device, out_of_memory
from taut.objectives.base import Outcome
from taut.training.company import Company
from taut.training.spec import Training
from taut.training.validation import seeded

__all__ = ["hastened", "lacking"]

Step = Callable[[Batch, float, float], Outcome]
CXX = {"darwin": "clang++", "win32": "cl"}  # what torch looks for, elsewhere g++


def lacking(device: torch.device) -> str:
    """What a compiler for a device would need that this machine does not have; nothing if it is all there."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    name = os.environ.get("CXX") or CXX.get(sys.platform, "g++")
    return "" if shutil.which(name) else f"there is no C++ compiler ({name}, or another by CXX)"


def hastened(
    learner: nn.Module,
    spec: Training,
    steps: int,
    beta: float,
    some: Callable[[], Batch],
    company: Company,
    watched: bool = False,
) -> tuple[Step, str]:
    """The step to train with, compiled where that is asked for and works, and what is to be said of it.

    It is tried on a batch first, gradient and all, of which nothing stays behind.

    Args:
        learner: set up by fabric.
        spec: whether to compile.
        steps: of the run.
        beta: the largest that the run has, of the objective.
        some: gives a batch such as all others.
        company: which must all compile, or none.
        watched: whether the stretches of a step are timed, which a graph does not have.

    Raises:
        RuntimeError: for want of memory, or of a device, as any step may.
    """
    device = company.fabric.device
    if not spec.compiles(steps):
        return learner, ""
    if spec.takes_turns:  # a graph would be made anew, in mid-run, for each set of weights that learn
        return learner, "not compiled: parts of the model learn in turns"
    if watched:
        return learner, "not compiled, so that the stretches of a step can be told apart"
    missing = lacking(device)
    if company.most(bool(missing)):
        return learner, f"not compiled: {missing or 'another process has no compiler'}"
    torch._logging.set_logs(all=logging.ERROR)  # where it gives up a part, that part is as it would have been
    torch.compiler.reset()  # it remembers the models before, and after eight of them gives up in silence
    graphs = device.type == "cuda" and company.alone
    kept, failure = [buffer.clone() for buffer in learner.buffers()], ""
    try:
        with seeded(0, device), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the compiler thinks of other people's code
            step = _step(learner, torch.compile(learner, dynamic=False, **_compiler(graphs)), beta, graphs)
            batch = some()
            for _ in range(3 if graphs else 1):
                company.fabric.backward(step(batch, beta, 0.0).loss)
                learner.zero_grad()
    except Exception as error:  # whatever a compiler may raise, the plain step is still there
        if out_of_memory(error) or lost_device(error):
            raise
        failure = next(iter(str(error).splitlines()), "")[:120] or type(error).__name__
    learner.zero_grad()
    with torch.no_grad():
        for buffer, before in zip(learner.buffers(), kept, strict=True):
            buffer.copy_(before)
    if company.most(bool(failure)):
        return learner, f"not compiled: the compiler failed ({failure or 'in another process'})"
    return step, ""


def _compiler(graphs: bool) -> dict[str, Any]:
    """Which compiler of torch's, and how."""
    return {"backend": "inductor", "options": {"fallback_random": True, "triton.cudagraphs": graphs}}


def _step(plain: Step, compiled: Step, target: float, graphs: bool) -> Step:
    def told(value: float, device: torch.device) -> Tensor:
        return torch.full((), value, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)

    def step(batch: Batch, beta: float, progress: float) -> Outcome:
        if beta == 0 != target:  # a moment at the start of a warm-up, whose loss has fewer terms
            return plain(batch, beta, progress)
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()
        device = batch.x.device
        return compiled(batch, told(beta, device) if beta else 0.0, told(progress, device))

    return step
