"""The page that `taut export --web` writes decodes in a browser what the model decodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from taut.cli import main

pytestmark = pytest.mark.browser

CONV = "--model.latents 3 --model.network Conv --model.network.channels 4,8 --model.network.hidden 16"
RESIDUAL = "--model.network ResidualMLP --model.network.width 16 --model.network.activation gelu --model.likelihood Categorical"


@pytest.mark.parametrize("options", [CONV, RESIDUAL], ids=["conv", "residual"])
def test_the_page_decodes_as_the_model_does(browser, options: str, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "page"
    short = ["--training.steps", "5", "--training.batch", "32", "--quiet"]
    assert main(["train", "digits", "--out", str(run), *options.split(), *short]) == 0
    assert main(["export", str(run), "--web", "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"index.html", "walk.js", "model.js"}
    context = browser.new_context()
    page = context.new_page()
    page.goto((out / "index.html").as_uri())
    page.wait_for_selector("canvas")
    assert 0 <= float(page.evaluate("document.body.dataset.difference")) < 1e-3
    before = page.evaluate("document.querySelector('canvas').toDataURL()")
    page.click("#next")
    assert page.evaluate("document.querySelector('canvas').toDataURL()") != before
    context.close()
