"""A real browser for the pages that users open. It is started once for all tests."""

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_browser() -> Any:
    """The file beside this one: the folder is no package, since a script uses it as well."""
    specification = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Skips the test without Chromium, or fails it where MLBRIDGE_REQUIRE_BROWSER=1 says that it has to be there."""
    module = load_browser()
    missing = module.missing_programs()
    if missing:
        text = f"{' and '.join(missing)} not found: no page was opened (Debian: chromium, chromium-driver)"
        if os.environ.get("MLBRIDGE_REQUIRE_BROWSER") == "1":
            pytest.fail(text, pytrace=False)
        warnings.warn(text, stacklevel=1)
        pytest.skip(text)
    with module.open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Any) -> Any:
    """The browser, with an empty page and nothing noted from before."""
    browser.driver.get("about:blank")
    browser.errors()
    browser.requests()
    return browser


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where tests leave what they saw, for people to look at."""
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def mlbridge() -> list[str]:
    """What stands before the arguments of the command, with this Python."""
    return [sys.executable, "-m", "trainers.commands"]
