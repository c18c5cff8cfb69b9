"""Every command and program in the documents, run: what a reader types is what is typed here.

A document's blocks run from its top to its end in one folder, in which there is what the documents take for granted: a
build `builds/MyGame` (a program that speaks the protocol), `my_game.yaml` for it, the same as a world `my_world.py`
with `my_world.yaml`, a run `ball`, and weights `Mine.safetensors` of PoleBalancer. Languages of blocks: `bash` and
`console` (lines with `$ `) are commands, `python` is a program, or the file that its first line names; blocks of other
languages are written to the file that they name, if they do.

Three tables below say what is different from a reader's own doing, each row with its reason: what runs with a smaller
budget, what does not run here and is only read (its flags, targets, extras and files have to exist), and which
documents are followed elsewhere. A row that no document needs any more fails.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900  # seconds for a block, of which it takes some on a machine that does nothing else
pytestmark = pytest.mark.timeout(2 * LIMIT)

# Followed word by word by tests of their own.
ELSEWHERE = {
    "unity_envs/make_your_own.md": "tests/unity_envs/test_make_your_own.py",
    "trainers/kernels/README.md": "tests/trainers/kernels/portability/test_readme.py",
}

# Beginning of a command -> what is put behind it, so that it takes seconds. What a document says itself comes later
# and wins.
TINY = " ".join(
    f"--set behaviors.*.{setting}"
    for setting in (
        "max_steps=600",
        "summary_freq=300",
        "hyperparameters.batch_size=64",
        "hyperparameters.buffer_size=256",
    )
)
SMALLER = {
    r"mlbridge learn \S+": TINY,
    r"mlbridge evaluate": "--episodes 4",
    r"mlbridge check": "--seconds 2",
    r"mlbridge play": "--seconds 0.2 --size 160x120",
    r"python -m trainers\.demos\.\w+": "--episodes 3 --played 2",
    r"(3DBall|PoleBalancer|CubeMover) --model \S+": "--episodes 1",
}
# The same for programs: what stands in a block, and what is run instead.
SHORTER = {"total_timesteps=20_000": "total_timesteps=64"}
# Extras whose programs only run in `make verify-extras`: nothing of ours needs them, so `make test` has them not.
NOT_HERE = ("optuna", "wandb")

# A command -> why it is only read.
NOT_RUN = {
    r"make .*": "sets up an environment of its own, and the targets have tests of their own",
    r"pip install .*": "tests/reports/verify_extras.py does it in empty environments (make verify-extras)",
    r"ssh .*": "needs another machine",
    r"mlbridge learn .* --workers .*|torchrun .*": "several processes or hosts; tests/trainers/test_distributed.py",
    r"jupyter .*|jupytext .*": "opens a browser, or writes beside the demo; tests/trainers/demos",
    r"tensorboard --logdir \S+": "serves until it is stopped",
    r"mlbridge learn (?!.*--env ).*": "waits for the Editor; tests/end_to_end/test_learn_editor.py plays its part",
    r"torchrun .*": "wants hosts; tests/distributed",
    r"mlbridge \w+ .*unity_envs/UnityProject/Builds/.*": "needs what Unity builds",
    r"mlbridge evaluate results/unity/.*": "needs what was trained with that",
    r"python -m pytest .*": "is what is running",
    r"python -m trainers.kernels.unity_plugins .*": "wants compilers; tests/trainers/kernels/test_unity_plugins.py",
    r"cp Packages/.*|rm -f Packages/.*|echo .*ProjectVersion.txt": "turns the Unity project into another version's",
}

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*) ?(?P<about>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S
)
UNKNOWN_PROGRAMS = {"cp", "echo", "jupyter", "rm", "ssh"}  # not ours, and not there everywhere
LANGUAGES = {"bash", "console", "python", "yaml", "text", "csharp", "cpp", "mermaid", "powershell"}


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    about: str
    body: str

    @property
    def file(self) -> str:
        """The file that the block is, "" if it is none."""
        return self.about if re.fullmatch(r"[\w/.-]+\.\w+", self.about) else ""

    @property
    def commands(self) -> list[str]:
        """Without prompts, comments and continuation lines."""
        if self.language not in ("bash", "console"):
            return []
        lines = self.body.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [command for line in lines if (command := re.sub(r"(^|\s+)#.*", "", line).strip())]


def documents() -> list[str]:
    """Every guide in the repository, as a path from its top."""
    found = [ROOT / "README.md"]
    for room in ("bridge", "trainers", "unity_envs", "tests"):
        found += (ROOT / room).rglob("*.md")
    return sorted(path.relative_to(ROOT).as_posix() for path in found if not any(p.startswith(".") for p in path.parts))


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent = len(match["indent"])
        body = "".join(line[indent:] if line[:indent].isspace() else line for line in match["body"].splitlines(True))
        found.append(Block(text.count("\n", 0, match.start()) + 1, match["language"], match["about"], body))
    return found


DOCUMENTS = documents()
FOLLOWED = [name for name in DOCUMENTS if name not in ELSEWHERE and blocks(name)]


def reason_not_to_run(command: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, command)), None)


def smaller(command: str) -> str:
    for pattern, added in SMALLER.items():
        command = re.sub(f"^({pattern})", lambda found, added=added: f"{found[1]} {added}", command)
    return command


# ---- what a reader has ----


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a build, a world, their settings and a run."""
    if sys.platform == "win32":
        pytest.skip("the documents' commands are written for a shell that Windows does not have")
    folder = tmp_path_factory.mktemp("reader")
    guide = {block.file: block.body for block in blocks("unity_envs/make_your_own.md")}
    world, settings = (guide[name].replace("Catcher", "MyAgent") for name in ("catcher.py", "catcher.yaml"))
    (folder / "my_world.py").write_text(world, encoding="utf-8")
    for name in ("my_world.yaml", "my_game.yaml"):
        (folder / name).write_text(settings, encoding="utf-8")
    (folder / "builds").mkdir()
    build = folder / "builds" / "MyGame"
    build.write_text(f"#!{sys.executable}\n{world}", encoding="utf-8")
    build.chmod(0o755)
    for name, run in (("3DBall", "ball"), ("PoleBalancer", "pole")):
        shell(f"mlbridge learn {name} {TINY} --env {name} --in-process --run-id {run}", folder, LIMIT)
    shell("mlbridge export pole --output Mine.safetensors", folder, LIMIT)
    return folder


