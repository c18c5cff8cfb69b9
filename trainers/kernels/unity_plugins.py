"""Builds the library of kernels for the systems that a Unity game runs on: `make unity-plugin`.

    python -m trainers.kernels.unity_plugins [SYSTEM ...] [--output unity_envs/UnityProject/Assets/Plugins]

Without names, all systems that this machine has a compiler for. Each library is tried out at once by a program that
asks it for its version and lets it act: here, or under Wine or QEMU where they are. What was built, and whether it ran,
is said in one line each.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainers.kernels.build import BuildError, build, find_compiler, target_of

DEFAULT_OUTPUT = Path("unity_envs/UnityProject/Assets/Plugins")
_LIMIT = 60  # seconds for the program that tries a library out
_INCLUDE = Path(__file__).resolve().parent / "include"

# Two layers and one agent: what the library says of itself, and the most probable of two actions.
_TRIAL = r"""
#include <stdio.h>
#include "openmined.h"
int main(void) {
    int64_t sizes[1] = {2}, widths[1] = {2}, branches[1] = {2}, offsets[] = {0, 4, 6, 10, 12, 14};
    float parameters[15] = {1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0};
    float observation[2] = {3, 4}, log_probs[1];
    const float* observations[1] = {observation};
    int64_t discrete[1] = {-1};
    om_network_description description = {1, sizes, 1, widths, 0, 1, branches, 1, 1, 15, 6, offsets};
    om_network* network = 0;
    int32_t status = om_network_create(&description, &network);
    om_act_arguments arguments = {0};
    arguments.agents = arguments.threads = arguments.deterministic = 1;
    arguments.observations = observations;
    arguments.parameters = parameters;
    arguments.discrete = discrete;
    arguments.log_probs = log_probs;
    if (status == 0) status = om_act(network, &arguments);
    om_network_destroy(network);
    printf("version %d, %s, status %d, action %d\n", om_abi_version(), om_instruction_set(), status, (int)discrete[0]);
    return status != 0 || discrete[0] != 1;
}
"""


@dataclass(frozen=True)
class System:
    """Where the library of a system belongs in a Unity project, and what makes it."""

    file: str  # below Assets/Plugins
    target: str  # what the compiler's -dumpmachine begins with
    compilers: tuple[str, ...]  # besides the usual one of this machine
    runners: tuple[tuple[str, ...], ...] = ()  # what runs its programs elsewhere


SYSTEMS = {
    "linux-x64": System("x86_64/libopenmined.so", "x86_64-linux", ("x86_64-linux-gnu-g++",)),
    "windows-x64": System(
        "x86_64/openmined.dll",
        "x86_64-w64-mingw32",
        ("x86_64-w64-mingw32-g++-posix", "x86_64-w64-mingw32-g++"),
        (("wine64",), ("/usr/lib/wine/wine64",)),
    ),
    "linux-arm64": System(
        "arm64/libopenmined.so",
        "aarch64-linux",
        ("aarch64-linux-gnu-g++",),
        (("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"),),
    ),
    "macos": System("macos/libopenmined.dylib", "", ()),
}


def compiler_for(name: str) -> list[str] | None:
    """The command of a compiler for a system; None if this machine has none."""
    system = SYSTEMS[name]
    usual: list[str] | None
    try:
        usual = find_compiler()
    except BuildError:
        usual = None
    if usual is not None:
        target = target_of(usual)
        if "apple" in target if name == "macos" else target.startswith(system.target):
            return usual
    for compiler in system.compilers:
        if shutil.which(compiler) is not None:
            return [compiler]
    return None


def build_plugin(name: str, output: Path) -> str:
    """Builds the library of a system into the folder `output` and says in one line what came of it.

    Raises BuildError when it cannot be compiled or does not do what it should.
    """
    compiler = compiler_for(name)
    if compiler is None:
        wanted = " or ".join(SYSTEMS[name].compilers) or "a Mac"
        return f"{name}: not built, this machine has no compiler for it (needs {wanted})"
    target = build(output / SYSTEMS[name].file, compiler)
    return f"{name}: {target}, {target.stat().st_size // 1024} KiB, {_try_out(name, target, compiler)}"


def _try_out(name: str, library: Path, compiler: list[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "trial.c", Path(folder) / "trial.exe"
        source.write_text(_TRIAL)
        # Windows looks for a library beside the program.
        beside = shutil.copy(library, folder)
        command = [*compiler, "-x", "c++", str(source), "-x", "none", beside, f"-I{_INCLUDE}", f"-Wl,-rpath,{folder}"]
        command += ["-static-libgcc", "-static-libstdc++"] if name == "windows-x64" else []
        done = _run([*command, "-o", str(program)])
        if done.returncode != 0:
            raise BuildError(f"{library} cannot be linked with: {done.stderr.strip().splitlines()[0]}")
        runner = _runner(name)
        if runner is None:
            return "not run, since nothing here runs programs of that system"
        environment = os.environ | {"WINEPREFIX": str(Path(folder) / "wine"), "WINEDEBUG": "-all"}
        done = _run([*runner, str(program)], environment)
        if done.returncode != 0:
            raise BuildError(f"{library} was built but does not run: {(done.stdout + done.stderr).strip()}")
        how = f"under {Path(runner[0]).name}" if runner else "here"
        return f"run {how}: {done.stdout.strip()}"


def _runner(name: str) -> tuple[str, ...] | None:
    """What a program of a system is to be started with; nothing for this machine's own, None if it cannot be."""
    try:
        own = target_of(find_compiler())
    except BuildError:
        own = ""
    if "apple" in own if name == "macos" else own.startswith(SYSTEMS[name].target):
        return ()
    return next((runner for runner in SYSTEMS[name].runners if shutil.which(runner[0]) is not None), None)


def _run(command: list[str], environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_LIMIT, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code, 1 if a library could not be built or does not run."""
    parser = argparse.ArgumentParser(prog="unity_plugins", description="Builds the kernels for a Unity project.")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"{', '.join(SYSTEMS)} (default: all)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="a folder (default: %(default)s)")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.systems if name not in SYSTEMS]
    if unknown:
        parser.error(f"unknown system {unknown[0]}, expected {', '.join(SYSTEMS)}")
    failed = False
    for name in given.systems or SYSTEMS:
        try:
            print(build_plugin(name, given.output), flush=True)
        except (BuildError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
