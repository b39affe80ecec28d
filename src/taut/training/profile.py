"""Where the time of training goes: some steps timed in named stretches, a few traced, and one held against its floor.

A profile looks at steps of an ordinary run and changes none of them. First some pass, while memory and caches fill; then each
stretch of a step is timed, a GPU waited for at its end; then torch's profiler writes a few steps down. Of one more
step every matrix product and convolution is noted, and these alone are run again: the floor, below which no step of this
model can be on this machine.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from taut.errors import InputError, Mishap
from taut.spans import watched

__all__ = ["STRETCHES", "Products", "Profile"]

WARM, TIMED, TRACED = 10, 20, 5  # steps, of runs that are long enough

STRETCHES = {
    "data": "examples taken, binarised or dequantised",
    "encoder": "x to what q is told",
    "latents": "priors and posteriors, z drawn",
    "decoder": "z to p(x|z)",
    "likelihood": "log p(x|z)",
    "rate": "KL, the loss, penalties",
    "backward": "all of these once more, for gradients",
    "optimiser": "weights, clipping, running average",
}
"""What a step is made of, in order, and what is meant by it."""


class Products(TorchDispatchMode):
    """Inside, each product of matrices and each convolution is noted, with tensors of the same shapes and strides."""

    which: set[Any]

    def __init__(self) -> None:
        super().__init__()
        aten = torch.ops.aten
        self.which = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default, aten.convolution.default,
                      aten.convolution_backward.default, aten.linear.default}  # fmt: skip
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in self.which:
            like = [a.detach().clone() if isinstance(a, Tensor) else a for a in args]
            self.calls.append((function, tuple(like), kwargs or {}))
        return function(*args, **(kwargs or {}))

    def run(self, times: int = 1) -> None:
        """Do them again, and nothing else."""
        with torch.inference_mode():
            for _ in range(times):
                for function, args, kwargs in self.calls:
                    function(*args, **kwargs)


class Profile:
    """Of one training; see :mod:`taut.training.profile`.

    Args:
        folder: where ``trace.json`` goes, which Chrome (about:tracing) and Perfetto open; without one nothing is measured.
    """

    folder: Path | None
    found: dict[str, Any] | None

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.found = folder, None
        self._made, self._plan = 0, None

    def begin(self, steps: int, batch: int, device: torch.device) -> Profile:
        """Get ready for so many steps.

        Raises:
            InputError: where there are too few of them.
        """
        if self.folder is None:
            return self
        if steps < 4:
            raise InputError("--profile", f"has {steps} step{'s'[: steps != 1]} to look at", "train for 4 or more")
        self._batch, self._device = batch, device
        self._warm, self._timed, self._traced = (min(most, steps // 4) for most in (WARM, TIMED, TRACED))
        self._seconds, self._stretches = [], dict.fromkeys(STRETCHES, 0.0)
        self._plan = self._course()
        return self

    @property
    def watching(self) -> bool:
        """Whether anything is measured."""
        return self.folder is not None

    def step(self) -> contextlib.AbstractContextManager[Any]:
        """Around all of a step."""
        return contextlib.nullcontext() if self._plan is None else next(self._plan, contextlib.nullcontext())

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        if self._plan is not None:
            if kind is None:
                next(self._plan, None)  # where the last step of the run was the last of the profile
            self._plan.close()

    def _course(self) -> Iterator[contextlib.AbstractContextManager[Any]]:
        for _ in range(self._warm):
            yield contextlib.nullcontext()
        for _ in range(self._timed):
            yield self._whole()
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells of its own course on stderr
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as tracer:
            for _ in range(self._traced):
                yield self._named()
        self._write(tracer)
        products = Products()
        yield products
        self._conclude(products)

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        with watched(self._time):
            begin = self._now()
            yield
            self._seconds.append(self._now() - begin)

    @contextlib.contextmanager
    def _time(self, name: str) -> Iterator[None]:
        begin = self._now()
        yield
        self._stretches[name] += self._now() - begin

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        with torch.profiler.record_function("step"), watched(torch.profiler.record_function):
            yield

    def _now(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()

    def _write(self, tracer: torch.profiler.profile) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            aside = self.folder / ".trace.json"
            tracer.export_chrome_trace(str(aside))
            os.replace(aside, self.folder / "trace.json")
        except (OSError, RuntimeError) as error:
            raise Mishap(
                str(self.folder), f"cannot be written ({error})", "free some space, or leave --profile out"
            ) from None

    def _conclude(self, products: Products) -> None:
        products.run()
        times: list[float] = []
        while sum(times) < sum(self._seconds) or len(times) < len(self._seconds):
            begin = self._now()
            products.run()
            times.append(self._now() - begin)
        n = len(self._seconds)
        # the quickest of each, which what else the machine does has slowed least
        step, floor = sum(self._seconds) / n, min(times)
        stretches = {name: seconds / n for name, seconds in self._stretches.items()}
        self.found = {
            "batch": self._batch,
            "steps": {"passed": self._warm, "timed": self._timed, "traced": self._traced},
            "seconds_a_step": step,
            "examples_per_second": self._batch / step,
            "stretches": stretches | {"rest": step - sum(stretches.values())},
            "products": len(products.calls),
            "floor_seconds": floor,
            "share_of_floor": floor / min(self._seconds),
        }
