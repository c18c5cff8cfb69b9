"""Speaks ML-Agents' protocol: the trainer's side (`UnityEnvironment`) and the player's side (`bridge.player`)."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.environment import UnityEnvironment

try:
    __version__ = version("mlagents-bridge")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

API_VERSION = "1.5.0"

__all__ = ["API_VERSION", "UnityEnvironment", "__version__"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: a player imports `bridge` too and need not pay for the trainer's side.
    if name == "UnityEnvironment":
        from bridge.environment import UnityEnvironment

        return UnityEnvironment
    raise AttributeError(f"module 'bridge' has no attribute {name!r}")
