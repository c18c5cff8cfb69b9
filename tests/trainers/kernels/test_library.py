"""Finding, building and refusing the library; wrong arguments are exceptions that say what was expected."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.kernels import build, instruction_sets, set_instruction_set, status

SHOW = "from trainers.kernels import status; s = status(); print(s.native, s.instruction_set, s.reason, sep='|')"


def run_python(code: str, repository: Path, **environment: str) -> list[str]:
    """Runs code in a fresh Python; its printed line, split at |."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


def test_status_says_what_is_live(native: None) -> None:
    found = status()
    assert found.native and found.instruction_set in found.reason
    assert found.instruction_set == instruction_sets()[0] or "OPENMINED_INSTRUCTION_SET" in os.environ
    assert instruction_sets()[-1] == "portable"


def test_the_environment_variable_chooses_the_instruction_set(native: None, repository: Path) -> None:
    assert run_python(SHOW, repository, OPENMINED_INSTRUCTION_SET="portable")[1] == "portable"
    assert run_python(SHOW, repository, OPENMINED_INSTRUCTION_SET="none")[1] == instruction_sets()[0]


def test_an_unknown_instruction_set_is_refused(native: None) -> None:
    with pytest.raises(ValueError, match=r"set_instruction_set: name: expected one of .*portable.*, got 'sse9'"):
        set_instruction_set("sse9")


def test_without_a_compiler_one_line_says_so(repository: Path, tmp_path: Path) -> None:
    native, _, reason = run_python(SHOW, repository, CXX="no-such-compiler", XDG_CACHE_HOME=str(tmp_path))
    assert native == "False"
    assert reason == (
        "no native kernels, PPO runs in plain torch: there is no no-such-compiler, which the environment variable CXX "
        "names as C++ compiler"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="the cache is found by other variables there")
