"""What the tests of the demos share: running one in this process, as its command would."""

import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # before anything imports it
pytest.importorskip("gymnasium")
pytest.importorskip("keras")


@pytest.fixture
def run_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """`run_demo(name, *flags)` returns what `--trace` writes."""

    def run(name: str, *flags: str) -> dict[str, Any]:
        trace = tmp_path / "trace.json"
        monkeypatch.setattr(sys, "argv", [name, *flags, "--trace", str(trace)])
        runpy.run_module(f"trainers.demos.{name}", run_name="__main__")
        return json.loads(trace.read_text(encoding="utf-8"))

    return run
