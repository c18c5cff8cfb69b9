"""Where and with what a figure was measured."""

import ctypes
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

_DISTRIBUTIONS = ("mlagents-bridge", "torch", "numpy", "numba", "grpcio", "protobuf", "onnxruntime")
_ROOT = Path(__file__).resolve().parents[2]


def describe() -> dict[str, Any]:
    """`machine`, `versions`, `commit` (None outside of a checkout; `modified` files make it inexact) and `date`."""
    return {
        "machine": {
            "cpu": _processor(),
            "cores": cores(),
            "memory_gib": round(_memory_bytes() / 2**30, 1),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
        "versions": versions(),
        **_commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def in_words(facts: dict[str, Any]) -> str:
    """What `describe` returned, as a paragraph."""
    machine = facts["machine"]
    commit = facts["commit"] or "no checkout"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        + ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        + f"; commit {commit[:12]}{' with changes' if facts['modified'] else ''}; {facts['date'][:10]}."
    )


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def load() -> float | None:
    """How many programs wanted to run in the last minute, on average; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def versions() -> dict[str, str]:
    """Of Python and the packages on whose speed ours depends."""
    found = {"Python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree that was never installed
            found[name] = "not installed"
    return found


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":  # not there on arm64
                return value.strip()
    if sys.platform == "darwin":
        return _output_of("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    if sys.platform != "win32":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    class MemoryStatus(ctypes.Structure):  # MEMORYSTATUSEX; never run by its authors
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("others", ctypes.c_ulonglong * 6),
        )

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.total)


def _commit() -> dict[str, Any]:
    if not (_ROOT / ".git").exists():  # installed, or a copy without history
        return {"commit": None, "modified": False}
    commit = _output_of("git", "-C", str(_ROOT), "rev-parse", "HEAD") or None
    modified = bool(_output_of("git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no"))
    return {"commit": commit, "modified": modified}


def _output_of(*command: str) -> str:
    """What a command prints, or "" if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
