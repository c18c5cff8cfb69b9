"""Searches for bytes that the codec reads in another way than protobuf, or breaks at: coverage-guided, with atheris.

    NUMBA_DISABLE_JIT=1 python tests/fuzz/fuzz.py CORPUS ... [libFuzzer's flags, as -max_total_time=60]

New inputs that reach new code are written to the first folder. Ends with an error, and the input in a file, at the
first that fails.
"""

import logging
import os
import random
import shlex
import sys
from pathlib import Path

import atheris

LONGEST = 4096


def mutate(data: bytes, longest: int, seed: int) -> bytes:
    draw = random.Random(seed)
    if draw.random() < 0.3:
        return atheris.Mutate(data, longest)
    return mutations.changed(data, draw, atheris.Mutate)[:longest]


if __name__ == "__main__":
    if os.environ.get("NUMBA_DISABLE_JIT") != "1":
        sys.exit("Set NUMBA_DISABLE_JIT=1: what numba compiles tells a fuzzer nothing about the code it reaches.")
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    logging.disable()
    with atheris.instrument_imports(include=["bridge"], enable_loader_override=False):
        import bridge.environment
        import bridge.fast_player_codec  # noqa: F401
    import mutations
    import targets

    # To merge, libFuzzer has a shell start its first argument again.
    again = shlex.join([sys.executable, str(Path(__file__).resolve())])
    atheris.Setup([again, *sys.argv[1:], f"-max_len={LONGEST}"], targets.check, custom_mutator=mutate)
    atheris.Fuzz()
