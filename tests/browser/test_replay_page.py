"""The page of `mlbridge play --html`, opened and used in a browser."""

import io

import numpy as np
import pytest
from PIL import Image

from trainers.commands import main

pytestmark = pytest.mark.timeout(900)  # every picture is drawn without a graphics card


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """`write(name, ...)`: the address of a page of that world, played with random actions."""
    folder = tmp_path_factory.mktemp("pages")

    def address(name, *words):
        path = folder / f"{name}.html"
        assert main(["play", name, "--html", str(path), "--seed", "1", *words]) == 0
        return path.as_uri()

    return address


def open_page(page, address):
    page.driver.get(address)
    page.wait_for(lambda: page.script("return replay.drawn > 1"), "two frames were drawn")


def state(page):
    return page.script("return {...replay}")


def pause(page, moment=0):
    """Stands still at that moment (ticks), as the slider sets it."""
    page.script(
        "const scrub = document.getElementById('scrub'); scrub.value = arguments[0];"
        "scrub.dispatchEvent(new Event('input'));",
        moment,
    )
    assert (state(page)["moment"], state(page)["playing"]) == (moment, False)


def picture(page):
    """What the canvas shows, int [height, width, 3]."""
    png = page.driver.find_element("id", "view").screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def click(page, name):
    page.driver.find_element("id", name).click()


@pytest.mark.parametrize("name", ["3DBall", "PoleBalancer", "CubeMover"])
def test_a_page_shows_the_world_and_plays(page, write, screenshots, name):
    address = write(name, "--agents", "2")
    open_page(page, address)
    first = state(page)["moment"]
    page.wait_for(lambda: state(page)["moment"] > first, "time goes on")
    page.wait_for(lambda: not state(page)["playing"], "the episode is over")
    assert state(page)["moment"] == page.script("return data.episodes[0].ticks")
    pause(page, 1)
    seen = picture(page)
    blue = seen[:, :, 2] > seen[:, :, 0] + 90
    assert 0.001 < blue.mean() < 0.5  # the agent
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 20  # lit, and with a shadow
    page.driver.save_screenshot(str(screenshots / f"replay-{name}.png"))
    assert page.errors() == []
    assert {each for each in page.requests() if not each.startswith("data:")} == {address}


def test_the_controls(page, write, screenshots):
    open_page(page, write("3DBall", "--agents", "3"))
    pause(page)
    still = picture(page)
    click(page, "forward")
    assert state(page)["moment"] == 5  # ticks: one decision
    assert "step2 of" in page.script("return document.querySelector('#numbers').textContent")
    click(page, "back")
    assert state(page)["moment"] == 0
    assert (picture(page) == still).all()
    click(page, "play")
    page.wait_for(lambda: state(page)["moment"] > 0, "time goes on")
    pause(page)
    page.script("document.activeElement.blur()")
    page.driver.find_element("tag name", "body").send_keys(" ")
    assert state(page)["playing"]

    page.script("const s = document.getElementById('speed'); s.selectedIndex = 1; s.dispatchEvent(new Event('change'))")
    assert state(page)["speed"] == 0.25
    chosen = "const e = document.getElementById('episode'); e.selectedIndex = 2; e.dispatchEvent(new Event('change'))"
    page.script(chosen)
    assert state(page)["episode"] == 2
    assert page.script("return document.getElementById('scrub').max") == str(
        page.script("return data.episodes[2].ticks")
    )
    page.script(chosen.replace("= 2", "= 0"))
    pause(page)

    from selenium.webdriver import ActionChains

    canvas = page.driver.find_element("id", "view")
    ActionChains(page.driver).drag_and_drop_by_offset(canvas, 120, 60).perform()
    turned = picture(page)
    assert (turned != still).any(axis=2).mean() > 0.02
    page.driver.save_screenshot(str(screenshots / "replay-turned.png"))
    click(page, "camera")
    assert (picture(page) == still).all()
    click(page, "theme")
    assert picture(page)[-1, 0].max() < 80 < still[-1, 0].min()  # dark
    assert page.errors() == []


def test_a_phone_has_room_for_everything(page, write, screenshots):
    page.resize(390, 780)
    try:
        open_page(page, write("3DBall", "--agents", "1"))
        pause(page, 5)
        assert page.script("return document.documentElement.scrollWidth") <= 390
        for name in ("play", "forward", "speed", "episode", "scrub", "view"):
            box = page.driver.find_element("id", name).rect
            assert 0 <= box["x"] <= box["x"] + box["width"] <= 390, name
            assert 0 <= box["y"] <= box["y"] + box["height"] <= 780, name
        page.driver.save_screenshot(str(screenshots / "replay-phone.png"))
    finally:
        page.resize(1000, 700)
