"""Which lines of the decoders a corpus reaches, as JSON: of each file how many there are, and those not reached.

NUMBA_DISABLE_JIT=1 python tests/fuzz/reached.py CORPUS ...
"""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FILES = ("wire_reading.py", "images.py")


def lines_of(code: CodeType) -> Iterator[int]:
    """Those of its functions and methods."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 2:  # a function, no class
                yield from (line for _, _, line in constant.co_lines() if line and line != constant.co_firstlineno)
            yield from lines_of(constant)


def main() -> None:
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    logging.disable()
    import targets

    import bridge

    folder = Path(bridge.__file__).parent
    seen: dict[str, set[int]] = {str(folder / name): set() for name in FILES}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        lines = seen.get(frame.f_code.co_filename)
        if lines is None:
            return None
        if event == "line":
            lines.add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    for corpus in sys.argv[1:]:
        for path in sorted(Path(corpus).iterdir()):
            targets.check(path.read_bytes())
    sys.settrace(None)
    result = {}
    for name in FILES:
        path = folder / name
        wanted = set(lines_of(compile(path.read_text(encoding="utf-8"), str(path), "exec")))
        result[name] = {"lines": len(wanted), "not_reached": sorted(wanted - seen[str(path)])}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