def test_a_compiler_that_fails_is_told(repository: Path, tmp_path: Path) -> None:
    compiler = tmp_path / "failing-compiler"
    compiler.write_text("#!/bin/sh\ncase $1 in --version) echo 1;; *) echo 'error: no space' >&2; exit 1;; esac\n")
    compiler.chmod(0o755)
    native, _, reason = run_python(SHOW, repository, CXX=str(compiler), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert native == "False"
    assert "failing-compiler failed: error: no space" in reason
    assert not list((tmp_path / "cache").rglob("*openmined*"))


def test_a_library_of_another_version_is_refused(native: None, tmp_path: Path) -> None:
    from trainers.kernels.library import _open, _Unusable

    source = tmp_path / "other.cpp"
    source.write_text('extern "C" int om_abi_version() { return 999; }\n')
    target = tmp_path / build.library_name()
    subprocess.run([*build.find_compiler(), "-shared", "-fPIC", str(source), "-o", str(target)], check=True, timeout=60)
    with pytest.raises(_Unusable, match="has ABI version 999, expected 1"):
        _open(target)
    broken = tmp_path / "broken" / build.library_name()  # not the same file: that one is in use now
    broken.parent.mkdir()
    broken.write_bytes(b"no library")
    with pytest.raises(_Unusable, match="cannot be loaded"):
        _open(broken)


def test_another_source_or_compiler_has_another_place_in_the_cache(
    native: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = build.find_compiler()
    before = build.cached_library(compiler)
    assert build.cached_library(compiler) == before
    assert build.cached_library([*compiler, "-g"]) != before
    copied = tmp_path / "kernels"
    shutil.copytree(Path(build.__file__).parent, copied)
    monkeypatch.setattr(build, "_HERE", copied)
    assert build.cached_library(compiler) == before
    (copied / "src" / "core.cpp").write_text("int changed;\n")
    assert build.cached_library(compiler) != before


def test_importing_the_package_needs_no_torch(repository: Path) -> None:
    code = "import sys, trainers.kernels, trainers.kernels.build; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert run_python(code, repository) == ["False False"]


# ---- wrong arguments ----


def test_wrong_observations_are_told_by_index(twins: Callable[..., Any], native: None) -> None:
    fused = twins(inputs=(3, 5)).fused
    good = [np.zeros((4, 3), np.float32), np.zeros((4, 5), np.float32)]
    for wrong, kind, message in (
        ([good[0]], ValueError, r"act: observations: expected 2, one an observation, got 1"),
        ([good[0], good[1].astype(np.float64)], TypeError, r"act: observations\[1\]: expected float32, got float64"),
        ([good[0], good[1][:3]], ValueError, r"observations\[1\]: expected 4 agents with 5 numbers each, .*\[3, 5\]"),
        ([good[0], good[0]], ValueError, r"observations\[1\]: expected 4 agents with 5 numbers each, .*\[4, 3\]"),
    ):
        with pytest.raises(kind, match=message):
            fused.act(wrong, seed=1, call=1)
        with pytest.raises(kind, match=message):
            fused.values(wrong)


def test_wrong_masks_are_told(twins: Callable[..., Any], native: None) -> None:
    fused = twins(branches=(3,)).fused
    seen = [np.zeros((4, 8), np.float32)]
    with pytest.raises(TypeError, match=r"act: allowed: expected bool, got float32"):
        fused.act(seen, np.ones((4, 3), np.float32), seed=1, call=1)
    with pytest.raises(ValueError, match=r"act: allowed: expected shape \[4, 3\], got \[4, 2\]"):
        fused.act(seen, np.ones((4, 2), np.bool_), seed=1, call=1)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"inputs": torch.zeros(50, 8, dtype=torch.float64)}, TypeError, r"inputs: expected float32, got float64"),
        ({"inputs": torch.zeros(8, 50).t()}, ValueError, r"inputs: expected dense rows, got strides \(1, 50\)"),
        ({"discrete": torch.zeros(50, 1)}, TypeError, r"discrete: expected int64, got float32"),
        ({"returns": torch.zeros(50)}, ValueError, r"returns: expected shape \[50, 1\], got \[50\]"),
        ({"values": np.zeros((50, 1), np.float32)}, TypeError, r"values: expected a tensor, got ndarray"),
        (
            {"advantages": torch.zeros(50, device="meta")},
            ValueError,
            r"advantages: expected a tensor on cpu, got .*meta",
        ),
        ({"discrete": torch.full((50, 1), 3)}, ValueError, r"a discrete action is outside of its branch"),
        ({"order": torch.arange(40) + 11}, ValueError, r"an entry of `order` is no step of the batch"),
        ({"order": torch.arange(41)}, ValueError, r"order: expected whole minibatches of 20, got 41 entries"),
        ({"order": torch.zeros(40)}, TypeError, r"order: expected int64, got float32"),
        ({"learning_rate": float("nan")}, ValueError, r"a setting is not a number or out of range"),
        ({"moment": torch.zeros(3)}, ValueError, r"adam.moment: expected shape \[\d+\], got \[3\]"),
    ],
)
def test_wrong_experience_is_told_and_changes_nothing(
    twins: Callable[..., Any], native: None, change: dict[str, Any], kind: type[Exception], message: str
) -> None:
    from trainers.kernels.fused import AdamState, Experience

    pair = twins(branches=(3,))
    target = pair.batch(50).target
    fields = Experience(torch.zeros(50, 8), *target.actions, *target[1:])._asdict()
    optimizer = pair.optimizer
    before = optimizer._values.clone()
    settings = {"order": torch.arange(40), "learning_rate": 1e-3, "moment": optimizer._moment}
    for name, value in change.items():
        (settings if name in settings else fields)[name] = value
    adam = AdamState(optimizer._gradient, settings["moment"], optimizer._square, 0)
    with pytest.raises(kind, match="ppo_update: " + message):
        pair.fused.update(
            Experience(**fields),
            adam,
            settings["order"],
            batch_size=20,
            learning_rate=settings["learning_rate"],
            epsilon=0.2,
            beta=0.01,
        )
    assert torch.equal(optimizer._values, before)


def test_modules_that_are_no_views_of_the_parameters_are_refused(twins: Callable[..., Any], native: None) -> None:
    from trainers.kernels.fused import FusedActorCritic

    pair = twins()
    actor, critic = pair.reference.actor, pair.reference.critic
    parts = {
        "observation_sizes": [8],
        "actor": list(actor.body),
        "continuous": actor.continuous,
        "log_sigma": actor.log_sigma,
        "discrete": [],
        "critic": list(critic.body),
        "values": list(critic.values.values()),
    }
    with pytest.raises(ValueError, match=r"actor weight: expected a view of parameters, got a tensor of its own"):
        FusedActorCritic(torch.zeros(10), **parts)
    good = pair.reference_optimizer._values
    with pytest.raises(ValueError, match=r"actor weight: expected shape \[32, 9\], got \[32, 8\]"):
        FusedActorCritic(good, **(parts | {"observation_sizes": [9]}))
    with pytest.raises(ValueError, match=r"log_sigma: expected together with continuous"):
        FusedActorCritic(good, **(parts | {"log_sigma": None}))
    with pytest.raises(ValueError, match=r"critic: expected layers of \[32, 32\] units like the actor's, got \[32\]"):
        FusedActorCritic(good, **(parts | {"critic": list(critic.body)[1:]}))
    with pytest.raises(TypeError, match=r"parameters: expected float32, got float64"):
        FusedActorCritic(good.double(), **parts)
