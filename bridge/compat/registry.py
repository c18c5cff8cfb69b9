"""Environments by name: those added with `mlbridge envs add`, and those of manifests such as Unity's own.

A manifest lists zip files of builds by platform. It is read, or fetched, when a name is asked for that no build was
added under; a build is fetched once and kept under its name and address.
"""

import hashlib
import logging
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlagents_envs.base_env import BaseEnv

from bridge import builds

logger = logging.getLogger(__name__)

UNITY_MANIFEST = "https://storage.googleapis.com/mlagents-test-environments/1.1.0/manifest.yaml"
_TIMEOUT = 30.0  # seconds without a byte


class BaseRegistryEntry:
    """An environment that can be made: a subclass says how."""

    def __init__(self, identifier: str, expected_reward: float | None, description: str | None) -> None:
        self._identifier = identifier
        self._expected_reward = expected_reward
        self._description = description

    @property
    def identifier(self) -> str:
        return self._identifier

    @property
    def expected_reward(self) -> float | None:
        """The cumulative reward at which the task counts as solved."""
        return self._expected_reward

    @property
    def description(self) -> str | None:
        return self._description

    @abstractmethod
    def make(self, **kwargs: Any) -> BaseEnv:
        """A UnityEnvironment; `kwargs` are its arguments."""
        raise NotImplementedError(f"the entry {self.identifier} does not say how to make its environment")


class AddedEntry(BaseRegistryEntry):
    """A build of this machine."""

    def __init__(self, identifier: str) -> None:
        super().__init__(identifier, None, f"added with: mlbridge envs add {identifier}")

    def make(self, **kwargs: Any) -> BaseEnv:
        return _make(builds.path(self.identifier), [], kwargs)


class RemoteRegistryEntry(BaseRegistryEntry):
    """A zip file for each platform; its build is fetched when it is made for the first time."""

    def __init__(
        self,
        identifier: str,
        expected_reward: float | None,
        description: str | None,
        linux_url: str | None,
        darwin_url: str | None,
        win_url: str | None,
        additional_args: list[str] | None = None,
        tmp_dir: str | None = None,
    ) -> None:
        """`tmp_dir`: where builds are kept, instead of this user's own folder."""
        super().__init__(identifier, expected_reward, description)
        self._url = {"darwin": darwin_url, "win32": win_url}.get(sys.platform, linux_url)
        self._arguments = list(additional_args or ())
        self._folder = tmp_dir

    def make(self, **kwargs: Any) -> BaseEnv:
        """Raises FileNotFoundError when there is no build for this platform."""
        if self._url is None:
            raise FileNotFoundError(f"the environment {self.identifier} has no build for this platform")
        return _make(get_local_binary_path(self.identifier, self._url, self._folder), self._arguments, kwargs)


def _make(executable: str | Path, own_arguments: list[str], kwargs: dict[str, Any]) -> BaseEnv:
    from bridge.environment import UnityEnvironment

    arguments = {name: value for name, value in kwargs.items() if name != "file_name"}
    arguments["additional_args"] = [*(arguments.get("additional_args") or ()), *own_arguments]
    return UnityEnvironment(str(executable), **arguments)


class UnityEnvRegistry(Mapping[str, BaseRegistryEntry]):
    """Entries by name."""

    def __init__(self) -> None:
        self._entries: dict[str, BaseRegistryEntry] = {}
        self._manifests: list[str] = []

    def register(self, new_entry: BaseRegistryEntry) -> None:
        """Replaces an entry of the same name."""
        self._entries[new_entry.identifier] = new_entry

    def register_from_yaml(self, path_to_yaml: str) -> None:
        """A path or an http address; read when an entry is asked for that is not there yet."""
        self._manifests.append(path_to_yaml)

    def clear(self) -> None:
        self._entries.clear()
        self._manifests.clear()

    def _load_all_manifests(self) -> None:
        while self._manifests:
            place = self._manifests[0]
            manifest = load_remote_manifest(place) if place.startswith("http") else load_local_manifest(place)
            for named in manifest["environments"]:
                ((identifier, fields),) = named.items()
                self.register(RemoteRegistryEntry(identifier=identifier, **fields))
            del self._manifests[0]  # after a failure, the next access tries it again

    def __getitem__(self, identifier: str) -> BaseRegistryEntry:
        if identifier not in self._entries:
            self._load_all_manifests()
        if identifier not in self._entries:
            raise KeyError(f"the registry has no environment {identifier}; it has: {', '.join(self)}")
        return self._entries[identifier]

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __iter__(self) -> Iterator[str]:
        self._load_all_manifests()
        return iter(list(self._entries))


class _DefaultRegistry(UnityEnvRegistry):
    """Also has the environments that were added by name on this machine; they come first."""

    def __getitem__(self, identifier: str) -> BaseRegistryEntry:
        if identifier not in self._entries and identifier in builds.names():
            return AddedEntry(identifier)
        return super().__getitem__(identifier)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*builds.names(), *super().__iter__()]))


default_registry = _DefaultRegistry()
default_registry.register_from_yaml(UNITY_MANIFEST)


def factory(name: str) -> Any:
    """`mlagents_envs.envs.NAME`: the PettingZoo factory of an environment; for 3DBall, NAME is ThreeDBall.

    Raises AttributeError when there is none of that name, or the list of them cannot be fetched.
    """
    if name.startswith("_") or not name[:1].isupper():
        raise AttributeError(f"module 'mlagents_envs.envs' has no attribute {name!r}")
    spelled_out = f"3{name.removeprefix('Three')}" if name.startswith("Three") else name
    try:
        found = next((one for one in (name, spelled_out) if one in default_registry), None)
    except OSError as error:
        raise AttributeError(
            f"whether there is an environment {name!r} cannot be said: Unity's list of them, {UNITY_MANIFEST}, "
            f"cannot be fetched ({error}); environments of your own: mlbridge envs add {name} PATH"
        ) from error
    if found is None:
        raise AttributeError(f"the registry has no environment {name!r}; it has: {', '.join(default_registry)}")
    from bridge.compat.pettingzoo_envs import PettingZooEnvFactory

    return PettingZooEnvFactory(found)


def load_local_manifest(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return _parse(file)


def load_remote_manifest(url: str) -> dict[str, Any]:
    with _open(url) as answer:
        return _parse(answer)


def _parse(file: Any) -> dict[str, Any]:
    import yaml  # only where a manifest is read

    manifest: dict[str, Any] = yaml.safe_load(file)
    return manifest


def get_local_binary_path(name: str, url: str, tmp_dir: str | None = None) -> str:
    """The program of the build at `url`, a zip file, which is fetched if it is not there yet."""
    kept = Path(tmp_dir) / "ml-agents-binaries" if tmp_dir else builds.home() / "downloads"
    folder = kept / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        kept.mkdir(parents=True, exist_ok=True)
        logger.info(f"fetching {name} from {url}")
        with tempfile.TemporaryFile() as file:
            with _open(url) as answer:
                shutil.copyfileobj(answer, file)
            builds.extract(file, folder, shown=url)
    return str(builds.find_program(folder))


def _open(url: str) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is no http address")
    try:
        return urllib.request.urlopen(url, timeout=_TIMEOUT)
    except urllib.error.URLError as error:
        error.reason = f"{error.reason} {url}"
        raise
