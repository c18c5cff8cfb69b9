"""Debian's Chromium without a window, driven through chromedriver: for tests and for the pictures of the README."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = 200.0  # seconds; drawing in 3D without a graphics card takes some of them on a busy machine
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars")
# WebGL without a graphics card, and none of the browser's own calls home.
FLAGS += ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking")


def missing_programs() -> list[str]:
    return [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]


class Browser:
    """`driver` is selenium's; the rest is what it has no short word for."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Waits until `condition()` is true and returns what it gave; TimeoutException says `what` was waited for."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.2).until(lambda _: condition(), what)

    def errors(self) -> list[str]:
        """What the page has complained of since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [request["url"] for request in sent]


@contextlib.contextmanager
def open_browser(width: int = 1000, height: int = 700) -> Iterator[Browser]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        browser = Browser(driver)
        browser.resize(width, height)
        yield browser
    finally:
        driver.quit()
