from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.run_folder import RunFolder


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write `run.yaml` into an empty working folder; returns its relative path, which is what messages show."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str) -> Path:
        Path("run.yaml").write_text(text, encoding="utf-8")
        return Path("run.yaml")

    return write_file


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., RunFolder]:
    def make(resume: bool = False, force: bool = False, run_id: str = "first") -> RunFolder:
        run = RunFolder(tmp_path / "results", run_id)
        run.validate(resume, force)
        run.create()
        return run

    return make
