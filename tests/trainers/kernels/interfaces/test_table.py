"""interfaces.md: each name that OpenMined's interfaces had, and its counterpart, which has to be there."""

import importlib
import os
import re
from pathlib import Path

import pytest

import trainers.kernels

TABLE = Path(trainers.kernels.__file__).with_name("interfaces.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.+?`) \| (.+?) \|.*\|$", TABLE, re.MULTILINE)
NAMES = {name for _, cell in ROWS for name in re.findall(r"`([\w.]+)`", cell)}
MOST_NAMES = 60


def test_every_row_has_a_counterpart() -> None:
    assert len(ROWS) >= MOST_NAMES
    assert all(re.search(r"`[\w.]+`", cell) for _, cell in ROWS)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_counterpart_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name.startswith(("keras.", "trainers.kernels.keras.")):
        monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
        keras = pytest.importorskip("keras")
        if keras.backend.backend() != "torch":
            pytest.skip("Keras is on another backend")
    if name.startswith("torch.ops.openmined."):
        importlib.import_module("trainers.kernels.operators.combined")
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
            break
        except ModuleNotFoundError:
            continue
    for part in parts[length:]:
        found = getattr(found, part)
    assert found is not None
