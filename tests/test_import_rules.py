"""Which room may import what, and what the repository may hold. Read off the syntax trees: nothing is imported."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("bridge", "trainers", "unity_envs")
TOP_LEVEL = {
    ".ci",
    ".gitattributes",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "tests",
    *ROOMS,
}
MOST_LINES = 400
SOURCE = {".c", ".cpp", ".cs", ".cu", ".cuh", ".h", ".proto", ".py"}

# What a room, or a part of it, may import of the other rooms: these names of that module; "*" is all of it.
OTHER_ROOMS = {
    "bridge": {},
    "unity_envs": {"bridge": "*"},
    "trainers": {
        "bridge": "*",
        "unity_envs.worlds": {"make_world_factory", "names"},
        "unity_envs.executables": {"path", "names"},
    },
    # What `mlbridge play` and `mlbridge envs` show of the built-in environments.
    "trainers.commands": {
        "unity_envs.worlds": {"check_name", "variants"},
        "unity_envs.viewer": "*",
        "unity_envs.replay_page": "*",
        "unity_envs.recording_format": {"load", "write"},
        "unity_envs.replay": {"replay"},
        "unity_envs.comparison": {"compare"},
    },
}
FORBIDDEN = {"bridge": {"torch"}, "unity_envs": {"torch"}}
ONLY = {"trainers.kernels": {"torch", "numpy", "keras", "trainers.kernels"}}
OPTIONAL = {"gymnasium", "imageio_ffmpeg", "keras", "matplotlib", "mujoco", "optuna", "pettingzoo", "stable_baselines3"}
OPTIONAL |= {"wandb"}
# Parts whose classes are made of an optional package's, and which are themselves imported where they are used.
MADE_OF = {
    "gymnasium": {f"bridge.gymnasium_{part}" for part in ("env", "spaces", "vector_env")}
    | {"bridge.compat", "trainers.demos"},
    "keras": {"trainers.kernels.keras", "trainers.demos"},
    "pettingzoo": {"bridge.pettingzoo_env", "bridge.compat"},
    "stable_baselines3": {"bridge.stable_baselines3_env"},
}
# The modules of mlagents_envs that work on a current protobuf.
MLAGENTS_ENVS = {"base_env", "exception", "logging_util", "timers"}
# Import name to distribution name, where they differ.
DISTRIBUTIONS = {
    "google": "protobuf",
    "grpc": "grpcio",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "mlagents_envs": "mlagents-envs",
    "PIL": "pillow",
    "stable_baselines3": "stable-baselines3",
    "pydantic_core": "pydantic",
    "yaml": "PyYAML",
}

MACHINE_PATH = re.compile(r"(?<![\w.~:/-])/(?:work|root|home|Users|tmp)/\w|\b[A-Z]:\\+Users\\")


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None, int, bool]]:
    """(module, name imported from it or None, line, whether it happens when the file is imported) of every import."""

    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[str, str | None, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, None, child.lineno, at_import
            elif isinstance(child, ast.ImportFrom):
                for alias in child.names:
                    yield "." * child.level + (child.module or ""), alias.name, child.lineno, at_import
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for part in child.body:
                    yield from walk(ast.Module([part], []), False)
                for part in child.orelse:
                    yield from walk(ast.Module([part], []), at_import)
            else:
                yield from walk(
                    child, at_import and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                )

    return walk(tree, True)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def check_imports(path: str, source: str, declared: Iterable[str]) -> Iterator[str]:
    """One sentence for each import against the rules in `source`, the text of the file `path` ("bridge/codec.py")."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    room = module.split(".")[0]
    for target, name, line, at_import in imports(ast.parse(source)):
        where = f"{path}:{line}"
        top = target.split(".")[0]
        full = f"{target}.{name}" if name else target
        if target.startswith("."):
            yield f"{where} imports {full} by a relative path; write the whole name"
            continue
        ours = top in ROOMS
        external = not ours and top not in sys.stdlib_module_names
        for package, allowed in ONLY.items():
            if is_within(module, package) and (ours or external) and not any(is_within(full, one) for one in allowed):
                yield f"{where} imports {full}; {package} may only import {', '.join(sorted(allowed))}"
        if top in FORBIDDEN.get(room, ()):
            yield f"{where} imports {full}; {room} never imports {top}"
        if top in OPTIONAL and at_import and not any(is_within(module, part) for part in MADE_OF.get(top, ())):
            yield f"{where} imports {full} at the top; it is optional, so import it in the function that uses it"
        allowances = [of_place for place, of_place in OTHER_ROOMS.items() if is_within(module, place)]
        rules = [rule for allowance in allowances for rule in allowance.items()]
        if ours and top != room and not any(allows(*rule, full) for rule in rules):
            yield f"{where} imports {full}, which {room} may not"
        if top == "mlagents_envs" and not set(full.split(".")[1:2]) & MLAGENTS_ENVS:
            yield f"{where} imports {full}; on a current protobuf only {', '.join(sorted(MLAGENTS_ENVS))} of it work"
        if external and DISTRIBUTIONS.get(top, top) not in declared:
            yield f"{where} imports {full}, which is no dependency in pyproject.toml"


