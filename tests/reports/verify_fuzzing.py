"""Do bytes exist that the codec reads otherwise than protobuf, or breaks at? Writes fuzzing.json and fuzzing.md:

    python tests/reports/verify_fuzzing.py [--report-folder FOLDER] [--seconds 960] [--corpus FOLDER]

A coverage-guided fuzzer (atheris) searches with both ends of the wire uncompiled. What reached new code is added to the
corpus, which is made as small as it can be without losing any of that; then the compiled code reads it with bounds
checks. The exit code is 1 when an input failed: it is then in the report's folder, and the corpus stays as it was.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trainers.benchmarks import machine
from trainers.run_folder import write_text_whole

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
LIMIT = 1800  # seconds of one step beside the search


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the codec and write a report.")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    parser.add_argument("--seconds", type=int, default=960, help="of the search (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, default=FUZZ / "corpus", help="default: %(default)s")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("There is no atheris for this Python and machine: it has wheels for Linux on x86-64.", file=sys.stderr)
        return 2
    arguments.report_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as name:
        folder = Path(name)
        result = measure(folder, arguments.corpus, arguments.seconds, arguments.report_folder.resolve())
        if not result["failed"]:
            for path in arguments.corpus.iterdir():
                path.unlink()
            for path in (folder / "small").iterdir():
                shutil.copy(path, arguments.corpus)
    write_text_whole(arguments.report_folder / "fuzzing.json", json.dumps(result, indent=1) + "\n")
    write_text_whole(arguments.report_folder / "fuzzing.md", describe(result))
    print(f"Wrote {arguments.report_folder / 'fuzzing.md'}; failed: {result['failed'] or 'nothing'}")
    return int(bool(result["failed"]))


def measure(folder: Path, corpus: Path, seconds: int, reports: Path) -> dict[str, Any]:
    result: dict[str, Any] = machine.describe() | {"load_average": machine.load(), "failed": ""}
    (folder / "new").mkdir()
    (folder / "small").mkdir()
    flags = [f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={reports}/"]
    done = fuzz([folder / "new", corpus], flags, seconds + LIMIT)
    result["seconds"] = seconds
    result["executions"] = int(re.findall(r"number_of_executed_units: (\d+)", done.stderr)[-1])
    if done.returncode != 0:
        result["failed"] = re.findall(r"Test unit written to (.*)", done.stderr)[-1]
        print(done.stderr[-4000:], file=sys.stderr)
    merged = fuzz([folder / "small", folder / "new", corpus], ["-merge=1"], LIMIT).stderr
    result["branches"] = int(re.findall(r"cov: (\d+)", merged)[-1])
    result["features"] = int(re.findall(r"ft: (\d+)", merged)[-1])
    sizes = [path.stat().st_size for path in (folder / "small").iterdir()]
    result["corpus"] = {"before": len(list(corpus.iterdir())), "inputs": len(sizes), "bytes": sum(sizes)}
    result["lines"] = json.loads(program("reached.py", [folder / "small"], {"NUMBA_DISABLE_JIT": "1"}).stdout)
    replay = program(
        "replay.py", [folder / "small"], {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder / "numba")}
    )
    result["compiled"] = replay.stdout.strip()
    if replay.returncode != 0:
        result["failed"] = result["failed"] or replay.stderr.strip().splitlines()[-1]
    result["findings"] = [
        {"what": each.what, "was": each.was, "by": "the fuzzer" if each.by_fuzzer else "reading"} for each in findings()
    ]
    return result


def fuzz(folders: list[Path], flags: list[str], limit: int) -> subprocess.CompletedProcess[str]:
    return program("fuzz.py", [*folders, *flags], {"NUMBA_DISABLE_JIT": "1"}, limit)


def program(
    name: str, words: list[Any], environment: dict[str, str], limit: int = LIMIT
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FUZZ / name), *map(str, words)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=limit)


def findings() -> list[Any]:
    """By its path, since tests are in no package."""
    spec = importlib.util.spec_from_file_location("findings", FUZZ / "findings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["findings"] = module
    spec.loader.exec_module(module)
    return list(module.FINDINGS)


def describe(result: dict[str, Any]) -> str:
    corpus = result["corpus"]
    lines = [
        "# Fuzzing of the wire",
        "",
        machine.in_words(result),
        *([] if result["load_average"] is None else [f"Load average before: {result['load_average']:.1f}."]),
        "",
        f"atheris made **{result['executions']:,} executions** in {result['seconds']:,} seconds. Each took bytes",
        "through both ends of the wire: the fast codec refuses them, or reads what protobuf reads, to the last bit;",
        "what is refused ends in an error of the bridge's own. "
        + (f"**Failed: {result['failed']}**" if result["failed"] else "**Nothing failed.**"),
        "",
        f"- corpus: {corpus['inputs']} inputs, {corpus['bytes']:,} bytes ({corpus['before']} inputs before)",
        f"- reached: {result['branches']} branches of `bridge` ({result['features']:,} features, as libFuzzer counts)",
    ]
    for name, of_file in result["lines"].items():
        missed = of_file["not_reached"]
        lines.append(
            f"- `bridge/{name}`: {of_file['lines'] - len(missed)} of {of_file['lines']} lines"
            + (f"; not {', '.join(map(str, missed))}" if missed else "")
        )
    lines += [
        f"- as machine code (NUMBA_BOUNDSCHECK=1): {result['compiled'] or 'failed'}",
        "",
        "What was found, and is fixed (each is a test in `tests/fuzz/test_fuzz.py`):",
        "",
        "| input | what it did | found by |",
        "| --- | --- | --- |",
        *(f"| {each['what']} | {each['was']} | {each['by']} |" for each in result["findings"]),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