def search_path() -> str:
    return os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]


def shell(script: str, folder: Path, limit: float) -> str:
    environment = os.environ | {"PATH": search_path(), "MLBRIDGE_HOME": str(folder / "home")}
    command = ["bash", "-euxo", "pipefail", "-c", script]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        pytest.fail(f"still going on after {limit:.0f} s:\n{script}\n{output}", pytrace=False)
    if process.returncode != 0:
        pytest.fail(f"exit code {process.returncode}:\n{script}\n{output}", pytrace=False)
    return output


@pytest.mark.parametrize("document", FOLLOWED)
def test_what_a_document_says_runs(document: str, reader: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    found = blocks(document)
    own_run = any("--run-id ball" in command for block in found for command in block.commands)
    shutil.copytree(reader, folder, ignore=shutil.ignore_patterns("results") if own_run else None)
    for block in found:
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.body, encoding="utf-8")
        elif block.language == "python" and not any(f"[{extra}]" in block.body for extra in NOT_HERE):
            program = block.body
            for long, short in SHORTER.items():
                program = program.replace(long, short)
            (folder / "block.py").write_text(program, encoding="utf-8")
            shell("python block.py", folder, LIMIT)
        commands = [smaller(command) for command in block.commands if reason_not_to_run(command) is None]
        if commands:
            shell("\n".join(commands), folder, LIMIT)


# ---- what is only read ----


