"""Example, Training, Truth, Tension and Learn in a real browser: what is dragged moves the numbers, which are the run's."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from quick import quick_run

from browser.chromium import visit
from taut.runs import write_json

pytestmark = pytest.mark.browser

SMALL = {"part": "MLP", "hidden": [32]}
VIEWS = ("example", "training", "truth", "tension", "learn")


def row(step: int, rate: float) -> str:
    """Two lines of a journal."""
    common = {"step": step, "epoch": step / 10, "seconds": step / 5, "beta": min(1.0, step / 20)}
    train = {**common, "split": "train", "elbo": -120 + rate, "distortion": 110.0, "rate": rate,
             "examples_per_second": 900.0}  # fmt: skip
    valid = {**common, "split": "valid", "elbo": -118 - rate, "distortion": 118.0, "rate": rate, "active_units": 1,
             "information": rate / 2, "kl": [[rate, 0.001]]}  # fmt: skip
    return json.dumps(train) + "\n" + json.dumps(valid) + "\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("learn") / "runs"
    flat = quick_run(root / "flat", steps=60, network=SMALL, latents=2)
    flat.summary = flat.evaluate(samples=20)
    write_json(flat.folder / "summary.json", flat.summary)
    (flat.folder / "metrics.jsonl").write_text(row(10, 1.0) + row(20, 2.0) + row(30, 2.5))
    quick_run(root / "layers", network=SMALL, layers=[{"part": "Plain", "latents": 3}, {"part": "Plain", "latents": 4}])
    points = []
    for beta, steps in ((0.1, 30), (10.0, 10)):
        point = quick_run(root / "swept" / f"objective.beta={beta:g}", steps=steps, network=SMALL, latents=2)
        point.summary = point.evaluate(samples=1)
        write_json(point.folder / "summary.json", point.summary)
        numbers = {key: point.summary[key] for key in ("elbo", "elbo_stderr", "distortion", "rate")}
        points.append({"folder": point.folder.name, "values": {"objective.beta": beta}, "beta": beta, **numbers})
    head = {
        "data": "digits",
        "options": {"objective.beta": [0.1, 10.0]},
        "finished": True,
        "least": None,
        "discrete": True,
    }
    write_json(root / "swept" / "sweep.json", {**head, "points": points})
    (root / "training").mkdir()
    for file in ("config.yaml", "data.json"):
        shutil.copy(root / "flat" / file, root / "training" / file)
    (root / "training" / "metrics.jsonl").write_text(row(10, 1.0) + row(20, 2.0))
    return root


def drag(page: Page, handle, dx: float, dy: float) -> None:
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


def canvas(page: Page, selector: str) -> str:
    return page.locator(selector).first.evaluate("c => c.toDataURL()")


def differs(page: Page, selector: str, before: str) -> None:
    page.wait_for_function("([s, b]) => document.querySelector(s).toDataURL() !== b", arg=[selector, before])


def test_the_essay_has_six_figures_each_with_its_equation(page, runs):
    visit(page, runs, "flat", "learn")
    expect(page.locator(".essay section")).to_have_count(6)
    page.wait_for_selector("#figure-6 .facts")
    for i in range(1, 7):
        assert page.locator(f"#figure-{i} math").count() >= 1
        assert page.locator(f"#figure-{i} .handle").count() >= 1
    # the run's own numbers come to five of them from the model, and to none as a failure
    expect(page.locator("#figure-2 .mine p")).to_contain_text("nats")
    expect(page.locator("#figure-3 .mine p")).to_contain_text("2 latents")
    expect(page.locator("#figure-4 .mine tbody tr")).to_have_count(2)


def test_lines_of_the_derivations_come_one_at_a_time(page, runs):
    visit(page, runs, "flat", "learn")
    lines = page.locator("#figure-2 .derivations > div").first.locator("li:not([hidden])")
    expect(lines).to_have_count(1)
    page.locator("#figure-2 .derivations button", has_text="Next line").first.click()
    expect(lines).to_have_count(2)
    page.wait_for_function("() => location.hash.includes('jensen=2')")
    expect(lines.nth(1)).to_contain_text("log p(x)")


def test_a_divergence_is_dragged_and_typed(page, runs):
    visit(page, runs, "flat", "learn")
    page.wait_for_selector("#figure-3 .formula math")
    value = page.locator("#figure-3 .formula math")
    before = value.text_content()
    drag(page, page.locator("#figure-3 .handle[aria-label='μ of q']"), 60, 0)
    page.wait_for_function("b => document.querySelector('#figure-3 .formula math').textContent !== b", arg=before)
    handle = page.locator("#figure-3 .handle[aria-label='σ of q']")
    handle.focus()
    before = handle.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    expect(handle).not_to_have_attribute("aria-valuetext", before)


def test_the_gap_moves_and_the_evidence_does_not(page, runs):
    visit(page, runs, "flat", "learn")
    numbers = page.locator("#figure-2 .two:not(.derivations) > div").nth(1)
    elbo, evidence = (
        numbers.locator("text", has_text=key) for key in (re.compile("^ELBO"), re.compile(r"^log p\(x\) "))
    )
    elbo.wait_for()
    before = elbo.text_content(), evidence.text_content()
    drag(page, page.locator("#figure-2 .handle[aria-label='mean of q']"), 40, 30)
    expect(elbo).not_to_have_text(before[0])
    assert evidence.text_content() == before[1]
    page.locator("#figure-2 button", has_text="Climb").click()
    expect(numbers.locator("text", has_text=re.compile(r"^gap [01]\."))).to_be_visible()


def test_models_of_several_betas_are_seen(page, runs):
    visit(page, runs, "flat", "learn")
    page.wait_for_selector("#figure-5 canvas.drawn")
    before = canvas(page, "#figure-5 .tug-map canvas")
    page.locator("#figure-5 input[type=range]").fill("0")
    expect(page.locator("#figure-5 .tug-slide .number")).to_have_text("autoencoder")
    expect(page.locator("#figure-5 .facts")).to_contain_text("a point has no density")
    differs(page, "#figure-5 .tug-map canvas", before)


def test_one_example_and_the_next(page, runs):
    visit(page, runs, "flat", "example")
    expect(page.locator(".lens .facts")).to_contain_text("ELBO")
    page.wait_for_function("() => document.querySelectorAll('main svg image').length > 0")  # the exact posterior
    before = canvas(page, ".lens canvas")
    page.locator("main button[aria-label='the next example']").click()
    differs(page, ".lens canvas", before)
    page.wait_for_function("() => location.hash.includes('example=1')")
    visit(page, runs, "layers", "example")
    expect(page.locator("main")).to_contain_text("Not to be had")  # of seven latents there is no quadrature
    page.locator("main select").select_option("1")
    expect(page.locator("main")).to_contain_text("The layers above are at their centres")


def test_a_training_is_followed_while_it_goes_on(page, runs):
    visit(page, runs, "training", "training")
    expect(page.locator(".status")).to_contain_text("step 20")
    expect(page.locator("main svg image")).to_have_count(1)
    with open(runs / "training" / "metrics.jsonl", "a") as file:
        file.write(row(30, 3.0) + '{"step": 40, "spl')
    expect(page.locator(".status")).to_contain_text("step 30")
    (runs / "training" / "metrics.jsonl").write_text(row(10, 1.5))  # it goes on from an earlier checkpoint
    expect(page.locator(".status")).to_contain_text("step 10")
    visit(page, runs, "flat", "training")
    expect(page.locator(".status")).to_contain_text("Finished: 30 steps")
    handle = page.locator(".handle").first
    handle.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => location.hash.includes('step=20')")


def test_bounds_stand_in_order_and_what_is_missing_has_a_command(page, runs):
    visit(page, runs, "flat", "truth")
    said = json.loads((runs / "flat" / "summary.json").read_text())
    table = page.locator(".ledger").first
    expect(table).to_contain_text(f"{said['elbo']:,.2f}".replace("-", "−"))
    expect(table).to_contain_text("IW-20")
    for flag in ("--ais", "--exact", "--bdmc", "--gaps"):
        expect(table).to_contain_text(flag)
    expect(page.locator("main")).to_contain_text("of 2 latents are active")
    visit(page, runs, "training", "truth")
    expect(page.locator(".failure")).to_contain_text("Training")


def test_a_sweep_is_walked_along(page, runs):
    visit(page, runs, "swept/objective.beta=10", "tension")
    page.wait_for_selector("canvas.drawn")
    before = canvas(page, ".tug-map canvas")
    expect(page.locator(".tug-slide .number")).to_have_text("β = 10")
    page.locator("main input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tug-slide .number")).to_have_text("β = 0.1")
    differs(page, ".tug-map canvas", before)
    visit(page, runs, "flat", "tension")
    expect(page.locator("main")).to_contain_text("taut sweep digits --objective.beta")
    expect(page.locator("main")).to_contain_text("It is not your run")


def test_a_chart_is_saved_with_its_colours(page, runs):
    visit(page, runs, "flat", "training")
    with page.expect_download() as waiting:
        page.locator("button", has_text="Save as SVG").first.click()
    said = Path(waiting.value.path()).read_text()
    assert said.startswith("<svg") and "var(--" not in said and "<path" in said


@pytest.mark.parametrize("width", [360, 2560])
def test_nothing_is_wider_than_the_screen(page, runs, width):
    page.set_viewport_size({"width": width, "height": 900})
    for view in VIEWS:
        visit(page, runs, "flat", view)
        page.wait_for_selector("main svg.chart path", state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
