"""How fast the page answers, in a headless Chromium: from drag to new picture, the first view, and a map of 70,000 points.

    python benchmarks/page.py [RUN ...] [--data-root DIR] [--minutes 1] [--moves 300] [--json FILE]

Without runs, two models of MNIST with two latents are trained first, a perceptron and a convolutional one. What is measured
of each, in milliseconds:

    drag      from a move of the pointer to the frame in which a picture of that place, or of a later one, is drawn;
              moves come 60 a second, one question is in flight, stale ones are dropped
    address   from the start of the command to the printed address
    first     to the page with its runs and their saved numbers
    points    to the map with its points (the second time they are read from RUN/explore, and no model is waited for)
    map       to the map with its first decoded picture, the model loaded

and once, the frames a second while a map of 70,000 points is panned. Chromium is looked for at /usr/bin/chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]

WATCH = """() => {
  const main = document.querySelector('main')
  window.asked = []
  window.drawn = []
  new MutationObserver(changes => {
    for (const { attributeName } of changes) {
      if (attributeName === 'data-asked') asked.push([main.dataset.asked, performance.now()])
      else drawn.push([main.dataset.shown, performance.now()])
    }
  }).observe(main, { attributes: true, attributeFilter: ['data-asked', 'data-shown'] })
}"""

PAN = """async count => {
  const { Scatter } = await import('/static/parts/scatter.js')
  const style = getComputedStyle(document.documentElement)
  const colours = { paper: '#fff', ink: '#000', quiet: '#666', hair: '#ddd', accent: '#0b7a75', small: '12px', classes: [] }
  for (let i = 0; i < 10; i++) colours.classes.push(style.getPropertyValue(`--class-${i}`))
  const scatter = new Scatter({ label: 'bench', colours: () => colours, onMove () {}, onHover () {} })
  scatter.element.style.cssText = 'position:fixed;inset:40px;height:auto;z-index:20;background:#fff'
  document.body.append(scatter.element)
  const at = new Float32Array(2 * count)
  const labels = new Int16Array(count)
  let seed = 1
  const random = () => (seed = seed * 16807 % 2147483647) / 2147483647
  for (let i = 0; i < count; i++) {
    const radius = Math.sqrt(-2 * Math.log(random()))
    const angle = 6.2832 * random()
    at.set([radius * Math.cos(angle), radius * Math.sin(angle)], 2 * i)
    labels[i] = i % 10
  }
  scatter.circles = [1, 2]
  scatter.set(at, labels)
  await new Promise(resolve => setTimeout(resolve, 500))
  const frames = []
  await new Promise(resolve => {
    const begun = performance.now()
    const step = now => {
      frames.push(now)
      scatter.pan(3 * Math.sin(now / 150), 3 * Math.cos(now / 150))
      if (now - begun < 3000) requestAnimationFrame(step)
      else resolve()
    }
    requestAnimationFrame(step)
  })
  scatter.close()
  scatter.element.remove()
  return frames
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--data-root")
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="of training for each model, where none is given [1]"
    )
    parser.add_argument("--moves", type=int, default=300, help="of the pointer [300]")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", type=Path, help="write the result here too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        runs = args.runs or trained(Path(scratch), args)
        browser = playwright.chromium.launch(executable_path=args.chromium, args=FLAGS)
        found: dict[str, Any] = {"chromium": browser.version, "unit": "milliseconds", "runs": {}}
        for run in runs:
            found["runs"][run.name] = measured(browser, run, args, found)
        browser.close()
    found["load"] = [round(each, 1) for each in os.getloadavg()]
    text = json.dumps(found, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


def trained(scratch: Path, args: argparse.Namespace) -> list[Path]:
    """A perceptron and a convolutional model of MNIST."""
    for name in ("MLP", "Conv"):
        command = ["train", "mnist", "--model.latents", "2", "--model.network", name, "--minutes", str(args.minutes),
                   "--out", str(scratch / name), "--quiet"]  # fmt: skip
        subprocess.run(taut(command, args), check=True, stdout=subprocess.DEVNULL)
    return [scratch / "MLP", scratch / "Conv"]


def taut(command: list[str], args: argparse.Namespace) -> list[str]:
    root = ["--data-root", args.data_root] if args.data_root else []
    return [sys.executable, "-m", "taut", *command, *root]


def measured(browser: Browser, run: Path, args: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """All that is measured of one run; what does not depend on it is put into ``found``."""
    result: dict[str, Any] = {}
    for when in ("once", "again"):
        begun = time.perf_counter()
        command = taut(["explore", str(run), "--no-browser", "--quiet"], args)
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().strip()
            stamps = {"address": time.perf_counter() - begun}
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address)
            page.wait_for_selector("#rail a")
            stamps["first"] = time.perf_counter() - begun
            page.wait_for_selector("main[data-points]", timeout=120_000)
            stamps["points"] = time.perf_counter() - begun
            page.wait_for_selector("main[data-shown]", timeout=120_000)
            stamps["map"] = time.perf_counter() - begun
            result[when] = {name: round(1000 * seconds) for name, seconds in stamps.items()}
            if when == "again":
                result["drag"] = summary(dragged(page, args.moves))
                if "pan" not in found:
                    frames = page.evaluate(PAN, 70_000)
                    gaps = [b - a for a, b in zip(frames, frames[1:], strict=False)]
                    found["pan"] = {"points": 70_000, "frames a second": round(1000 / statistics.mean(gaps), 1),
                                    "slowest frame": round(max(gaps), 1)}  # fmt: skip
            page.close()
        finally:
            server.terminate()
            server.wait(20)
    return result


def dragged(page: Page, moves: int) -> list[float]:
    """Milliseconds from each move to a picture that is as new."""
    page.wait_for_timeout(1000)
    page.evaluate(WATCH)
    box = page.locator(".plot .front").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    begun = time.perf_counter()
    for i in range(moves):
        turn = i / moves
        across, down = (turn * 37 % 1 - 0.5) * 0.8, (turn * 11 % 1 - 0.5) * 0.8
        page.mouse.move(middle[0] + across * box["width"], middle[1] + down * box["height"])
        time.sleep(max(0.0, begun + (i + 1) / 60 - time.perf_counter()))
    page.mouse.up()
    page.wait_for_timeout(1000)
    asked, drawn = page.evaluate("() => [asked, drawn]")
    # a picture answers the newest question of its place so far, and with it all that were asked before
    waits, answered = [], 0
    for place, when in drawn:
        own = (number for number, (there, asked_at) in enumerate(asked) if there == place and asked_at <= when)
        newest = max(own, default=-1)
        while answered <= newest:
            waits.append(when - asked[answered][1])
            answered += 1
    if answered < 0.9 * len(asked):
        raise SystemExit(f"only {answered} of {len(asked)} moves were answered")
    return waits


def summary(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits)
    return {
        "moves": len(ordered),
        "median": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
        "slowest": round(ordered[-1], 1),
    }


if __name__ == "__main__":
    main()
