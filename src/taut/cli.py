"""The command line: which command is meant, and one line for whatever goes wrong.

Each command is a module of :mod:`taut.commands`.
"""

from __future__ import annotations

import argparse
import codecs
import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from taut.commands.shared import Parser, fail, stop
from taut.errors import Ended, InputError, lost_device, nearest, out_of_memory
from taut.machine import free_memory

__all__ = ["main"]

HELP = """\
taut: variational autoencoders with the bound pulled tight

  taut train DATA                train a model; DATA is a file, a folder of images, or a set by name
  taut evaluate RUN              bounds of log p(x) on the test split, in nats
  taut sample RUN                new data from the model
  taut reconstruct RUN [DATA]    data through the code and back
  taut encode RUN DATA -o FILE   the posterior means
  taut impute RUN DATA -o FILE   a table with its missing cells filled, and how sure that is
  taut score RUN DATA -o FILE    how odd each row is, and because of which columns
  taut compress RUN -o FILE      data in about as many bits as the model's bound says
  taut decompress RUN FILE -o F  and back, every byte
  taut interpolate RUN [I J]     the way from one example to another
  taut traverse RUN              what each latent does
  taut compare DATA              a plain autoencoder and a VAE on the same data
  taut diff RUN1 RUN2            is one better than the other? In pairs, or not at all
  taut sweep DATA                the same model at several values of an option
  taut explore [RUN...]          a page on runs: the map, every latent, the training, the bounds
  taut tune DATA                 search for options by the bound on validation data
  taut export RUN                encoder and decoder as ONNX, or a page that decodes
  taut share RUN                 a folder with a model card, to pass on or to put on a hub
  taut recipes                   published models, ready to train

Sets by name: digits and shapes; mnist, fashion-mnist and binarized-mnist under --data-root or TAUT_DATA.
`taut COMMAND --help` says more. Try: taut train digits

Exit status: 0 done; 2 not done, and one line says why; 1 a fault in taut; 130 after Ctrl-C and 143 after SIGTERM, with
all that is worth it saved (--resume goes on).
"""


COMMANDS = (
    "train", "evaluate", "sample", "reconstruct", "encode", "impute", "score", "compress", "decompress", "interpolate",
    "traverse", "compare", "diff", "sweep", "tune", "explore", "export", "share", "recipes",
)  # fmt: skip

OUT_OF_MEMORY = (
    "memory: not enough; try fewer --objective.samples, a smaller --training.batch, "
    "a smaller model (--model.latents, --model.network), or fewer examples (--data.limit)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, as :data:`HELP` says."""
    _bound_memory()
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that went away and a full disk can still be met
        return status
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the reader went away; nothing more is to be said
        return 0
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return _failed(error)


def _run(argv: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="taut")
    trusted: Sequence[str] = ()
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _stop)
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
                signal.signal(signal.SIGHUP, _stop)
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(HELP, end="")
            return 0 if argv else 2
        if argv[0] in ("-V", "--version"):
            from taut import __version__

            print(f"taut {__version__}")
            return 0
        if argv[0] not in COMMANDS:
            raise InputError("command", f"{argv[0]!r} is none", nearest(argv[0], COMMANDS))
        command = importlib.import_module(f"taut.commands.{argv[0]}")
        parser = Parser(prog=f"taut {argv[0]}", allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter)
        command.arguments(parser)
        args = parser.read(argv[1:])
        if trusted := getattr(args, "trust", ()):
            sys.path.append(os.getcwd())  # a module beside the user, last: it must not stand in for another
        return command.run(args) or 0
    except InputError as error:
        return fail(str(error))
    except KeyboardInterrupt as stopped:
        return stop("stopped", stopped)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _failed(error)
    except Exception as error:
        if out_of_memory(error):
            return fail(OUT_OF_MEMORY)
        if lost_device(error):
            return fail(f"device: {str(error).splitlines()[0]}; see whether it is still there, and do the same again")
        if os.environ.get("TAUT_DEBUG"):
            raise
        said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        if module := _of_trusted(error, trusted):
            return fail(f"{module}: {said}; this comes from a part that is not taut's, set TAUT_DEBUG=1 to see where")
        return fail(f"{said}; this is a fault in taut, set TAUT_DEBUG=1 to see where", 1)


def _bound_memory() -> None:
    """Let the system refuse what is larger than the memory that is free: one line, where else the killer of processes comes.

    Where there is a GPU nothing is bound: its driver lays claim to addresses of which no memory is ever used.
    """
    try:
        import resource

        size = free_memory()
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft == resource.RLIM_INFINITY and not os.path.exists("/dev/nvidiactl"):
            resource.setrlimit(resource.RLIMIT_DATA, (size, hard))
    except (ImportError, AttributeError, OSError, ValueError):
        pass  # a system that knows no such bound


def _failed(error: OSError) -> int:
    """One line for what the system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return fail(f"{error.filename or 'disk'}: no space is left; free some and go on (taut train --resume RUN)")
    return fail(f"{error.filename or 'file'}: {error.strerror or error}; name another place with -o or --out")


def _of_trusted(error: Exception, trusted: Iterable[str]) -> str | None:
    """The module of the user's own that an error came through, where one was trusted by name."""
    modules = (frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((name for name in modules if name in trusted), None)


PLAIN = str.maketrans(
    {"−": "-", "–": "-", "×": "x", "≤": "<=", "‖": "||", "±": "+-", "→": "->", "…": "...", "β": "beta"}
)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What a terminal that has no − or ≤ shows instead: the sign of a number must not be lost."""
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "replace").decode(), error.end


codecs.register_error("taut", _plainly)


def _stop(number: int, frame: Any) -> NoReturn:
    """A polite request to end is met as Ctrl-C is: what is worth keeping is kept."""
    raise Ended(number)


if __name__ == "__main__":
    sys.exit(main())
