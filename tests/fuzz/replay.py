"""Puts files through both ends of the wire, as machine code that checks every index: what the fuzzer cannot watch.

    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=FOLDER python tests/fuzz/replay.py CORPUS ...

The cache has to be another one than usual: numba does not tell code with checks from code without.
"""

import logging
import os
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    if os.environ.get("NUMBA_BOUNDSCHECK") != "1" or "NUMBA_CACHE_DIR" not in os.environ:
        sys.exit("Set NUMBA_BOUNDSCHECK=1, and NUMBA_CACHE_DIR to a folder of its own.")
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    logging.disable()
    import targets

    from bridge import wire_reading
    from bridge.wire import COMPILED

    if not COMPILED or not hasattr(wire_reading.scan, "py_func"):
        sys.exit("The codec is not compiled here.")
    try:
        wire_reading._copy(np.zeros(4, np.uint8), 2, np.zeros(8, np.uint8), 0, 3)
    except IndexError:
        pass
    else:
        sys.exit("The compiled codec checks no bounds.")
    files = sorted(path for folder in sys.argv[1:] for path in Path(folder).iterdir())
    for path in files:
        try:
            targets.check(path.read_bytes())
        except Exception as error:
            error.add_note(f"at {path}")
            raise
    print(f"{len(files)} inputs were read by compiled code with bounds checks.")


if __name__ == "__main__":
    main()
