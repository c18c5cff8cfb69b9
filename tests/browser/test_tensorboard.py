"""TensorBoard on a small real run, opened in a browser."""

import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from bridge.ports import find_free_port

pytestmark = pytest.mark.timeout(900)

CONFIGURATION = """
behaviors:
  CubeMover:
    trainer_type: ppo
    hyperparameters: {batch_size: 16, buffer_size: 100, num_epoch: 1}
    network_settings: {hidden_units: 8, num_layers: 1}
    time_horizon: 20
    max_steps: 600
    summary_freq: 200
"""
# All text of a page, also of what its elements hide from `innerText`.
TEXT = """
const texts = [];
const walk = (node) => {
  if (node.shadowRoot) walk(node.shadowRoot);
  for (const child of node.childNodes) {
    if (child.nodeType !== Node.TEXT_NODE) walk(child);
    else if (child.data.trim() && !["STYLE", "SCRIPT", "NOSCRIPT"].includes(node.tagName)) texts.push(child.data);
  }
};
walk(document.body);
return texts;
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory, mlbridge):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("tensorboard")
    (folder / "tiny.yaml").write_text(CONFIGURATION, encoding="utf-8")
    command = [*mlbridge, "learn", "tiny.yaml", "--env", "CubeMover", "--in-process", "--film", "--run-id", "tiny"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "results"


@pytest.fixture(scope="module")
def tensorboard(results):
    """Its address."""
    port = find_free_port(6206)
    program = Path(sysconfig.get_path("scripts"), "tensorboard" + sysconfig.get_config_var("EXE"))
    command = [str(program), "--logdir", str(results), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(address, timeout=60).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, "TensorBoard ended"
                assert time.monotonic() < deadline, "TensorBoard does not answer"
                time.sleep(0.5)
        yield address
    finally:
        process.kill()
        process.wait()


def test_the_scalars_page_shows_our_tags(page, tensorboard, screenshots):
    page.driver.get(f"{tensorboard}#scalars")
    tags = {"Environment/Cumulative Reward", "Environment/Episode Length", "Losses/Policy Loss", "Policy/Entropy"}

    def shown():
        texts = set(page.script(TEXT))
        return texts if {"Environment", "Losses", "Policy", "tiny/CubeMover"} <= texts else None

    page.wait_for(shown, "the runs and the groups of tags")
    for heading in ("Losses", "Policy"):  # the first group is open, these may not be
        page.script(
            "const all = (n) => [n, ...(n.shadowRoot ? [n.shadowRoot] : []), ...n.childNodes].slice(1).flatMap((c) => "
            "[c, ...all(c)]); for (const n of all(document.body)) if (n.nodeType === 1 && n.className === 'heading' && "
            "n.textContent.includes(arguments[0]) && !n.getAttribute('open-button')) n.click();",
            heading,
        )
    page.wait_for(lambda: tags <= set(page.script(TEXT)), f"the tags {tags}; there are {page.script(TEXT)}")
    page.driver.save_screenshot(str(screenshots / "tensorboard-scalars.png"))
    assert page.errors() == []
    assert {each for each in page.requests() if not each.startswith(("data:", "blob:", tensorboard))} == set()


def test_the_time_series_page_shows_curves_the_histogram_of_rewards_and_the_film(page, tensorboard, screenshots):
    page.driver.get("about:blank")
    page.driver.get(f"{tensorboard}#timeseries")

    def shown():
        text = page.script("return document.body.innerText")
        return "/Cumulative Reward_hist" in text and "/Cumulative Reward\\n" in text.replace("\n", "\\n") and text

    text = page.wait_for(shown, "the cards of the rewards")
    assert {"tiny/CubeMover", "Film"} <= set(text.splitlines())
    page.driver.save_screenshot(str(screenshots / "tensorboard-timeseries.png"))
    assert page.errors() == []
