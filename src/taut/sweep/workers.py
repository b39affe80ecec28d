"""Processes that train points side by side, and never outlive the one that started them.

Each worker is a fresh interpreter with its share of the threads. It reads points from its standard input, a line of JSON
each, and writes what happens to its standard output likewise. Its input is its lifeline: where that ends, because the parent
closed it or is no more, however it died, the worker stops as for SIGTERM: what is worth keeping is kept. Workers have a
session of their own, so that Ctrl-C reaches the parent alone, which then lets go of all of them and waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from taut.errors import Ended, InputError, Mishap
from taut.training import Diverged, Stopped

__all__ = ["Workers"]

_START = "import sys; sys.path[:] = sys.argv[1:]; from taut.sweep.workers import work; work()"


class Workers:
    """So many processes; a context that ends with all of them gone.

    Args:
        count: how many.
        threads: of each.
    """

    count: int
    threads: int

    def __init__(self, count: int, threads: int) -> None:
        self.count, self.threads = count, threads
        self._processes: list[subprocess.Popen] = []
        self._heard: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()

    def __enter__(self) -> Workers:
        share = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        for number in range(self.count):
            process = subprocess.Popen(
                [sys.executable, "-c", _START, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=os.environ | share, start_new_session=True, encoding="utf-8",
            )  # fmt: skip
            self._processes.append(process)
            threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        return self

    def _listen(self, number: int, process: subprocess.Popen) -> None:
        for line in process.stdout:
            self._heard.put((number, json.loads(line)))
        self._heard.put((number, None))

    def send(self, number: int, task: dict[str, Any]) -> None:
        """Give a worker something to do."""
        with contextlib.suppress(OSError):  # it is gone, as hear() will say
            self._processes[number].stdin.write(json.dumps(task) + "\n")
            self._processes[number].stdin.flush()

    def hear(self) -> tuple[int, dict[str, Any]]:
        """What a worker says next, and which it is.

        Raises:
            InputError: where one met a mistake, or is gone.
            OSError, RuntimeError: where one met such an error.
        """
        number, said = self._heard.get()
        if said is None:
            status = self._processes[number].wait()
            why = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            raise InputError(
                "--jobs",
                f"is {self.count}, and a worker {why}",
                "go on with taut sweep --resume DIR, and with fewer if memory ran out",
            )
        if "mistake" in said:
            raise InputError(*said["mistake"])
        if "mishap" in said:
            raise Mishap(*said["mishap"])
        if "system" in said:
            raise OSError(*said["system"])
        if "fault" in said:
            raise RuntimeError(said["fault"])
        return number, said

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            for process in self._processes:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            for process in self._processes:
                process.wait()
        except KeyboardInterrupt:  # a second one does not wait
            for process in self._processes:
                process.kill()
            raise


def work() -> None:
    """What a worker does: carry out the points it is given, until its input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed is none of what the parent reads

    def say(what: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: the lifeline will say so
            print(json.dumps(what), file=out, flush=True)

    signal.signal(signal.SIGTERM, _end)
    tasks: queue.Queue[dict[str, Any]] = queue.Queue()
    try:
        threading.Thread(target=_read, args=(tasks,), daemon=True).start()
        _carry_out(tasks, say)
    except (KeyboardInterrupt, Stopped):
        pass
    except InputError as error:
        say({"mishap" if isinstance(error, Mishap) else "mistake": (error.field, error.problem, error.mend)})
    except OSError as error:
        say({"system": (error.errno, error.strerror, error.filename)})
    except MemoryError:
        say({"fault": "out of memory"})
    except Exception as error:
        say({"fault": f"{type(error).__name__}: {error}"})
    out.close()
    os._exit(0)  # all files are closed, and taking a large interpreter apart would keep the parent waiting for seconds


def _carry_out(tasks: queue.Queue[dict[str, Any]], say: Callable[[dict[str, Any]], None]) -> NoReturn:
    import torch

    from taut.config import parse
    from taut.experiment import Experiment
    from taut.sweep.plan import Shelf
    from taut.sweep.run import carry_out_point

    torch.set_flush_denormal(True)  # as the process that is asked for the sweep has it
    shelf = Shelf()
    while True:
        task = tasks.get()
        trust = tuple(task["trust"])
        experiment = parse(Experiment, task["experiment"], trust=trust)
        data = shelf.open(experiment.data)
        try:
            carry_out_point(
                experiment, data, Path(task["folder"]), trust,
                lambda event: say({"event": asdict(event)}), lambda stage: say({"stage": stage}),
            )  # fmt: skip
            say({"done": True})
        except Diverged as error:
            say({"failure": str(error)})


def _read(tasks: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGTERM)


def _end(number: int, frame: Any) -> NoReturn:
    raise Ended(number)
