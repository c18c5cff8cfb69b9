"""`mlbridge learn` as far as it starts nothing: what is printed instead, and flags that ML-Agents has given up."""

from pathlib import Path

import pytest
import yaml

from trainers.commands import main


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_dry_run_prints_what_would_be_in_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--seed", "3", "--set", "behaviors.3DBall.max_steps=7", "--set", "behaviors.*.summary_freq=5"]
    assert main(["learn", "3DBall", "--dry-run", *arguments]) == 0
    printed = capsys.readouterr().out
    settings = yaml.safe_load(printed)
    behavior = settings["behaviors"]["3DBall"]
    assert (behavior["max_steps"], behavior["summary_freq"], behavior["time_horizon"]) == (7, 5, 1000)
    assert settings["env_settings"]["seed"] == 3
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "again.yaml").write_text(printed)
    assert main(["learn", "again.yaml", "--dry-run"]) == 0
    assert capsys.readouterr().out == printed


def test_a_dry_run_tells_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", "3DBall", "--dry-run", "--set", "behaviors.3DBall.max_step=7"]) == 2
    assert "--set behaviors.3DBall.max_step: unknown key, did you mean 'max_steps'?" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--load", "--train", "--torch", "--tensorflow"])
def test_flags_that_ml_agents_has_given_up_are_taken_with_a_warning(
    flag: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["learn", "3DBall", "--dry-run", flag]) == 0
    assert f"{flag} is deprecated" in caplog.text
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["checkpoint_settings"]["resume"] == (flag == "--load")
    with pytest.raises(SystemExit):
        main(["learn", "--help"])
    assert flag + " " not in capsys.readouterr().out
