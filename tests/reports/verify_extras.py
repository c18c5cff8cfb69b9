"""Does each extra install into an empty virtual environment, and do its examples run there? Writes extras.json and .md:

    python tests/reports/verify_extras.py [--extras plot ...] [--wheel FILE] [--report-folder FOLDER]

`make verify-extras` runs it. A wheel is built once, or is given; each extra gets an environment of its own, made by
this Python's venv, with .ci/constraints.txt; nothing of this checkout can be imported there. The examples are those of
the documents, to the letter: a program whose first line is `# pip install "mlagents-bridge[EXTRA]"`, commands that end
with `# extra EXTRA`, and those below a line `pip install "mlagents-bridge[EXTRA]"`. Without an extra the first training
of the README runs, and leaves the run that the others take up. The exit code is 1 if anything fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainers.benchmarks import machine
from trainers.run_folder import write_text_whole

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "trainers/README.md", "trainers/demos/README.md")
PLAIN = "none"  # the package without an extra
FOR_DEVELOPERS = {"dev"}  # what `make test` installs
INSTALL_LIMIT, EXAMPLE_LIMIT = 1800, 900  # seconds


@dataclass
class Result:
    """`packages`: those that came beside the plain package's; `problem`: "" if all went well."""

    extra: str
    packages: list[str]
    seconds: float
    examples: int
    problem: str


def main() -> int:
    known = [PLAIN, *extras()]
    parser = argparse.ArgumentParser(description="Install each extra, run its examples, and write a report.")
    parser.add_argument("--extras", nargs="+", choices=known, default=known, help="default: all")
    parser.add_argument("--wheel", type=Path, help="verify this one (default: build one of this checkout)")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    arguments = parser.parse_args()
    facts = machine.describe()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="verify-extras-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        wheel = arguments.wheel.resolve() if arguments.wheel else build_wheel(folder)
        plain: list[str] = []
        for extra in [PLAIN, *(extra for extra in arguments.extras if extra != PLAIN)]:
            print(f"verify-extras: {extra}", file=sys.stderr, flush=True)
            results.append(verify(extra, wheel, folder, plain))
            if extra == PLAIN:
                plain = results[-1].packages
            print(f"verify-extras: {extra}: {results[-1].problem or 'passed'}", file=sys.stderr, flush=True)
            # After each of them: what was found out stays when the next one is interrupted.
            report = {**facts, "wheel": wheel.name, "results": [asdict(result) for result in results]}
            write_text_whole(arguments.report_folder / "extras.json", json.dumps(report, indent=2) + "\n")
            write_text_whole(arguments.report_folder / "extras.md", to_markdown(report))
    print(to_markdown(report), end="")
    return int(any(result.problem for result in results))


def extras() -> list[str]:
    """The extras that are for users, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [extra for extra in project["optional-dependencies"] if extra not in FOR_DEVELOPERS]


def examples(extra: str) -> tuple[list[str], list[str]]:
    """Commands and programs of an extra in the documents."""
    commands: list[str] = []
    programs: list[str] = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for language, body in re.findall(r"^```(bash|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if language == "python" and body.startswith(f'# pip install "mlagents-bridge[{extra}]"\n'):
                programs.append(body)
            elif language == "bash":
                before, _, after = body.partition(f'pip install "mlagents-bridge[{extra}]"\n')
                commands += after.splitlines()
                lines = [line.partition("#") for line in before.splitlines()]
                commands += [command.strip() for command, _, about in lines if about.strip() == f"extra {extra}"]
                if extra == PLAIN:
                    commands += [line for line, _, _ in lines if " --env 3DBall --run-id ball " in line]
    return commands, programs


def build_wheel(folder: Path) -> Path:
    """Of a copy, since setuptools leaves folders behind where it builds."""
    source = folder / "source"
    source.mkdir()
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    for name in ("bridge", "trainers", "unity_envs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "UnityProject"))
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(source)]
    problem = run(pip, folder, INSTALL_LIMIT)
    if problem:
        sys.exit(f"verify-extras: error: no wheel could be built: {problem}")
    return next(folder.glob("*.whl"))


def verify(extra: str, wheel: Path, folder: Path, plain: list[str]) -> Result:
    """Installs `extra` into an environment of its own, which is deleted at the end, and runs its examples."""
    place = folder / f"environment-{extra}"
    venv.create(place, with_pip=True)
    scripts = place / ("Scripts" if sys.platform == "win32" else "bin")
    python = str(scripts / ("python.exe" if sys.platform == "win32" else "python"))
    what = str(wheel) if extra == PLAIN else f"mlagents-bridge[{extra}] @ {wheel.as_uri()}"
    started = time.monotonic()
    problem = run(
        [python, "-m", "pip", "install", "-q", "--no-compile", "-c", str(ROOT / ".ci/constraints.txt"), what],
        folder,
        INSTALL_LIMIT,
    )
    result = Result(extra, [], time.monotonic() - started, 0, problem)
    if not problem:
        listed = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True)
        result.packages = [line for line in listed.stdout.splitlines() if line not in plain]
        result.problem = run_examples(result, folder, scripts, python)
    shutil.rmtree(place, ignore_errors=True)
    return result


def run_examples(result: Result, folder: Path, scripts: Path, python: str) -> str:
    commands, programs = examples(result.extra)
    if not commands and not programs:
        return "there is no example in the documents"
    work = folder / "work"  # one for all: the first run is what the others plot and play
    work.mkdir(exist_ok=True)
    for command in commands:
        program, *words = shlex.split(command)
        problem = run([str(scripts / program), *words], work, EXAMPLE_LIMIT, scripts)
        if problem:
            return problem
        result.examples += 1
    for program in programs:
        (work / "example.py").write_text(program, encoding="utf-8")
        problem = run([python, "example.py"], work, EXAMPLE_LIMIT, scripts)
        if problem:
            return problem
        result.examples += 1
    return ""


def run(command: list[str], folder: Path, limit: float, scripts: Path | None = None) -> str:
    """Runs a command; gives "" or what went wrong, with the last lines that it printed."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if scripts is not None:
        environment["PATH"] = str(scripts) + os.pathsep + environment["PATH"]
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return f"{shown}: still going on after {limit} s"
    last = " | ".join(done.stdout.strip().splitlines()[-6:])
    return "" if done.returncode == 0 else f"{shown}: exit code {done.returncode}: {last}"


def to_markdown(report: dict[str, Any]) -> str:
    lines = [
        "# Each extra, from an empty virtual environment",
        "",
        "A wheel of this commit and what it asks for, installed by pip into an environment of its own; then the "
        "examples of the documents, to the letter.",
        "",
        "| extra | what pip adds to the plain package | seconds of pip | examples run | passed |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for result in report["results"]:
        added = ", ".join(result["packages"])
        if result["extra"] == PLAIN:
            added = f"{len(result['packages'])} packages in all"
        passed = "yes" if not result["problem"] else f"no: {result['problem']}".replace("|", "\\|")
        lines.append(f"| {result['extra']} | {added} | {result['seconds']:.0f} | {result['examples']} | {passed} |")
    lines += ["", "Seconds are with whatever pip had in its cache: no measure of speed.", "", machine.in_words(report)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
