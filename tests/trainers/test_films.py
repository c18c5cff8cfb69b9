"""Films of the policy among TensorBoard's images."""

import io
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainers.commands import learn, main

CONFIGURATION = """
behaviors:
  CubeMover:
    trainer_type: ppo
    hyperparameters: {batch_size: 16, buffer_size: 60, num_epoch: 1}
    network_settings: {hidden_units: 8, num_layers: 1}
    time_horizon: 20
    max_steps: 200
    summary_freq: 100
    checkpoint_interval: 100
"""


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(learn, "_preload", lambda: None)  # everything is loaded, and garbage stays collected here
    Path("tiny.yaml").write_text(CONFIGURATION, encoding="utf-8")


def images(run_id: str) -> dict[str, list[tuple[int, bytes]]]:
    events = EventAccumulator(f"results/{run_id}/CubeMover", size_guidance={"images": 0})
    events.Reload()
    return {
        tag: [(event.step, event.encoded_image_string) for event in events.Images(tag)]
        for tag in events.Tags()["images"]
    }


def test_every_checkpoint_has_a_film_in_tensorboard() -> None:
    words = ["learn", "tiny.yaml", "--env", "CubeMover", "--in-process", "--seed", "1"]
    assert main([*words, "--run-id", "without"]) == 0
    assert main([*words, "--run-id", "with", "--film"]) == 0
    assert images("without") == {}
    ((tag, films),) = images("with").items()
    assert tag == "Film"
    checkpoints = [int(path.stem.split("-")[1]) for path in Path("results/with/CubeMover").glob("CubeMover-[0-9]*.pt")]
    assert sorted(step for step, _ in films) == sorted(checkpoints)
    with Image.open(io.BytesIO(films[0][1])) as film:
        assert (film.format, film.size) == ("GIF", (320, 200))
        assert film.n_frames > 1  # it moves
    # Looking changes nothing of what is learnt.
    assert Path("results/with/CubeMover.onnx").read_bytes() == Path("results/without/CubeMover.onnx").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--film shows built-in environments only (CubeMover, PoleBalancer, 3DBall), but --env is not given"),
        (["--env", "/bin/true"], "--film shows built-in environments only"),
        (
            ["--env", "CubeMover", "--in-process", "--env-args", "--variant", "x"],
            "--env-args: CubeMover has no variant",
        ),
    ],
)
def test_what_cannot_be_shown_is_told_before_anything_is_started(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["learn", "tiny.yaml", "--film", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("results").exists()
