"""Pages as a browser shows them: Chromium without a network, and axe-core, the accessibility checker, in it."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

AXE = Path(sys.prefix) / "node_modules/axe-core/axe.min.js"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@dataclass
class Opened:
    """A page, and what went on while it was open: messages of the console, and addresses asked for beside the page's own."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """What axe-core finds wrong, each with the first element that it is about."""
        if not AXE.exists():
            pytest.skip("axe-core is not installed: npm install --prefix <environment> axe-core")
        self.page.add_script_tag(path=AXE)
        found: dict[str, Any] = self.page.evaluate("axe.run()")
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return wider


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, from $CHROMIUM or the path; the test is skipped where there is none."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: install it, or name it in $CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, width: int = 1280, scheme: Literal["light", "dark"] = "light", **options: Any
) -> Iterator[Opened]:
    """A page from a file, in a window of this width, with messages and requests recorded from its start."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    found = Opened(context.new_page())
    found.page.on("console", lambda message: found.messages.append(message.text))
    found.page.on("pageerror", lambda error: found.messages.append(str(error)))
    own = path.resolve().as_uri()
    found.page.on("request", lambda request: None if request.url.startswith(("data:", own)) else found.requests.append(request.url))
    found.page.goto(own)
    yield found
    context.close()
