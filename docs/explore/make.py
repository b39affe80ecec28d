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
LARGEST = 150_000  # bytes of a picture

RUNS = {
    "mnist, two latents": ["train", "mnist", "--model.latents", "2", "--minutes", "2"],
    "digits, ten latents": ["train", "digits", "--model.latents", "10", "--epochs", "60"],
    "digits, three layers": ["train", "digits", "--recipe", "lvae-digits"],
    "digits, choices": ["train", "digits", "--model.posterior", "Categorical", "--model.posterior.categories", "10",
                        "--model.latents", "16", "--epochs", "60"],
}  # fmt: skip

# name: run, view and its keys, light or dark, width and height
PICTURES = {
    "map": ("mnist, two latents", "map?at=1.35,0.6", "light", 1280, 800),
    "map-grid": ("mnist, two latents", "map?at=-1.2,-0.9&grid=true", "dark", 1024, 640),
    "latents": ("digits, ten latents", "latents?example=12", "light", 1280, 640),
    "layers": ("digits, three layers", "latents?layer=1", "light", 1280, 640),
    "between": ("mnist, two latents", "between?a=3&b=9&t=0.5", "light", 1280, 660),
    "samples": ("digits, three layers", "samples?n=48", "dark", 1280, 860),
    "small": ("mnist, two latents", "map?at=0.4,-1", "light", 360, 740),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/docs"))
    parser.add_argument("--data-root")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--only", nargs="*", choices=sorted(PICTURES), default=sorted(PICTURES))
    args = parser.parse_args()
    root = ["--data-root", args.data_root] if args.data_root else []
    for name in {PICTURES[picture][0] for picture in args.only}:
        if not (args.runs / name / "summary.json").is_file():
            command = [*RUNS[name], "--out", str(args.runs / name), "--force"]
            subprocess.run([sys.executable, "-m", "taut", *command, *root], check=True)
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


def taken(browser: Browser, address: str, run: str, view: str, theme: str, width: int, height: int) -> bytes:
    """A view of a run, as PNG."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#rail a", state="attached")
    found = page.evaluate("fetch('/api/runs').then(r => r.json()).then(r => r.runs.map(run => [run.name, run.id]))")
    page.evaluate("hash => { location.hash = hash }", f"#/{dict(found)[run]}/{view}")
    page.wait_for_selector(f"main.view-{view.split('?')[0]}[data-shown]", timeout=120_000)
    page.wait_for_timeout(2500)
    picture = page.screenshot()
    context.close()
    return picture


def write(path: Path, png: bytes) -> None:
    """Keep a picture, of fewer colours, so that it is small."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        buffer = io.BytesIO()
        fewer = image.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        fewer.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {buffer.tell():,} bytes, {colours} colours")


if __name__ == "__main__":
    main()
