"""A process that has everything imported and forks a child for each command, so that fifty kills cost no fifty starts.

It reads commands from its standard input, a line of JSON each, and answers each with how the child ended. A command says when
its child is killed, by SIGKILL: after so many seconds of work, at a step of training, or at a call of the system that brings a
file to the disk or gives it its name, before it, after it, or with half of the file written. What a child would print is in
the command's files.

Nothing is computed before a fork: torch has no threads yet that a child would miss.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def count_calls(told: dict[str, Any]) -> None:
    """Number the calls that write files in one row, before each and after it; die at one of them, or write down how many."""
    number, at = 0, told.get("call")

    def counted(call: Any, *given: Any, **named: Any) -> Any:
        nonlocal number
        number += 1
        if number == at:
            if told.get("half") and call is fsync:
                os.ftruncate(given[0], os.fstat(given[0]).st_size // 2)
            kill()
        found = call(*given, **named)
        number += 1
        if number == at:
            kill()
        return found

    fsync, replace = os.fsync, os.replace
    os.fsync = lambda *given: counted(fsync, *given)
    os.replace = lambda *given, **named: counted(replace, *given, **named)
    told["calls"] = lambda: number


def die_at_step(at: int) -> None:
    """Die in the middle of a step of training: the weights are new, and nothing else is."""
    from taut.training.average import Average

    update = Average.update

    def updated(self: Average, step: int) -> None:
        if step == at:
            kill()
        update(self, step)

    Average.update = updated


def without_pictures() -> None:
    """A report of one word: pictures take nine tenths of a small run, and are the same after any kill."""
    import taut.report.publish
    import taut.sweep.run
    from taut.training.checkpoint import write_atomically

    taut.report.publish.publish = lambda run, data, folder, metrics: write_atomically(folder / "report.html", b"report")
    taut.sweep.run.publish_sweep = lambda record, data, folder, experiment: None


def child(told: dict[str, Any]) -> int:
    import taut.evaluation.ledger
    from taut.cli import main

    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(told[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(told["cwd"])
    taut.evaluation.ledger.EVERY = told.get("every", 10.0)
    without_pictures()
    count_calls(told)
    if "step" in told:
        die_at_step(told["step"])
    status = main(told["argv"])
    sys.stdout.flush()
    while "seconds" in told:  # what is asked to be killed is, even if it was done a moment before
        time.sleep(1)
    with open(told["out"] + ".calls", "w") as file:
        file.write(str(told["calls"]()))
    return status


def worked(number: int, begun: float) -> float:
    """How many seconds of a processor a child has used: what the clock says depends on who else is at work."""
    try:
        with open(f"/proc/{number}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except OSError:  # not Linux
        return time.monotonic() - begun


def serve() -> None:
    import constriction  # noqa: F401
    import lightning_fabric  # noqa: F401
    import torch

    import taut.codec
    import taut.commands.compress
    import taut.commands.evaluate
    import taut.commands.sweep
    import taut.commands.train
    import taut.console
    import taut.report.publish
    import taut.sweep.run  # noqa: F401

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        told = json.loads(line)
        number = os.fork()
        if number == 0:
            status = 1
            try:
                status = child(told)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(status)
        if "seconds" in told:
            begun = time.monotonic()
            while worked(number, begun) < told["seconds"]:
                time.sleep(0.002)
            os.kill(number, signal.SIGKILL)  # not yet waited for, so the number is still its own
        _, status, used = os.wait4(number, 0)
        answers.write(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]) + "\n")
        answers.flush()
    os._exit(0)  # taking a large interpreter apart takes seconds


if __name__ == "__main__":
    serve()
