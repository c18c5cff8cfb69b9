"""Opens what `--env` names: a Unity build, any executable that speaks the protocol, a built-in world, or the Editor."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from bridge import builds
from bridge.executable_lookup import ExecutableNotFoundError, find_executable
from bridge.side_channels import SideChannel
from bridge.stepped_environment import SteppedEnvironment
from trainers.errors import UsageError, did_you_mean
from unity_envs import executables


@dataclass(frozen=True)
class Choice:
    """What `--env` turned out to be: an executable, that of a built-in environment, or neither: the Editor."""

    executable: str | None
    built_in: str | None

    def __str__(self) -> str:
        if self.executable is None:
            return "the Unity Editor"
        return f"the built-in environment {self.built_in} ({self.executable})" if self.built_in else self.executable


def choose(env: str | None) -> Choice:
    """A path that resolves wins over a name: that of a built-in environment, or one given with `mlbridge envs add`.

    Raises UsageError or UnityEnvironmentException when `env` is none of these.
    """
    if env is None:
        return Choice(None, None)
    try:
        return Choice(str(find_executable(env)), None)
    except ExecutableNotFoundError as error:
        names = executables.names()
        if env in names:
            try:
                return Choice(executables.path(env), env)
            except RuntimeError as missing:
                raise UsageError(f"--env: {missing}") from missing
        added = builds.names()
        if env in added:
            return Choice(str(builds.path(env)), None)
        raise UsageError(
            f"--env: {error}; built-in environments are {', '.join(names)}, added ones (mlbridge envs add): "
            f"{', '.join(added) or 'none'}{did_you_mean(env, [*names, *added])}"
        ) from error


def open_environment(
    env: str | None,
    *,
    in_process: bool = False,
    worker_id: int = 0,
    base_port: int | None = None,
    seed: int = 0,
    no_graphics: bool = False,
    no_graphics_monitor: bool = False,
    timeout_wait: float = 60,
    additional_args: Sequence[str] = (),
    num_areas: int = 1,
    side_channels: Sequence[SideChannel] = (),
    log_folder: str | None = None,
    wait_for_editor: bool = False,
    listen: str | None = None,
    threads: Executor | None = None,
) -> SteppedEnvironment:
    """Starts one player, or with `in_process` the world itself, and returns it connected.

    `base_port` None takes a free port; `threads`: where the world steps, if beside others.

    Raises UsageError and UnityException for what a user can mend.
    """
    if in_process:
        from bridge.in_process import InProcessEnvironment

        names = executables.names()
        if env is None or env not in names:
            raise UsageError(
                f"--in-process steps a built-in environment in this process, but --env is {env or 'not given'}"
                f"{did_you_mean(env or '', names)}; name one of {', '.join(names)}, or leave --in-process out"
            )
        try:
            make_world = executables.make_world(env, list(additional_args))
        except ValueError as error:
            raise UsageError(f"--env-args: {error}") from error
        return InProcessEnvironment(
            make_world, seed=seed, num_areas=num_areas, side_channels=side_channels, threads=threads
        )

    from bridge.environment import UnityEnvironment

    choice = choose(env)
    return UnityEnvironment(
        choice.executable,
        worker_id=worker_id,
        base_port=base_port if choice.executable is not None else None,
        seed=seed,
        no_graphics=no_graphics,
        no_graphics_monitor=no_graphics_monitor,
        timeout_wait=timeout_wait,
        additional_args=additional_args,
        side_channels=side_channels,
        log_folder=log_folder,
        num_areas=num_areas,
        wait_for_editor=wait_for_editor,
        listen=listen,
    )


def open_together(open_one: Callable[[int], SteppedEnvironment], count: int) -> list[SteppedEnvironment]:
    """`open_one(worker_id)` for `count` workers at the same time, so that players load side by side.

    Raises what the first failure raised, or KeyboardInterrupt, without waiting for the others, and closes these.
    """
    if count == 1:
        return [open_one(0)]  # in this thread, where Ctrl-C reaches it
    opened: dict[int, SteppedEnvironment] = {}
    failures: list[BaseException] = []
    lock = threading.Lock()

    def attempt(worker_id: int) -> None:
        try:
            environment = open_one(worker_id)
        except BaseException as error:
            failures.append(error)
            return
        with lock:
            if not failures:
                opened[worker_id] = environment
                return
        environment.close()

    # Daemons: a player that was given up, but has yet to connect, must not keep this program from ending.
    threads = [threading.Thread(target=attempt, args=(worker_id,), daemon=True) for worker_id in range(count)]
    for thread in threads:
        thread.start()
    try:
        while not failures and (working := [thread for thread in threads if thread.is_alive()]):
            working[0].join(0.05)
    except BaseException as error:
        failures.append(error)
    if failures:
        with lock:
            for environment in opened.values():
                environment.close()
        raise failures[0]
    return [opened[worker_id] for worker_id in range(count)]
