"""Sweeps: the same experiment at several values of an option, each a run of its own, measured side by side."""

from taut.sweep.plan import Plan, Point, Shelf, lay_out, split
from taut.sweep.record import reopen
from taut.sweep.run import Listener, default_jobs, sweep

__all__ = ["Listener", "Plan", "Point", "Shelf", "default_jobs", "lay_out", "reopen", "split", "sweep"]
