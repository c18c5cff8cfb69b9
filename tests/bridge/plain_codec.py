"""The fast codec without numba, and with arrays that tell of an index outside of them: a second copy of its modules."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np

import bridge

MODULES = ["wire", "wire_reading", "wire_writing", "fast_codec", "fast_player_codec"]


class Guarded(np.ndarray):
    """An array that does not take negative indices for positions from its end, nor slices beyond it."""

    def __getitem__(self, index):
        self._check(index)
        return super().__getitem__(index)

    def __iter__(self):
        return iter(np.asarray(self))

    def __setitem__(self, index, value) -> None:
        self._check(index)
        super().__setitem__(index, value)

    def _check(self, index) -> None:
        for one, length in zip(index if isinstance(index, tuple) else (index,), self.shape, strict=False):
            if isinstance(one, slice):
                assert 0 <= (one.start or 0) <= (length if one.stop is None else one.stop) <= length
            else:
                assert 0 <= int(one) < length


def load() -> SimpleNamespace:
    """`TrainerCodec` and `PlayerCodec`, and the modules by name."""
    ours = {f"bridge.{name}": sys.modules.pop(f"bridge.{name}", None) for name in MODULES}
    attributes = {name: bridge.__dict__.pop(name) for name in MODULES if name in bridge.__dict__}
    numba = sys.modules.get("numba")
    sys.modules["numba"] = None  # so its import fails
    try:
        modules = {name: importlib.import_module(f"bridge.{name}") for name in MODULES}
    finally:
        for name in [*ours, "numba"]:
            sys.modules.pop(name, None)
        sys.modules.update({name: module for name, module in {**ours, "numba": numba}.items() if module is not None})
        for name in MODULES:
            bridge.__dict__.pop(name, None)
        bridge.__dict__.update(attributes)
    for module, names in (
        ("wire_reading", ["scan", "read_agents", "read_actions"]),
        ("wire_writing", ["write_agents", "write_actions"]),
    ):
        for name in names:
            setattr(modules[module], name, _guarding(getattr(modules[module], name)))
    codecs = {
        "TrainerCodec": modules["fast_codec"].TrainerCodec,
        "PlayerCodec": modules["fast_player_codec"].PlayerCodec,
    }
    return SimpleNamespace(**codecs, **modules)


def _guarding(function):
    def call(*arguments):
        return function(*(each.view(Guarded) if isinstance(each, np.ndarray) else each for each in arguments))

    return call