def allows(package: str, names: str | set[str], full: str) -> bool:
    """Whether the import of `full` ("module.name", or a module) is one of `names` of `package`."""
    if names == "*":
        return is_within(full, package)
    return full == package or (full.startswith(package + ".") and full.removeprefix(package + ".") in names)


def declared_distributions() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        requirement
        for extra, group in project["optional-dependencies"].items()
        if extra != "dev"
        for requirement in group
    ]
    return {re.match(r"[\w.-]+", requirement).group() for requirement in project["dependencies"] + extras}


def check_length(path: str, text: str) -> Iterator[str]:
    lines = text.count("\n")
    if lines > MOST_LINES:
        yield f"{path}:{lines} is longer than {MOST_LINES} lines; split it by meaning"


def check_machine_paths(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := MACHINE_PATH.search(line):
            yield f"{path}:{number} names a path of one machine: {line[found.start() :][:40]!r}"


def check_top_level(paths: Iterable[str]) -> Iterator[str]:
    for top in sorted({path.split("/")[0] for path in paths} - TOP_LEVEL):
        yield f"{top}: nothing but {', '.join(sorted(TOP_LEVEL))} belongs at the top of the repository"


def files(*options: str) -> list[str]:
    """Paths in the repository as git lists them; skips the test in a copy without git's folder."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", "core.quotepath=off", "ls-files", *options]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert listed.returncode == 0, listed.stderr
    return [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]


def all_files() -> list[str]:
    return files("--cached", "--others", "--exclude-standard")


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def fail_if_any(problems: Iterable[str]) -> None:
    if found := "\n".join(problems):
        pytest.fail(found, pytrace=False)


# ---- the repository ----


def test_every_import_is_allowed() -> None:
    declared = declared_distributions()
    sources = [path for path in all_files() if path.endswith(".py") and path.split("/")[0] in ROOMS]
    assert sources
    fail_if_any(problem for path in sources for problem in check_imports(path, read(path), declared))


def test_no_source_file_is_too_long() -> None:
    sources = [path for path in all_files() if Path(path).suffix in SOURCE]
    fail_if_any(problem for path in sources for problem in check_length(path, read(path)))


def test_no_file_names_a_path_of_one_machine() -> None:
    suffixes = SOURCE | {"", ".cfg", ".json", ".md", ".sh", ".toml", ".txt", ".yaml", ".yml"}
    texts = [path for path in all_files() if Path(path).suffix in suffixes]
    fail_if_any(problem for path in texts for problem in check_machine_paths(path, read(path)))


def test_nothing_else_is_at_the_top_level() -> None:
    fail_if_any(check_top_level(files()))


# ---- the checks themselves, on made-up sources ----


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bridge/codec.py", "import torch"),
        ("bridge/codec.py", "def f():\n    from torch import nn"),
        ("bridge/codec.py", "from unity_envs import worlds"),
        ("bridge/codec.py", "from trainers.config import load"),
        ("bridge/codec.py", "from .messages import STATUS_OK"),
        ("bridge/codec.py", "from mlagents_envs.environment import UnityEnvironment"),
        ("bridge/codec.py", "from mlagents_envs import side_channel"),
        ("bridge/codec.py", "import mlagents_envs"),
        ("bridge/codec.py", "import requests"),
        ("bridge/codec.py", "import gymnasium"),
        ("bridge/codec.py", "try:\n    import gymnasium\nexcept ImportError:\n    pass"),
        ("bridge/codec.py", "class A:\n    import gymnasium"),
        ("unity_envs/worlds/ball3d.py", "import trainers"),
        ("unity_envs/worlds/ball3d.py", "import torch"),
        ("trainers/run.py", "import unity_envs"),
        ("trainers/run.py", "from unity_envs import viewer"),
        ("trainers/run.py", "from unity_envs.replay import replay"),
        ("trainers/commands/envs.py", "from unity_envs.worlds import ball3d"),
        ("trainers/run.py", "from unity_envs.worlds import ball3d"),
        ("trainers/run.py", "from unity_envs.worlds.ball3d import Ball3D"),
        ("trainers/run.py", "from unity_envs.executables import main_3dball"),
        ("trainers/commands/plot.py", "from matplotlib.figure import Figure"),
        ("trainers/kernels/nn.py", "from trainers import config"),
        ("trainers/kernels/nn.py", "import bridge"),
        ("trainers/kernels/__init__.py", "import rich"),
        ("trainers/kernels/nn.py", "import keras"),
    ],
)
def test_a_forbidden_import_is_told_with_file_and_line(path: str, source: str) -> None:
    problems = list(check_imports(path, "'''a docstring'''\n" + source, declared_distributions()))
    assert problems
    assert re.match(re.escape(path) + r":\d+ imports ", problems[0])
    assert source.splitlines()[int(problems[0].split(":")[1].split()[0]) - 2].lstrip().startswith(("import", "from"))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "bridge/codec.py",
            "import os, numpy.typing, grpc, numba\nfrom google.protobuf import message\nfrom PIL import Image",
        ),
        (
            "bridge/codec.py",
            "from mlagents_envs.base_env import ActionSpec\nfrom mlagents_envs import exception\nimport bridge.codec",
        ),
        ("bridge/codec.py", "def make():\n    import gymnasium"),
        ("bridge/codec.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gymnasium"),
        ("unity_envs/executables.py", "from bridge.player import run_player\nfrom unity_envs import worlds"),
        (
            "trainers/run.py",
            "import torch, yaml\nfrom bridge import UnityEnvironment\nfrom trainers.config import load",
        ),
        (
            "trainers/run.py",
            "from unity_envs import executables, worlds\nfrom unity_envs.worlds import make_world_factory, names",
        ),
        ("trainers/commands/play.py", "from unity_envs.viewer import Camera\nfrom unity_envs.worlds import variants"),
        ("trainers/run.py", "import unity_envs.executables\nfrom unity_envs.executables import path"),
        ("trainers/kernels/nn.py", "import ctypes, torch\nfrom trainers.kernels import status\nfrom torch import nn"),
        ("trainers/kernels/nn.py", "def layers():\n    import keras"),
    ],
)
def test_an_allowed_import_passes(path: str, source: str) -> None:
    assert list(check_imports(path, source, declared_distributions())) == []


def test_a_file_may_have_400_lines_and_no_more() -> None:
    assert list(check_length("bridge/codec.py", "\n" * 400)) == []
    assert list(check_length("bridge/codec.py", "\n" * 401)) == [
        "bridge/codec.py:401 is longer than 400 lines; split it by meaning"
    ]


@pytest.mark.parametrize(
    "parts", [("/home", "/ada/build"), ("see /Users", "/ada"), ("'/tmp", "/run1'"), ("C:", "\\Users\\ada")]
)
def test_a_path_of_one_machine_is_told(parts: tuple[str, str]) -> None:
    (problem,) = check_machine_paths("README.md", "first line\n" + "".join(parts))
    assert problem.startswith("README.md:2 names a path")


@pytest.mark.parametrize("text", ["https://example.org/home/page", "~/home/x", "results/tmp/x", "/usr/bin/env"])
def test_an_address_or_a_relative_path_is_no_machine_path(text: str) -> None:
    assert list(check_machine_paths("README.md", text)) == []


def test_a_stray_file_at_the_top_is_told() -> None:
    (problem,) = check_top_level(["setup.py", "bridge/codec.py", ".ci/run"])
    assert problem.startswith("setup.py: nothing but .ci")
