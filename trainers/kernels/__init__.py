"""The compute backend: kernels in C++ that PPO runs on, with plain torch where they cannot be had.

`status()` says which of the two is live and why. Importing this costs nothing: the library is found, or built, when
something first needs it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.kernels.library import Status, instruction_sets, set_instruction_set, status

__all__ = ["Status", "instruction_sets", "set_instruction_set", "status"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainers.kernels import library  # imports torch, which a build of the package does without

    return getattr(library, name)
