"""A pytest plugin for the official tests: stands in for two packages that they import and a current Python lacks.

`gym` is Gymnasium, whose spaces they look at; `mlagents` gives the file of shared test helpers the names of settings
that none of these tests uses.
"""

import sys
from unittest.mock import MagicMock

import gymnasium
import gymnasium.spaces

sys.modules.setdefault("gym", gymnasium)
sys.modules.setdefault("gym.spaces", gymnasium.spaces)
for _name in ("", ".trainers", ".trainers.settings", *(f".trainers.{kind}" for kind in ("ppo", "sac", "poca"))):
    sys.modules.setdefault(f"mlagents{_name}", MagicMock())
for _kind in ("ppo", "sac", "poca"):
    sys.modules.setdefault(f"mlagents.trainers.{_kind}.trainer", MagicMock())
