"""Checks C# agents for Unity without Unity: compiles them against a stub of the engine and plays them under Mono.

The fixtures, of which `mono` decides whether there is anything to test, work for any agent:

    def test_my_agent(compile_scripts, new_player):
        scripts = compile_scripts([folder / "Walker.cs", folder / "WalkerAgent.cs"])
        with new_player(scripts) as player:
            player.add_agent("WalkerAgent", "Walker", observations=2, branches=[3])
            player.begin()
            player.set("World.Position", 4.0)  # public fields and properties, as deep as need be
            message = player.step([[1]])  # what a trainer would get
            assert message.rewards[0] == 1 and list(message.observations[0]) == [5, 0]

`stub/` is the engine and ML-Agents, as far as scripts here use them; `player.py` is what a player can do, and
`driver/Driver.cs` the program behind it. Needs Mono's mcs and mono (Debian: mono-mcs, mono-runtime); see `mono`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILE_LIMIT = 60  # seconds
STUBS = ("UnityEngine", "Unity.ML-Agents", "UnityEditor")
UNITY_6 = ("UNITY_6000_0_OR_NEWER", "MLAGENTS_HAS_NUM_AREAS")


@pytest.fixture(scope="session")
def mono() -> None:
    """Skips the test without Mono, or fails it where MLBRIDGE_REQUIRE_MONO=1 says that Mono has to be there."""
    missing = [program for program in ("mcs", "mono") if shutil.which(program) is None]
    if not missing:
        return
    text = f"{' and '.join(missing)} not found: the C# scripts were not checked (Debian: mono-mcs, mono-runtime)"
    if os.environ.get("MLBRIDGE_REQUIRE_MONO") == "1":
        pytest.fail(text, pytrace=False)
    warnings.warn(text, stacklevel=1)  # which is shown even where the reasons of skips are not
    pytest.skip(text)


def run_mcs(sources: Iterable[Path], output: Path, references: Iterable[Path], defines: Iterable[str]) -> None:
    """C# 7.2 as far as mcs knows it, which Unity's compiler understands as well. Warnings count as errors."""
    command = ["mcs", "-nologo", "-langversion:7.2", "-warnaserror", f"-out:{output}"]
    command += ["-target:exe" if output.suffix == ".exe" else "-target:library"]
    command += [f"-define:{each}" for each in defines] + [f"-reference:{each}" for each in references]
    command += [str(each) for each in sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_LIMIT)
    if done.returncode != 0:
        raise CompileError(f"{output.name}:\n{done.stdout}{done.stderr}")


class CompileError(Exception):
    """What mcs had to say."""


@pytest.fixture(scope="session")
def compile_stub(mono, tmp_path_factory) -> Callable[..., Path]:
    """`compile_stub(defines)` returns a new folder with the stub and the driver; scripts are compiled into it."""
    made: dict[tuple[str, ...], Path] = {}

    def make(defines: Sequence[str] = UNITY_6) -> Path:
        defines = tuple(defines)
        if defines not in made:
            made[defines] = folder = tmp_path_factory.mktemp("stub")
            libraries: list[Path] = []
            for name in STUBS:
                run_mcs(sorted((HERE / "stub" / name).glob("*.cs")), folder / f"{name}.dll", libraries, defines)
                libraries.append(folder / f"{name}.dll")
            run_mcs(sorted((HERE / "driver").glob("*.cs")), folder / "Driver.exe", libraries, defines)
        folder = tmp_path_factory.mktemp("scripts")
        shutil.copytree(made[defines], folder, dirs_exist_ok=True)
        return folder

    return make


@pytest.fixture(scope="session")
def compile_scripts(compile_stub) -> Callable[..., Path]:
    """`compile_scripts(sources, defines=UNITY_6)` compiles scripts into one assembly and returns its folder.

    Raises CompileError, with the compiler's own words. A name of the engine that the stub lacks is such an error.
    """

    def make(sources: Iterable[Path], defines: Sequence[str] = UNITY_6) -> Path:
        folder = compile_stub(defines)
        run_mcs(sources, folder / "Scripts.dll", [folder / f"{name}.dll" for name in STUBS[:2]], defines)
        return folder

    return make


@pytest.fixture(scope="session")
def compile_project(compile_stub, unity_project) -> Callable[..., Path]:
    """`compile_project(defines=UNITY_6)` compiles the Unity project, each assembly with what its asmdef names."""
    definitions = [(path.parent, json.loads(path.read_text())) for path in unity_project.rglob("*.asmdef")]
    assemblies = {definition["name"]: (folder, definition) for folder, definition in definitions}
    made: dict[tuple[str, ...], Path] = {}

    def build(name: str, output: Path, defines: Sequence[str]) -> None:
        if (output / f"{name}.dll").exists():
            return
        folder, definition = assemblies[name]
        references = list(definition["references"])
        for reference in references:
            build(reference, output, defines)
        if not definition.get("noEngineReferences"):
            references.append("UnityEngine")
        if definition.get("includePlatforms") == ["Editor"]:
            references.append("UnityEditor")
        libraries = [output / f"{reference}.dll" for reference in references]
        run_mcs(sorted(folder.rglob("*.cs")), output / f"{name}.dll", libraries, defines)

    def make(defines: Sequence[str] = UNITY_6) -> Path:
        defines = tuple(defines)
        if defines not in made:
            output = compile_stub([each for each in defines if each in UNITY_6])
            # What does not know the other symbols is the same without them.
            others = [each for each in defines if each not in UNITY_6]
            for name, (folder, _) in assemblies.items():
                texts = [path.read_text() for path in folder.rglob("*.cs")]
                if others and not any(other in text for other in others for text in texts):
                    shutil.copy(make([each for each in defines if each in UNITY_6]) / f"{name}.dll", output)
            for name in assemblies:
                build(name, output, defines)
            made[defines] = output
        return made[defines]

    return make


@pytest.fixture(scope="session")
def project(compile_project) -> Path:
    """The folder with the compiled scripts of the Unity project, as for Unity 6."""
    return compile_project()


@pytest.fixture(scope="session")
def unity_6() -> tuple[str, ...]:
    """The symbols that are defined under Unity 6 with its ML-Agents package."""
    return UNITY_6


@pytest.fixture(scope="session")
def unity_project(repository) -> Path:
    """The Unity project's folder."""
    return repository / "unity_envs/UnityProject"


@pytest.fixture(scope="session")
def new_player() -> type:
    """The class of player.py. Call it in a with statement: new_player(folder, arguments=("--agents", "2"))."""
    # By its path, since tests are in no package.
    name = "unity_project_player"
    spec = importlib.util.spec_from_file_location(name, HERE / "player.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Player
