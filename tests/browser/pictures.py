"""Draws the pictures of README.md's section "Looking at a run" into trainers/pictures/: `make pictures`.

It wants the run that `make pictures` has trained before, pictures-3DBall, and trains small ones of its own.
"""

import argparse
import contextlib
import io
import re
import shutil
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from browser import open_browser
from PIL import Image

from bridge.ports import find_free_port
from trainers.commands import learn, main
from trainers.console import DashboardConsole, Progress

PICTURES = Path(__file__).resolve().parents[2] / "trainers" / "pictures"
SEEDS = (1, 2, 3)
LEARNING_RATES = {"rate-0.003": 0.003, "rate-0.0003": 0.0003}
SHOWN_LINES, COLUMNS = 7, 116


class KeptDashboard(DashboardConsole):
    """Keeps what a person would see in the middle of a run, instead of drawing it over and over."""

    lines: list[str]
    seen: tuple[list[str], Progress] | None = None

    def progress_due(self) -> bool:
        return True

    def progress(self, progress: Progress) -> None:
        self._speed.update(progress)
        if all(each.step < 0.6 * each.max_steps for each in progress.behaviors.values()):
            self.seen = self.lines[-SHOWN_LINES:], progress

    def _write(self, level: str, line: str) -> None:
        self.lines.append(re.sub(r"\(/.*\)", "", line))  # where the program is on this machine says nothing

    def picture(self, path: Path) -> None:
        import rich.console

        self._rich = rich.console.Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        assert self.seen is not None
        lines, progress = self.seen
        for line in lines:
            self._rich.print(line, markup=False, highlight=False)
        self._rich.print(self._render(progress))
        text = self._rich.export_svg(title="mlbridge learn PoleBalancer --env PoleBalancer", unique_id="dashboard")
        # The page may not load fonts from elsewhere.
        path.write_text(re.sub(r"\s*@font-face \{.*?\}", "", text, flags=re.DOTALL), encoding="utf-8")


def run(*words: object) -> None:
    if main([str(word) for word in words]) != 0:
        raise SystemExit(f"mlbridge {' '.join(map(str, words))} failed")


def draw_dashboard(results: Path) -> None:
    kept = KeptDashboard(debug=False, stream=io.StringIO())
    kept.lines = []
    before = learn.make_console
    learn.make_console = lambda **_: kept
    try:
        words = ("--in-process", "--results-dir", results, "--run-id", "pictures-dashboard", "--seed", 1, "--force")
        run("learn", "PoleBalancer", "--env", "PoleBalancer", *words)
    finally:
        learn.make_console = before
    kept.picture(PICTURES / "dashboard.svg")


def draw_curves(results: Path) -> None:
    for name, rate in LEARNING_RATES.items():
        for seed in SEEDS:
            words = ("--in-process", "--results-dir", results, "--run-id", f"{name}-{seed}", "--seed", seed, "--force")
            sets = ("--set", f"behaviors.CubeMover.hyperparameters.learning_rate={rate}")
            sets += ("--set", "behaviors.CubeMover.max_steps=20000", "--set", "behaviors.CubeMover.summary_freq=1000")
            run("learn", "CubeMover", "--env", "CubeMover", *words, *sets)
    runs = [results / f"{name}-{seed}" for name in LEARNING_RATES for seed in SEEDS]
    groups = [word for name in LEARNING_RATES for word in ("--group", f"{name}-")]
    run("plot", *runs, *groups, "--smoothing", 0.5, "--output", PICTURES / "comparison.png")


def take_replay(browser: Any, results: Path) -> None:
    page = results / "pictures-3DBall" / "replay.html"
    words = ("--model", "random", "--caption", "trained", "--caption", "untrained", "--agents", 2, "--seed", 1)
    run("play", results / "pictures-3DBall", *words, "--html", page)
    browser.driver.get(page.absolute().as_uri())
    browser.wait_for(lambda: browser.script("return replay.drawn > 1"), "two frames were drawn")
    browser.script("Object.assign(replay, {playing: false, moment: 150}); dispatchEvent(new Event('resize'))")
    browser.driver.save_screenshot(str(PICTURES / "replay.png"))


@contextlib.contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    port = find_free_port(6306)
    program = Path(sysconfig.get_path("scripts"), "tensorboard" + sysconfig.get_config_var("EXE"))
    # From within, since its page shows the folder as it was given.
    command = [str(program), "--logdir", folder.name, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/"
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address, timeout=60).close()
                break
            time.sleep(0.5)
        yield address
    finally:
        process.kill()
        process.wait()


def take_tensorboard(browser: Any, results: Path) -> None:
    browser.resize(1100, 1000)
    with tensorboard(results / "pictures-3DBall") as address:
        browser.driver.get(f"{address}#timeseries")

        def drawn() -> bool:
            return "/Cumulative Reward_hist" in browser.script("return document.body.innerText")

        def curve() -> bool:
            """Whether the first chart shows more than its grid, which is grey."""
            png = browser.driver.find_element("tag name", "line-chart").screenshot_as_png
            colors = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
            return bool((np.ptp(colors, axis=2) > 25).sum() > 200)

        browser.wait_for(drawn, "the cards of the rewards")
        browser.wait_for(curve, "the curve of the rewards")
        browser.driver.save_screenshot(str(PICTURES / "tensorboard.png"))


def draw_all() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of runs (default: %(default)s)")
    results: Path = parser.parse_args().results
    PICTURES.mkdir(exist_ok=True)
    draw_dashboard(results)
    draw_curves(results)
    with open_browser() as browser:
        take_replay(browser, results)
        take_tensorboard(browser, results)
    for run_id in ["pictures-dashboard", *(f"{name}-{seed}" for name in LEARNING_RATES for seed in SEEDS)]:
        shutil.rmtree(results / run_id)


if __name__ == "__main__":
    draw_all()
