"""The pictures of docs/explore.md: runs are trained, the page is opened on them in a headless Chromium, and each view is taken.

    python docs/explore/make.py [--runs DIR] [--data-root DIR] [--only NAME ...]

Runs that are missing in DIR (``runs/docs``) are trained into it, some minutes in all. MNIST must be under --data-root or
TAUT_DATA. Chromium is looked for at /usr/bin/chromium. A picture is a row of PICTURES.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
LARGEST = 200_000  # bytes of a picture

MNIST = ["train", "mnist", "--data.binarize", "dynamic", "--model.latents", "2", "--model.network", "MLP",
         "--model.network.hidden", "512,256", "--minutes", "4"]  # fmt: skip
DIGITS = ["train", "digits", "--model.latents"]

# name: the command that makes it, and others that measure it
RUNS = {
    "mnist, two latents": [MNIST],
    "digits, two latents": [[*DIGITS, "2", "--epochs", "60"],
                            ["evaluate", "RUN", "--ais", "--bdmc", "--gaps", "--exact", "--samples", "1000",
                             "--ais-limit", "40", "--gaps-limit", "20", "--temperatures", "300", "--chains", "8"]],
    "digits, ten latents": [[*DIGITS, "10", "--epochs", "60"]],
    "digits, told a label": [[*DIGITS, "4", "--data.condition", "labels", "--epochs", "60"]],
    "digits, three layers": [["train", "digits", "--recipe", "lvae-digits", "--epochs", "60"]],
    "swept": [["sweep", "digits", "--model.latents", "2", "--objective.beta", "0.1,0.3,1,3,10", "--epochs", "40"]],
}  # fmt: skip

# name: run, view and its keys, light or dark, width and height, and what is scrolled to
PICTURES = {
    "map": ("mnist, two latents", "map?at=1.0,0.6", "light", 1280, 800, None),
    "map-grid": ("mnist, two latents", "map?at=-1.2,-0.9&grid=true", "dark", 1280, 800, None),
    "told": ("digits, told a label", "samples", "light", 1280, 800, None),
    "latents": ("digits, ten latents", "latents?z=0.8,-0.4,1.1,0.3,-1.2,0.6,0,0.9,-0.7,0.4", "light", 1280, 640, None),
    "layers": ("digits, three layers", "latents?layer=1", "light", 1280, 640, None),
    "between": ("mnist, two latents", "between?a=3&b=9&t=0.5", "light", 1280, 700, None),
    "samples": ("digits, three layers", "samples?n=48", "dark", 1280, 860, None),
    "example": ("digits, two latents", "example?example=5", "light", 1280, 980, None),
    "training": ("mnist, two latents", "training", "light", 1280, 900, None),
    "truth": ("digits, two latents", "truth", "light", 1280, 900, None),
    "tension": ("swept, beta 1", "tension", "light", 1280, 860, None),
    "learn": ("digits, two latents", "learn", "light", 1280, 860, ".derivations"),
    "small": ("mnist, two latents", "map?at=0.4,-1", "light", 360, 740, None),
}

# the names that the rail shows, and their ids
NAMES = """fetch('/api/runs').then(r => r.json()).then(r => Object.fromEntries(r.runs.map(run =>
  [run.sweep ? `${run.sweep.name}, beta ${run.sweep.options['objective.beta']}` : run.name, run.id])))"""

# until no answer has been awaited for half a second
CALM = """async () => {
  const view = document.getElementById('view')
  for (let quiet = 0; quiet < 10; quiet = view.getAttribute('aria-busy') === 'true' ? 0 : quiet + 1) {
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/docs"))
    parser.add_argument("--data-root")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--only", nargs="*", choices=sorted(PICTURES), default=sorted(PICTURES))
    args = parser.parse_args()
    root = ["--data-root", args.data_root] if args.data_root else []
    for name in {PICTURES[picture][0].split(", beta")[0] for picture in args.only}:
        made(args.runs / name, RUNS[name], root)
    server = subprocess.Popen([sys.executable, "-m", "taut", "explore", str(args.runs), "--no-browser", "--quiet", *root],
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        address = server.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=args.chromium, args=FLAGS)
            for name in args.only:
                write(HERE / f"{name}.png", taken(browser, address, *PICTURES[name]))
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def made(folder: Path, commands: list[list[str]], root: list[str]) -> None:
    """Train and measure a run, or a sweep, that is not there yet."""
    if (folder / "summary.json").is_file() or (folder / "sweep.json").is_file():
        return
    for i, command in enumerate(commands):
        words = [str(folder) if word == "RUN" else word for word in command]
        out = [] if i else ["--out", str(folder), "--force"]
        subprocess.run([sys.executable, "-m", "taut", *words, *out, "--quiet", *root], check=True)


def taken(
    browser: Browser, address: str, run: str, view: str, theme: str, width: int, height: int, part: str | None
) -> bytes:
    """A view of a run, as PNG, from a part of it on."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#rail a", state="attached")
    found = page.evaluate(NAMES)
    page.evaluate("hash => { location.hash = hash }", f"#/{found[run]}/{view}")
    name = view.split("?")[0]
    page.wait_for_selector(f"main.view-{name} h1", timeout=120_000)
    if name in ("map", "latents", "between", "samples"):
        page.wait_for_selector("main[data-shown]", timeout=120_000)
    page.evaluate(CALM)
    if part:
        page.evaluate(
            "part => scrollTo(0, document.querySelector(part).getBoundingClientRect().top + scrollY - 150)", part
        )
    page.evaluate(CALM)
    picture = page.screenshot()
    context.close()
    return picture


def write(path: Path, png: bytes) -> None:
    """Keep a picture, of fewer colours where it would be large."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (None, 256, 128, 64, 32):
        buffer = io.BytesIO()
        fewer = image if colours is None else image.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1,
                                                             dither=Image.Dither.NONE)  # fmt: skip
        fewer.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {buffer.tell():,} bytes, {colours or 'all'} colours", flush=True)


if __name__ == "__main__":
    main()
