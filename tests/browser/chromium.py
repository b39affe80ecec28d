"""Starting the browser and the server that tests look at, and going to a view."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

from playwright.sync_api import Browser, Page, Playwright

from taut.page.catalogue import Catalogue, identity
from taut.page.server import Office, opened

__all__ = ["DRAWN", "calm", "launched", "started", "visit"]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
DRAWN = ("map", "latents", "between", "samples")  # these say when they have drawn, or why they cannot


def launched(playwright: Playwright) -> Browser:
    """The system's Chromium; one that is missing is an error, never a reason to skip."""
    return playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)


def started(runs: Path) -> SimpleNamespace:
    """A server over a folder of runs, in a thread: its address, the address without its token, and how to stop it."""
    office = Office(Catalogue([runs]))
    server, listening, address = opened(office)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join(10)
        office.close()
        listening.close()

    return SimpleNamespace(address=address, base=address.split("?")[0], stop=stop, office=office)


CALM = """async () => {
  const frame = () => new Promise(resolve => requestAnimationFrame(resolve))
  const view = document.getElementById('view')
  for (let quiet = 0; quiet < 3; quiet = view.getAttribute('aria-busy') === 'true' ? 0 : quiet + 1) await frame()
}"""


def calm(page: Page) -> None:
    """Wait until no answer is awaited, and what came is drawn."""
    page.evaluate(CALM)


def visit(page: Page, runs: Path, name: str, view: str, query: str = "") -> None:
    """Go to a view of a run and wait until it shows something."""
    page.evaluate("hash => { location.hash = hash }", f"#/{identity(runs / name)}/{view}{query}")
    page.wait_for_selector(f"main.view-{view} h1")
    if view in DRAWN:
        page.wait_for_selector(f"main.view-{view}[data-shown], main.view-{view} .failure")
