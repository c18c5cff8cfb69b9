"""What trainers/kernels/README.md tells people to do, done: an operator added by its recipe, its C# program run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainers.kernels import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.usefixtures("native")]

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPERATOR = "softsign"


@pytest.fixture
def guide(repository: Path) -> list[tuple[str, str, str, str]]:
    """The README's blocks: language, file, place in the file, text."""
    return BLOCK.findall((repository / "trainers/kernels/README.md").read_text(encoding="utf-8"))


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """A copy of what the operators and their tests need."""
    copied = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "UnityProject", "pictures", "portability", "cuda", "*.so")
    for name in ("bridge", "trainers", "unity_envs", "tests/trainers"):
        shutil.copytree(repository / name, copied / name, ignore=ignored)
    shutil.copytree(repository / "trainers/kernels/cuda", copied / "trainers/kernels/cuda")
    for name in ("pyproject.toml", "README.md", "tests/conftest.py"):
        shutil.copy(repository / name, copied / name)
    return copied


def insert(path: Path, place: str, text: str) -> None:
    """Adds lines to a dictionary of Python, or at the end of a table of C macros."""
    lines = path.read_text(encoding="utf-8").splitlines()
    (start,) = [number for number, line in enumerate(lines) if re.match(rf"(#define )?{place}\b.*[={{(\\]", line)]
    if path.suffix == ".py":
        before, bracket, rest = lines[start].rpartition("{")
        lines[start : start + 1] = [before + bracket, text.rstrip("\n"), rest]
    else:
        end = next(number for number in range(start, len(lines)) if not lines[number].endswith("\\"))
        lines[end] += " \\"
        lines.insert(end + 1, text.rstrip("\n"))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_an_operator_is_added_by_the_recipe(
    guide: list[tuple[str, str, str, str]], checkout: Path, run: Callable[..., str], tmp_path: Path
) -> None:
    edits = [(name, place, text) for _, name, place, text in guide if place]
    assert len(edits) == 3 and all(OPERATOR in text for _, _, text in edits)
    for name, place, text in edits:
        insert(checkout / "trainers/kernels" / name, place, text)
    (command,) = [text.removeprefix("$ ").split() for language, _, _, text in guide if language == "console"]
    assert command[0] == "python"
    environment = {name: value for name, value in os.environ.items() if name != "OPENMINED_LIBRARY"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), "PYTHONPATH": str(checkout)}
    done = run([sys.executable, *command[1:], "-v", "-rs"], cwd=checkout, env=environment)
    passed = re.findall(rf"::(\w+)\[.*{OPERATOR}.*\] PASSED", done)
    assert len(passed) >= 5 and any("native" in name for name in passed) and any("grad" in name for name in passed), (
        done
    )
    code = (
        "import torch, trainers.kernels.operators, trainers.kernels as k\n"
        f"print(torch.ops.openmined.{OPERATOR}(torch.tensor([-3.0, 1.0])).tolist(), k.status().native, k.__file__)"
    )
    said = run([sys.executable, "-c", code], cwd=checkout, env=environment)
    assert said.startswith("[-0.75, 0.5] True ") and str(checkout) in said


def test_the_c_sharp_program_runs(
    guide: list[tuple[str, str, str, str]], run: Callable[..., str], tmp_path: Path
) -> None:
    from trainers.kernels.advantages import gae

    if shutil.which("mcs") is None or shutil.which("mono") is None:
        if os.environ.get("MLBRIDGE_REQUIRE_MONO") == "1":
            pytest.fail("mcs and mono not found (Debian: mono-mcs, mono-runtime)", pytrace=False)
        pytest.skip("no Mono: the C# program was not run (Debian: mono-mcs, mono-runtime)")
    ((name, text),) = [(name, text) for language, name, _, text in guide if language == "csharp"]
    (tmp_path / name).write_text(text, encoding="utf-8")
    shutil.copy(build.find_or_build(), tmp_path / build.library_name())
    run(["mcs", "-nologo", "-warnaserror", f"-out:{tmp_path / 'Advantages.exe'}", tmp_path / name])
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "DYLD_LIBRARY_PATH": str(tmp_path)}
    said = run(["mono", tmp_path / "Advantages.exe"], env=environment)
    rewards, values = (np.array([column], np.float32).T for column in ([1, 0, 2], [0.5, 0.25, 1]))
    expected, _ = gae(rewards, values, np.array([2, 1]), np.array([[0.75], [0]], np.float32), [0.99], 0.95)
    np.testing.assert_allclose([float(word) for word in said.split()], np.ravel(expected), rtol=1e-6)


def test_the_status_it_shows_is_one(repository: Path) -> None:
    text = (repository / "trainers/kernels/README.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from trainers.kernels import status; print(status())"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=100,
    )
    fields = re.findall(r"(\w+)=", done.stdout)
    shown = next(line for line in text.splitlines() if line.startswith("Status("))
    assert re.findall(r"(\w+)=", shown) == fields
