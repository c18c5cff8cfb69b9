"""The fuzzer for some seconds, the kept corpus through compiled code with bounds checks, and what was found so far."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
SECONDS = 8
LIMIT = 300  # seconds that a program may take, on a machine with other things to do

pytestmark = pytest.mark.timeout(2 * LIMIT)


def load(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(name: str, *words: object, **environment: str) -> str:
    command = [sys.executable, str(HERE / name), *map(str, words)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine")
def test_a_short_search_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    flags = [f"-max_total_time={SECONDS}", "-print_final_stats=1", f"-artifact_prefix={tmp_path}/"]
    said = program("fuzz.py", tmp_path / "new", CORPUS, *flags, NUMBA_DISABLE_JIT="1")
    executions = int(said.rpartition("number_of_executed_units: ")[2].split()[0])
    assert executions > len(list(CORPUS.iterdir()))  # it read the corpus, and went on


def test_compiled_code_with_bounds_checks_reads_the_corpus(repository: Path) -> None:
    cache = repository / ".cache/numba-with-bounds-checks"
    said = program("replay.py", CORPUS, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(cache))
    assert f"{len(list(CORPUS.iterdir()))} inputs were read by compiled code with bounds checks" in said


def test_the_corpus_reaches_the_decoder_and_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.iterdir()) < 2**20
    decoder = json.loads(program("reached.py", CORPUS, NUMBA_DISABLE_JIT="1"))["wire_reading.py"]
    # What remains are bounds that earlier ones imply.
    assert len(decoder["not_reached"]) < 0.05 * decoder["lines"]


@pytest.fixture(scope="module")
def targets() -> ModuleType:
    return load("targets")


FINDINGS = load("findings").FINDINGS


@pytest.mark.parametrize("finding", FINDINGS, ids=[each.what for each in FINDINGS])
def test_what_was_found_is_mended(targets: ModuleType, finding) -> None:
    targets.check(finding.data)
    if finding.to_player:
        seen = targets.Player().read(finding.data, fast=True)
    else:
        seen = targets.Trainer(fast=True).read(finding.data)
    if finding.says:
        assert finding.says in seen[1]
    else:
        assert seen[0] in targets.SPECS  # steps, whose first behavior this is


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine")
def test_a_mistake_in_the_decoder_would_be_found(tmp_path: Path, repository: Path) -> None:
    for name in ("bridge", "tests/bridge", "tests/fuzz"):
        shutil.copytree(repository / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    decoder = tmp_path / "bridge/wire_reading.py"
    text = decoder.read_text()
    mended = "if not done and (masked or at - start != flags):"
    assert mended in text
    decoder.write_text(text.replace(mended, "if not done and at - start != flags:"))
    command = [sys.executable, str(tmp_path / "tests/fuzz/fuzz.py"), f"-artifact_prefix={tmp_path}/", str(CORPUS)]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path)
    assert done.returncode != 0
    assert "AssertionError" in done.stdout + done.stderr
    assert len(list(tmp_path.glob("crash-*"))) == 1
