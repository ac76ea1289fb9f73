"""A real browser for tests: Chromium from the system, driven by Playwright, which reports all its complaints.

`CHROMIUM` names another one than that on `PATH`. `SCREENSHOTS` names a folder for pictures of the pages.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

PROGRAM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
MISSING = "no Chromium: as root, tests/programs.sh installs it; else name one with CHROMIUM=/path"

_FLAGS = (
    "--no-sandbox",  # tests run as root in containers, where Chromium's own sandbox cannot
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE = 60_000.0


@contextmanager
def running_chromium(*flags: str) -> Iterator[Browser]:
    """Run the browser for the block.

    For tests that are no coroutines: Playwright has its own event loop meanwhile.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, headless=True, args=[*_FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Person:
    """A person with a separate browser profile, who uses only a keyboard."""

    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    """The messages in the browser's console: refused content, failed loads, errors."""

    visited: list[str] = field(default_factory=list)
    """The addresses that the page was at or was redirected to, in order."""

    def go(self, url: str) -> None:
        """Open an address."""
        self.page.goto(url)

    def press(self, name: str) -> None:
        """Move with the Tab key to the button or box called `name`, check that the focus is
        visible, and press it.
        """
        self.reach(name)
        key = "Space" if self._focused("e => e.type") == "checkbox" else "Enter"
        if key == "Space":
            self.page.keyboard.press(key)
            return
        with self.page.expect_navigation():
            self.page.keyboard.press(key)

    def reach(self, name: str) -> None:
        """Press Tab until the control called `name` has the focus."""
        for _ in range(30):
            self.page.keyboard.press("Tab")
            if name in (self._focused("e => e.ariaLabel || e.innerText || e.parentElement.innerText") or ""):
                assert self._focused("e => getComputedStyle(e).outlineStyle") != "none", (
                    f"{name}: focus not visible"
                )
                return
        raise AssertionError(f"no way to {name!r} with the Tab key:\n{self.page.inner_text('body')}")

    def type_into(self, label: str, text: str) -> None:
        """Type into the field called `label`, which has the focus already, and press Enter.

        A browser gives a field with `autofocus` the focus some time after the page has loaded, and keys that
        are pressed before are lost.
        """
        self.page.wait_for_function("label => document.activeElement?.labels?.[0]?.innerText === label", arg=label)
        self.page.keyboard.type(text)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def click(self, name: str) -> None:
        """Click the button called `name`, and wait for the next page."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=name).click()

    def wait_for_complaint(self, *words: str) -> None:
        """Wait until the browser complains with one of `words`, which can be some time after the
        page is loaded.
        """
        while not any(word in complaint for complaint in self.complaints for word in words):
            self.page.wait_for_event("console")

    def keep_picture(self, name: str) -> None:
        """Save a picture of the whole page if `SCREENSHOTS` is set."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def _focused(self, ask: str) -> Any:
        return self.page.evaluate(f"() => (({ask})(document.activeElement))")


@contextmanager
def person(browser: Browser, **context: Any) -> Iterator[Person]:
    """A fresh profile, for the block.

    `context` has options of Playwright: `viewport`, `color_scheme` and others.
    """
    with browser.new_context(**context) as profile:
        profile.set_default_timeout(_PATIENCE)
        page = profile.new_page()
        somebody = Person(profile, page)
        page.on("console", lambda message: somebody.complaints.append(message.text))
        page.on("pageerror", lambda error: somebody.complaints.append(str(error)))
        page.on(
            "request",
            lambda request: somebody.visited.append(request.url) if request.is_navigation_request() else None,
        )
        yield somebody
