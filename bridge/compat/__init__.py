"""Lets code that was written for `mlagents_envs` run on a current Python: its modules, backed by this package.

    import bridge.compat
    bridge.compat.install()
    from mlagents_envs.environment import UnityEnvironment

or, without a change to the script, `python -m bridge.compat script.py [arguments]`. Of the official package only
`base_env`, `exception`, `timers` and `logging_util` import on a current protobuf. They stay as they are, and the others
are offered with the names and signatures of release 1.1.0 (`bridge.compat.names` lists them); `rpc_communicator` and
`mock_communicator` are official again, as what they are made of imports.

Their wrappers keep the interfaces of their day: `UnityToGymWrapper.step` returns four values, not Gymnasium's five.
"""

import importlib
import importlib.abc
import importlib.machinery
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from mlagents_envs import base_env

from bridge.compat.messages import from_descriptors
from bridge.compat.names import DESCRIPTORS, MODULES, NEED_AN_EXTRA, PACKAGES, WORKING

__all__ = ["install", "uninstall"]

PACKAGE = "mlagents_envs"
KNOWN_VERSIONS = ("0.28.0", "1.0.0", "1.1.0")

logger = logging.getLogger(__name__)


def install() -> None:
    """Offers the modules of `mlagents_envs`, as imports and as attributes of the package. Harmless when called twice.

    Raises ImportError when official modules of the same names are in use already, or when the installed mlagents-envs
    is too old to have the types of release 1.1.0.
    """
    if _finder in sys.meta_path:
        return
    package = importlib.import_module(PACKAGE)
    _check_version(str(getattr(package, "__version__", "unknown")))
    in_use = sorted(name for name in sys.modules if name.removeprefix(f"{PACKAGE}.") in MODULES and name != PACKAGE)
    if in_use:
        raise ImportError(
            f"{in_use[0]} of the official package is imported already; call bridge.compat.install() before anything "
            "imports it, or start the script with: python -m bridge.compat SCRIPT.py"
        )
    sys.meta_path.insert(0, _finder)
    if not hasattr(base_env.ActionSpec, "create_hybrid"):  # new in 1.0.0
        base_env.ActionSpec.create_hybrid = _create_hybrid  # type: ignore[attr-defined]
    try:
        for name in (*WORKING, *MODULES):
            if name not in NEED_AN_EXTRA:
                importlib.import_module(f"{PACKAGE}.{name}")
    except BaseException:
        uninstall()
        raise


def uninstall() -> None:
    """Takes everything back. Names that were imported from the modules meanwhile go on working."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    if getattr(base_env.ActionSpec, "create_hybrid", None) is _create_hybrid:
        del base_env.ActionSpec.create_hybrid  # type: ignore[attr-defined]
    for name in MODULES:
        module = sys.modules.get(f"{PACKAGE}.{name}")
        if module is None or getattr(module.__spec__, "loader", None) is not _finder:
            continue
        del sys.modules[f"{PACKAGE}.{name}"]
        parent, _, child = f"{PACKAGE}.{name}".rpartition(".")
        if getattr(sys.modules.get(parent), child, None) is module:
            delattr(sys.modules[parent], child)


def _create_hybrid(continuous_size: int, discrete_branches: tuple[int, ...]) -> base_env.ActionSpec:
    """An action specification with both kinds of actions."""
    return base_env.ActionSpec(continuous_size, discrete_branches)


def _check_version(version: str) -> None:
    if not hasattr(base_env, "ActionTuple") or not hasattr(base_env, "ObservationSpec"):
        raise ImportError(
            f"mlagents-envs {version} is too old for bridge.compat, which stands in for release 1.1.0; "
            "run: pip install 'mlagents-envs>=0.28'"
        )
    if version not in KNOWN_VERSIONS:
        logger.warning(
            f"bridge.compat was tried with mlagents-envs {', '.join(KNOWN_VERSIONS)}, and {version} is installed; "
            "what it offers has the names and signatures of release 1.1.0"
        )


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves the modules of the table under their official names; asked before the official files are."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top, _, name = fullname.partition(".")
        if top != PACKAGE or name not in MODULES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=name in PACKAGES)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.removeprefix(f"{PACKAGE}.")
        try:
            for source, names in MODULES[name].items():
                for one in names:
                    setattr(module, one, _load(source, one))
        except ModuleNotFoundError as error:
            if name not in NEED_AN_EXTRA:
                raise
            extra = "gymnasium" if "gym" in name else "pettingzoo"
            raise ModuleNotFoundError(
                f"{module.__name__} needs {error.name}; run: pip install 'mlagents-bridge[{extra}]'", name=error.name
            ) from error
        if name == "envs":
            module.__getattr__ = importlib.import_module("bridge.compat.registry").factory  # type: ignore[method-assign]


def _load(source: str, name: str) -> Any:
    """The object `name` of one of our modules, or of the protocol's descriptors."""
    if source == DESCRIPTORS:
        return from_descriptors(name)
    return getattr(importlib.import_module(source), name)


_finder = _Finder()
