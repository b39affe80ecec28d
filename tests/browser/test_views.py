"""The page in a real browser: every view mounts, answers to hand and keyboard, and asks nothing of other machines."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page
from quick import quick_run

from browser.chromium import DRAWN, calm, started, visit
from taut.page.catalogue import identity

pytestmark = pytest.mark.browser

SMALL = {"part": "MLP", "hidden": [32]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("browser") / "runs"
    quick_run(
        root / "flat",
        steps=60,
        network=SMALL,
        latents=2,
        summary={"elbo": -200.0, "rate": 5.0, "kl_per_dim": [3.0, 0.001]},
    )
    quick_run(root / "layers", network=SMALL, layers=[{"part": "Plain", "latents": 3}, {"part": "Plain", "latents": 4}])
    told = {"data": {"condition": ["labels"]}}
    quick_run(root / "told", steps=60, tree=told, network=SMALL, latents=2)
    quick_run(root / "choices", network=SMALL, latents=4, posterior={"part": "Categorical", "categories": 3})
    quick_run(root / "none", layers=[], likelihood={"part": "PixelCNN", "channels": 4, "kernels": [3, 3], "maps": 2})
    rng = np.random.default_rng(0)
    np.save(root / "waves.npy", np.cumsum(rng.normal(size=(60, 24)), axis=1))
    quick_run(root / "signal", root / "waves.npy", network=SMALL, latents=2)
    rows = "".join(f"{a:.3f},{b:.3f},{c:.3f}\n" for a, b, c in rng.normal(size=(60, 3)))
    (root / "cells.csv").write_text("length,width,weight\n" + rows)
    quick_run(root / "table", root / "cells.csv", network=SMALL, latents=2)
    np.save(root / "colours.npy", rng.integers(0, 256, size=(40, 8, 8, 3), dtype=np.uint8))
    quick_run(root / "colours", root / "colours.npy", network=SMALL, latents=2)
    (root / "training").mkdir()
    for file in ("config.yaml", "data.json"):
        shutil.copy(root / "flat" / file, root / "training" / file)
    return root


def shown(page: Page, selector: str = "main canvas") -> str:
    """A digest of what a canvas holds."""
    return hashlib.sha256(page.locator(selector).first.evaluate("c => c.toDataURL()").encode()).hexdigest()


def changed(page: Page, selector: str, before: str) -> str:
    """The digest of a canvas, once it is another."""
    for _ in range(300):
        if (now := shown(page, selector)) != before:
            return now
        page.wait_for_timeout(30)
    raise AssertionError(f"{selector} did not change")


def until(page: Page, expression: str, argument: object = None) -> None:
    """Wait until an expression holds; playwright's own way asks for an eval that the page's policy forbids."""
    for _ in range(600):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(30)
    raise AssertionError(f"{expression} does not come to hold")


LARGE = ".beside canvas"


def test_nothing_is_shown_without_the_token(browser, site):
    context = browser.new_context()
    page = context.new_page()
    assert page.goto(site.base).status == 403
    context.close()


def test_the_token_leaves_the_address(page, site):
    assert "token" not in page.url


@pytest.mark.parametrize("name", ["flat", "told", "layers", "choices", "signal", "table", "colours"])
def test_every_view_mounts_for_every_kind_of_data(page, runs, name):
    views = page.evaluate("fetch('/api/runs').then(r => r.json()).then(r => r.views)")
    for view in views:
        visit(page, runs, name, view)
        assert page.locator("main .failure").count() == 0 or view not in DRAWN, page.locator("main").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    assert set(DRAWN) <= set(views)


def test_what_cannot_be_shown_is_said(page, runs):
    for view in ("map", "latents", "between"):
        visit(page, runs, "none", view)
        assert "no latents" in page.locator("main .failure").inner_text()
    visit(page, runs, "none", "samples")
    assert page.locator("main canvas").first.evaluate("c => c.width") > 20
    for view in DRAWN:
        visit(page, runs, "training", view)
        assert "not finished" in page.locator("main .failure").inner_text()


def test_dragging_on_the_map_decodes(page, runs):
    visit(page, runs, "flat", "map")
    calm(page)
    before = shown(page, LARGE)
    box = page.locator(".plot .front").bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 80)
    page.mouse.down()
    seen = {before}
    for i in range(8):
        page.mouse.move(box["x"] + 80 + 40 * i, box["y"] + 80 + 30 * i)
        before = changed(page, LARGE, before)
        seen.add(before)
    page.mouse.up()
    assert len(seen) > 5
    calm(page)
    # the address follows a moment after the last move
    until(page, "location.hash.includes('at=' + encodeURIComponent(document.querySelector('main').dataset.shown))")
    assert "from the prior's centre" in page.locator(".facts").inner_text()
    # the address brings the same picture back
    last = shown(page, LARGE)
    page.reload()
    page.wait_for_selector("main[data-shown]")
    calm(page)
    assert shown(page, LARGE) == last


def test_arrows_move_the_point_and_shift_moves_it_finely(page, runs):
    visit(page, runs, "flat", "map", "?at=0.000,0.000")

    def place():
        calm(page)
        return np.array([float(v) for v in page.evaluate("document.querySelector('main').dataset.shown").split(",")])

    start = place()
    page.keyboard.press("ArrowRight")
    coarse = place() - start
    page.keyboard.press("Shift+ArrowRight")
    fine = place() - start - coarse
    page.keyboard.press("ArrowUp")
    assert coarse[0] > 3 * fine[0] > 0 and coarse[1] == 0 and place()[1] > 0


def test_the_map_zooms_pans_and_lays_a_grid(page, runs):
    visit(page, runs, "flat", "map")
    back = ".plot canvas:not(.front)"
    now = shown(page, back)
    box = page.locator(".plot .front").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    now = changed(page, back, now)
    page.mouse.down(button="middle")
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2)
    page.mouse.up(button="middle")
    now = changed(page, back, now)
    page.keyboard.press("0")
    now = changed(page, back, now)
    page.get_by_role("button", name="Decoded grid").click()
    now = changed(page, back, now)
    page.locator(".legend button").first.click()
    changed(page, back, now)
    until(page, "location.hash.includes('grid=true')")


def test_pointing_at_an_example_shows_it(page, runs):
    visit(page, runs, "flat", "map")
    calm(page)
    box = page.locator(".plot .front").bounding_box()
    for step in range(1, 400):  # somewhere among the points
        page.mouse.move(
            box["x"] + box["width"] * (0.3 + 0.4 * (step * 0.37 % 1)),
            box["y"] + box["height"] * (0.3 + 0.4 * (step * 0.61 % 1)),
        )
        if page.locator(".hover").is_visible():
            break
    until(page, "() => document.querySelector('.hover').innerText.includes('example')")


def test_every_latent_can_be_moved_typed_kept_and_put_back(page, runs):
    visit(page, runs, "flat", "latents")
    assert [row.split()[0] for row in page.locator(".dim").all_inner_texts()] == ["z0", "z1"]
    assert (
        "dead" in page.locator(".dim").nth(1).get_attribute("class")
        and "1 of 2 is dead" in page.locator("main").inner_text()
    )
    start = shown(page, LARGE)
    slider = page.get_by_label("z0", exact=True)
    slider.focus()
    page.keyboard.press("ArrowRight")
    moved = changed(page, LARGE, start)
    assert slider.input_value() == "0.1"
    page.keyboard.press("Shift+ArrowRight")
    assert slider.input_value() == "0.11"
    page.get_by_label("z0, typed").fill("2,5")
    page.get_by_label("z0, typed").press("Enter")
    assert slider.input_value() == "2.5"
    moved = changed(page, LARGE, moved)
    page.get_by_label("z0, typed").fill("nonsense")
    page.get_by_label("z0, typed").press("Enter")
    assert page.get_by_label("z0, typed").input_value() == "2.50"
    page.get_by_label("keep z0 when others are drawn").click()
    other = page.get_by_label("z1", exact=True).input_value()
    page.get_by_role("button", name="Draw from the prior").click()
    until(page, "was => document.querySelector('[aria-label=z1]').value !== was", other)
    assert slider.input_value() == "2.5"
    page.get_by_label("keep z0 when others are drawn").click()
    page.get_by_role("button", name="All to 0").click()
    until(page, "() => document.querySelector('[aria-label=z0]').value === '0'")
    page.get_by_label("test example").fill("7")
    page.get_by_role("button", name="From test example").click()
    until(page, "() => document.querySelector('[aria-label=z0]').value !== '0'")
    calm(page)
    until(page, "location.hash.includes('example=7') && location.hash.includes('z=')")


def test_what_is_below_a_layer_is_drawn_anew(page, runs):
    visit(page, runs, "layers", "latents")
    before = shown(page, LARGE)
    top = [page.get_by_label(f"z{i}", exact=True).input_value() for i in range(3)]
    page.get_by_role("button", name="Redraw below").click()
    changed(page, LARGE, before)
    assert [page.get_by_label(f"z{i}", exact=True).input_value() for i in range(3)] == top
    page.get_by_label("layer", exact=True).select_option("1")
    assert page.locator(".dim").count() == 4


def test_a_choice_of_some_values_has_a_control_of_its_own(page, runs):
    visit(page, runs, "choices", "latents")
    slider = page.get_by_label("z0, which of 3 values")
    before, value = shown(page, LARGE), int(slider.input_value())
    slider.focus()
    page.keyboard.press("ArrowLeft" if value else "ArrowRight")
    changed(page, LARGE, before)
    assert "of 3" in page.locator(".dim").first.inner_text()


def test_the_way_between_two(page, runs, tmp_path):
    visit(page, runs, "flat", "between", "?a=3&b=8")
    large, strip = ".middle canvas", ".strip canvas"
    now, way = shown(page, large), shown(page, strip)
    page.get_by_label("along", exact=True).focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    now = changed(page, large, now)
    page.get_by_label("test example of the second end").fill("40")
    page.get_by_label("test example of the second end").press("Enter")
    way = changed(page, strip, way)
    page.get_by_label("path").select_option("spherical")
    calm(page)
    until(page, "['b=40', 'path=spherical', 'a=3'].every(part => location.hash.includes(part))")
    page.get_by_role("button", name="Draw").first.click()
    pad = page.get_by_label("draw here").first.bounding_box()
    way = shown(page, strip)
    page.mouse.move(pad["x"] + 60, pad["y"] + 20)
    page.mouse.down()
    for i in range(12):
        page.mouse.move(pad["x"] + 60 + 3 * i, pad["y"] + 20 + 10 * i)
    page.mouse.up()
    way = changed(page, strip, way)
    from PIL import Image

    Image.new("L", (40, 40), 200).save(tmp_path / "picture.png")
    page.locator("input[type=file]").last.set_input_files(tmp_path / "picture.png")
    changed(page, strip, way)
    (tmp_path / "none.png").write_text("no picture")
    page.locator("input[type=file]").last.set_input_files(tmp_path / "none.png")
    until(page, "() => document.getElementById('note').textContent.includes('cannot be read')")


def test_samples_are_those_of_their_seed(page, runs):
    visit(page, runs, "layers", "samples")
    calm(page)
    first = shown(page)
    page.get_by_role("button", name="Next seed").click()
    second = changed(page, "main canvas", first)
    page.get_by_label("seed", exact=True).fill("0")
    page.get_by_label("seed", exact=True).press("Enter")
    assert changed(page, "main canvas", second) == first
    page.get_by_label("temperature", exact=True).focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    third = changed(page, "main canvas", first)
    page.get_by_label("keep", exact=True).select_option("1")
    changed(page, "main canvas", third)
    page.get_by_role("button", name="One for each layer").click()
    assert page.get_by_label("layer 2", exact=True).count() == 1
    assert page.locator("main canvas").nth(1).evaluate("c => c.height") > 100  # layer by layer
    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_label_is_told_and_z_stays(page, runs):
    visit(page, runs, "told", "map", "?at=0.5,0.5")
    calm(page)
    now, rings = shown(page, LARGE), shown(page, ".plot .front")
    page.get_by_label("label 3").check()
    now = changed(page, LARGE, now)
    changed(page, ".plot .front", rings)  # the prior of another label lies elsewhere
    until(
        page, "() => location.hash.includes('told=3') && document.querySelector('main').innerText.includes('label 3')"
    )
    page.keyboard.press("ArrowRight")
    changed(page, LARGE, now)
    assert page.get_by_label("label 4").is_checked()
    assert page.evaluate("document.querySelector('main').dataset.shown") == "0.5,0.5"
    visit(page, runs, "told", "latents", "?z=0.5,-0.5")
    calm(page)
    now = shown(page, LARGE)
    page.get_by_label("label 7").check()
    changed(page, LARGE, now)
    assert page.get_by_label("z0", exact=True).input_value() == "0.5"
    page.get_by_label("test example").fill("3")
    page.get_by_role("button", name="From test example").click()
    until(page, "() => document.querySelector('[aria-label=z0]').value !== '0.5'")
    label = page.evaluate("document.querySelector('.told input:checked').value")
    visit(page, runs, "told", "between", "?a=3&b=8")
    calm(page)
    assert page.evaluate("document.querySelector('.told input:checked').value") == label
    way = shown(page, ".strip canvas")
    page.get_by_label("label 9" if label != "9" else "label 8").check()
    changed(page, ".strip canvas", way)


def test_samples_of_each_label_stand_in_rows(page, runs):
    visit(page, runs, "told", "samples")
    calm(page)
    assert page.locator(".row-names").inner_text().split() == [str(i) for i in range(10)]
    rows = page.locator(".row-names span").all()
    sheet = page.locator(".rowed canvas").bounding_box()
    middles = [box["y"] + box["height"] / 2 - sheet["y"] for box in (row.bounding_box() for row in rows)]
    assert all(abs(y - (i + 0.5) * sheet["height"] / 10) < 4 for i, y in enumerate(middles))
    assert not page.locator(".told").is_visible()
    now = shown(page)
    page.get_by_label("given").select_option("one")
    now = changed(page, "main canvas", now)
    page.get_by_label("label 5").check()
    now = changed(page, "main canvas", now)
    until(page, "() => document.querySelector('main p').textContent.includes('given label 5')")
    page.get_by_label("given").select_option("data")
    changed(page, "main canvas", now)
    until(page, "() => location.hash.includes('given=data') && document.querySelector('.told').hidden")


def test_the_kept_map_is_there_before_the_model(browser, runs):
    from threading import Event

    first = started(runs)
    context = browser.new_context()
    page = context.new_page()
    page.goto(first.address)
    visit(page, runs, "flat", "map")
    first.stop()
    context.close()
    # all that asks a model waits behind this
    it, go = started(runs), Event()
    it.office._thread.submit(go.wait, 60)
    context = browser.new_context()
    page = context.new_page()
    page.goto(it.address)
    page.wait_for_selector("#rail a")
    page.evaluate("hash => { location.hash = hash }", f"#/{identity(runs / 'flat')}/map")
    page.wait_for_selector("main[data-points='180']")
    assert "being loaded" in page.locator("main p").first.inner_text()
    empty = page.evaluate(
        """() => {
          const c = document.querySelector('.plot canvas')
          return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every(v => v === 0)
        }"""
    )
    assert not empty and page.locator("main[data-shown]").count() == 0
    go.set()
    page.wait_for_selector("main[data-shown]")
    until(page, "() => document.querySelector('main p').textContent.includes('Drag anywhere')")
    context.close()
    it.stop()


def test_keys_lead_everywhere(page, runs):
    visit(page, runs, "flat", "map")
    for key, view in (("2", "latents"), ("3", "between"), ("4", "samples"), ("1", "map")):
        page.keyboard.press(key)
        page.wait_for_selector(f"main.view-{view}[data-shown]")
    name = page.evaluate("document.querySelector('#rail [aria-current] .name').textContent")
    page.keyboard.press("]")
    until(page, "was => document.querySelector('#rail [aria-current] .name').textContent !== was", name)
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


@pytest.mark.parametrize("view", [*DRAWN, "example", "training", "truth", "tension"])
def test_the_tab_key_reaches_all_that_can_be_used(page, runs, view):
    visit(page, runs, "told", view)
    calm(page)
    count = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll('a[href], button, input, select, [tabindex="0"]')]
          const used = all.filter(e => e.checkVisibility() && !e.disabled && e.getAttribute('tabindex') !== '-1')
            .filter(e => e.type !== 'radio' || e.checked) // arrows reach the others
          used.forEach((e, i) => { e.dataset.mine = i })
          return used.length
        }"""
    )
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(count + 4):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.mine"))
    assert {str(i) for i in range(count)} <= reached
    names = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas.front')].filter(e => e.checkVisibility())
          .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label'))).length"""
    )
    assert names == 0


