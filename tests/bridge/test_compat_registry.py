"""The registry of mlagents_envs under `bridge.compat`: manifests, builds that are fetched, and names of one's own."""

import functools
import http.server
import importlib
import os
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bridge import builds, compat

MANIFEST = """
environments:
  - Balls:
      expected_reward: 0.9
      description: balls on platforms
      linux_url: {url}/Balls.zip
      darwin_url: {url}/Balls.zip
      win_url: {url}/Balls.zip
      additional_args: ["--agents", "2"]
  - Elsewhere:
      expected_reward: null
      description: for no system
      linux_url: null
      darwin_url: null
      win_url: null
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """mlagents_envs.registry; its default registry knows a manifest that is not there, instead of Unity's."""
    monkeypatch.setenv("MLBRIDGE_HOME", str(tmp_path / "home"))
    compat.install()
    module = importlib.import_module("mlagents_envs.registry")
    monkeypatch.setattr(module.default_registry, "_manifests", ["http://127.0.0.1:9/manifest.yaml"])
    monkeypatch.setattr(module.default_registry, "_entries", {})
    yield module
    compat.uninstall()


@pytest.fixture
def player(program) -> Path:
    """A player of the ToyWorld that insists on the arguments of the manifest."""
    return program("assert sys.argv[-2:] == ['--agents', '2']\nsys.exit(run_player(toy_worlds.ToyWorld, port))")


@pytest.fixture
def served(tmp_path: Path, player: Path) -> Iterator[tuple[str, list[str]]]:
    """(address of a folder with a manifest and a build, what was asked for so far)."""
    pytest.importorskip("yaml")
    folder = tmp_path / "served"
    folder.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *details: Any) -> None:
            asked.append(self.path)

    handler: Callable[..., Handler] = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    (folder / "manifest.yaml").write_text(MANIFEST.format(url=url), encoding="utf-8")
    suffix = ".x86_64" if sys.platform == "linux" else ""
    with zipfile.ZipFile(folder / "Balls.zip", "w") as archive:
        archive.write(player, f"Balls/Balls{suffix}")
    yield url, asked
    server.shutdown()
    server.server_close()


def test_a_build_is_fetched_once_and_steps(registry: ModuleType, served: tuple[str, list[str]]) -> None:
    url, asked = served
    mine = registry.UnityEnvRegistry()
    mine.register_from_yaml(f"{url}/manifest.yaml")
    assert asked == []  # only when a name is looked for
    assert sorted(mine) == ["Balls", "Elsewhere"]
    assert len(mine) == 2
    entry = mine["Balls"]
    assert (entry.identifier, entry.expected_reward, entry.description) == ("Balls", 0.9, "balls on platforms")
    for _ in range(2):
        environment = entry.make(no_graphics=True, file_name="is ignored")
        environment.reset()
        assert sorted(environment.behavior_specs) == ["Jumper?team=1", "Walker?team=0"]
        environment.close()
    assert asked == ["/manifest.yaml", "/Balls.zip"]


def test_a_build_may_be_kept_elsewhere(registry: ModuleType, served: tuple[str, list[str]], tmp_path: Path) -> None:
    utilities = importlib.import_module("mlagents_envs.registry.binary_utils")
    program = Path(utilities.get_local_binary_path("Balls", f"{served[0]}/Balls.zip", str(tmp_path / "own")))
    assert program.is_relative_to(tmp_path / "own")
    assert os.access(program, os.X_OK)


def test_what_the_registry_does_not_have(registry: ModuleType, served: tuple[str, list[str]]) -> None:
    mine = registry.UnityEnvRegistry()
    mine.register_from_yaml(f"{served[0]}/manifest.yaml")
    assert "Walls" not in mine
    with pytest.raises(KeyError, match="has no environment Walls; it has: Balls, Elsewhere"):
        mine["Walls"]
    with pytest.raises(FileNotFoundError, match="no build for this platform"):
        mine["Elsewhere"].make()
    mine.clear()
    assert len(mine) == 0


def test_a_local_manifest_and_an_entry_of_ones_own(registry: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "manifest.yaml").write_text(MANIFEST.format(url="http://127.0.0.1:9"), encoding="utf-8")
    mine = registry.UnityEnvRegistry()
    mine.register_from_yaml(str(tmp_path / "manifest.yaml"))
    base = importlib.import_module("mlagents_envs.registry.base_registry_entry").BaseRegistryEntry
    mine.register(base("Own", 1.0, "mine"))
    assert set(mine) == {"Balls", "Elsewhere", "Own"}
    with pytest.raises(NotImplementedError):
        mine["Own"].make()


def test_added_environments_come_first_and_need_no_network(registry: ModuleType, toy_player: Path) -> None:
    assert builds.add("Mine", toy_player) == toy_player
    environment = registry.default_registry["Mine"].make(no_graphics=True)
    environment.reset()
    assert sorted(environment.behavior_specs) == ["Jumper?team=1", "Walker?team=0"]
    environment.close()
    with pytest.raises(OSError, match="manifest"):  # nobody serves it, and its address is told
        registry.default_registry["Other"]


def test_names_of_envs_are_factories(registry: ModuleType, served: tuple[str, list[str]]) -> None:
    pytest.importorskip("pettingzoo")
    envs = importlib.import_module("mlagents_envs.envs")
    with pytest.raises(AttributeError, match="cannot be fetched"):
        _ = envs.Balls
    registry.default_registry.clear()
    registry.default_registry.register_from_yaml(f"{served[0]}/manifest.yaml")
    assert envs.Balls.env_id == "Balls"
    with pytest.raises(AttributeError, match="no environment 'Walls'"):
        _ = envs.Walls
    with pytest.raises(AttributeError, match="has no attribute"):
        _ = envs.walls