def only_read() -> Iterator[tuple[str, str]]:
    for document in FOLLOWED:
        for block in blocks(document):
            for command in block.commands:
                if reason_not_to_run(command) is not None:
                    yield document, command


@pytest.mark.parametrize(("document", "command"), list(only_read()))
def test_what_is_only_read_would_be_understood(document: str, command: str) -> None:
    problem = misunderstanding(shlex.split(command))
    assert problem is None, f"{document}: {command}: {problem}"


def misunderstanding(words: list[str]) -> str | None:
    """What is wrong about a command without running it, None if nothing is."""
    if words[0] == "mlbridge":
        return unknown_flags(words[1], words[2:])
    if words[0] == "torchrun":
        place = words.index("trainers.commands.learn")
        return unknown_flags("learn", words[place + 1 :])
    if words[0] == "make":
        # A file that is newer than all it is made of needs no command, and so none is shown.
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
        return None if done.returncode == 0 else done.stderr
    if words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = {extra for word in words for extra in re.findall(r"\[([\w,]+)\]", word)}
        unknown = {extra for one in named for extra in one.split(",")} - extras.keys()
        return f"there is no extra {unknown}" if unknown else None
    if words[0] == "python" and words[1] != "-m":
        return None if (ROOT / words[1]).is_file() else f"there is no file {words[1]}"
    if words[0] == "python":
        missing = [word for word in words[3:] if word.startswith("tests/") and not (ROOT / word).exists()]
        found = importlib.util.find_spec(words[2]) is not None
        return None if found and not missing else f"there is no {words[2] if not found else missing[0]}"
    known = words[0] in UNKNOWN_PROGRAMS or shutil.which(words[0], path=search_path())
    return None if known else f"there is no program {words[0]}"


def unknown_flags(command: str, words: list[str]) -> str | None:
    parser = argparse.ArgumentParser(prog=command, exit_on_error=False)
    try:
        importlib.import_module(f"trainers.commands.{command}").add_arguments(parser)
        parser.parse_args(words)
    except (ModuleNotFoundError, argparse.ArgumentError) as error:
        return str(error)
    except SystemExit:
        return "its arguments are not understood"
    return None


# ---- the tables, and what stands within a sentence ----


def test_every_block_says_its_language() -> None:
    wrong = [
        f"{document}:{block.line} {block.language!r}"
        for document in DOCUMENTS
        for block in blocks(document)
        if block.language not in LANGUAGES
    ]
    assert wrong == []


def test_every_row_of_the_tables_is_needed() -> None:
    commands = [command for name in FOLLOWED for block in blocks(name) for command in block.commands]
    programs = "".join(block.body for name in FOLLOWED for block in blocks(name) if block.language == "python")
    unused = [pattern for pattern in NOT_RUN if not any(re.fullmatch(pattern, command) for command in commands)]
    unused += [pattern for pattern in SMALLER if not any(re.match(pattern, command) for command in commands)]
    unused += [text for text in SHORTER if text not in programs]
    assert unused == []


@pytest.mark.parametrize(("document", "test"), ELSEWHERE.items())
def test_what_is_followed_elsewhere_is(document: str, test: str) -> None:
    assert document in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_within_sentences_are_there(document: str) -> None:
    """`mlbridge NAME --flag` and `make TARGET`: the name, the flags and the target exist."""
    text = FENCE.sub("", (ROOT / document).read_text(encoding="utf-8"))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for span in re.findall(r"`((?:mlbridge|make) [^`]+)`", text):
        program, name, *words = span.split()
        if program == "make":
            assert name in targets or "=" in name or name.startswith("-"), span
            continue
        if name.startswith("-") or name.isupper():
            continue
        parser = argparse.ArgumentParser()
        importlib.import_module(f"trainers.commands.{name}").add_arguments(parser)
        known = set(flags_of(parser))
        words = words[: words.index("--env-args")] if "--env-args" in words else words  # what follows is a player's
        assert [word for word in words if word.startswith("--") and word.partition("=")[0] not in known] == [], span


def flags_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from flags_of(one)