WRONG = """() => {
  const seen = element => element.checkVisibility() && element.getClientRects().length
  const all = [...document.querySelectorAll('main :is(h1, h2, p, button, select, input, dd, canvas)')]
  const wide = all.filter(seen).filter(element => {
    for (let up = element.parentElement; up; up = up.parentElement) {
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(up).overflowX)) return false
    }
    const box = element.getBoundingClientRect()
    return box.right > innerWidth + 1 || box.left < -1
  }).map(element => `${element.tagName} ${element.textContent.slice(0, 40)} leaves the screen`)
  const used = [...document.querySelectorAll('main .bar :is(button, select, input:not([type=radio]))')].filter(seen)
  const boxes = used.map(element => element.getBoundingClientRect())
  const over = []
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left)
    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
    if (x > 1 && y > 1) over.push(`${used[i].textContent} lies on ${used[i + 1 + j].textContent}`)
  }))
  const empty = document.querySelector('main').innerText.trim().split('\\n').length < 2 ? ['nothing is said'] : []
  return [...wide, ...over, ...empty]
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_views_fit_every_screen_in_light_and_dark(browser, site, runs, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(site.address)
    page.wait_for_selector("#views a")
    for view in page.evaluate("fetch('/api/runs').then(r => r.json()).then(r => r.views)"):
        visit(page, runs, "told" if view in DRAWN else "flat", view)
        calm(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, width)
        assert page.evaluate(WRONG) == [], (view, width)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(252, 252, 249)") == (scheme == "light")
    moving = """() => [...document.querySelectorAll('*')].filter(e => getComputedStyle(e).animationName !== 'none'
      || getComputedStyle(e).transitionDuration.split(', ').some(d => parseFloat(d) > 0)).length"""
    assert page.evaluate(moving) == 0
    context.close()


def test_light_and_dark_can_be_chosen_and_are_remembered(page, runs):
    visit(page, runs, "flat", "map")
    before = shown(page, ".plot .front")
    page.get_by_role("button", name="Dark").click()
    changed(page, ".plot .front", before)
    page.reload()
    page.wait_for_selector("#views a")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_policy_lets_nothing_foreign_in(page):
    blocked = page.evaluate(
        """async () => {
          const tried = []
          const script = document.createElement('script')
          script.textContent = 'window.foreign = true'
          document.head.append(script)
          tried.push(window.foreign === undefined)
          try { await fetch('http://127.0.0.1:9/'); tried.push(false) } catch { tried.push(true) }
          return tried
        }"""
    )
    assert blocked == [True, True]
    calm(page)
    assert len(page.wrong) >= 2 and all("Content Security Policy" in text for text in page.wrong)
    page.wrong.clear()


def test_a_server_that_has_gone_is_said(browser, runs):
    it = started(runs)
    context = browser.new_context()
    page = context.new_page()
    page.goto(it.address)
    page.wait_for_selector("main[data-shown]")
    it.stop()
    until(page, "() => document.getElementById('note').textContent.includes('server is gone')")
    context.close()


def test_questions_of_one_key_are_asked_one_at_a_time_and_the_newest_wins(page, runs):
    visit(page, runs, "flat", "map")
    counted = page.evaluate(
        """async id => {
          const { Socket } = await import('/static/parts/socket.js')
          const socket = new Socket()
          await socket.open
          let sent = 0
          const send = socket.ws.send.bind(socket.ws)
          socket.ws.send = text => { sent++; send(text) }
          const done = []
          await new Promise(resolve => {
            for (let i = 0; i < 50; i++) {
              socket.ask(id, 'look', { at: [i / 50, 0] }, 'one').then(found => { done.push(i); if (i === 49) resolve() })
            }
          })
          socket.ws.onclose = null
          socket.ws.close()
          return { sent, done }
        }""",
        identity(runs / "flat"),
    )
    assert json.dumps(counted) == json.dumps({"sent": 2, "done": [0, 49]})
