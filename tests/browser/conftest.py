"""What all tests in a real browser share: Chromium, a server over the file's own `runs`, a page that must stay clean."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect, sync_playwright

from browser.chromium import launched, started


@pytest.fixture(scope="session")
def browser():
    """One for all files: playwright lets its synchronous side run once in a thread."""
    with sync_playwright() as playwright:
        chromium = launched(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def site(runs):
    it = started(runs)
    yield it
    it.stop()


@pytest.fixture
def page(browser, site):
    """A page that has been let in, and that must say nothing to the console and ask nothing of other machines."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    wrong: list[str] = []
    own = (site.base, "blob:", "data:")
    context.on("request", lambda request: request.url.startswith(own) or wrong.append(request.url))
    context.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    page = context.new_page()
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page.goto(site.address)
    page.wait_for_selector("#views a")
    page.wrong = wrong
    yield page
    context.close()
    assert not wrong
