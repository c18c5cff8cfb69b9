"""`compiled(function)`: by numba, kept for the next start; without numba the function as it stands, only slower."""

from typing import Any

compiled: Any
try:
    from numba import njit
except ImportError:  # there is no numba for this Python or this machine

    def compiled(function: Any) -> Any:
        return function
else:
    compiled = njit(cache=True, nogil=True)  # so that worlds can step side by side
