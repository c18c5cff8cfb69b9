"""Films for TensorBoard: how the policy of a run plays at each of its checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bridge.agent_world import AgentWorld
from bridge.onnx_policy import OnnxPolicy, allowed_actions
from bridge.player import EnvironmentParameters
from trainers.errors import UsageError
from unity_envs import executables
from unity_envs.viewer import choose_renderer, default_speed, record_play, render_playbacks, write_pictures

if TYPE_CHECKING:
    from trainers.behavior_trainer import BehaviorTrainer

TAG = "Film"
SECONDS, FRAMES_PER_SECOND, SIZE = 5.0, 10.0, (320, 200)


class Films:
    """Shows a built-in environment, in a world of its own whose episodes begin alike in each film."""

    def __init__(self, env: str | None, env_args: list[str], seed: int) -> None:
        """Raises UsageError unless `env`, with its arguments, is a built-in environment."""
        if env is None or env not in executables.names():
            known = ", ".join(executables.names())
            raise UsageError(f"--film shows built-in environments only ({known}), but --env is {env or 'not given'}")
        try:
            self._make_world = executables.make_world(env, env_args)
        except ValueError as error:
            raise UsageError(f"--env-args: {error}") from error
        self._seed = seed
        self._shown: dict[str, int] = {}  # step of each behavior's last film

    def __call__(self, trainers: Mapping[str, "BehaviorTrainer"]) -> None:
        """Adds a film to the charts of each behavior, played with the most probable actions."""
        for trainer in trainers.values():
            if trainer.report is None or self._shown.get(trainer.name) == trainer.step:
                continue  # the end may come right after a checkpoint
            self._shown[trainer.name] = trainer.step
            with TemporaryDirectory() as folder:
                model, film = Path(folder, f"{trainer.name}.onnx"), Path(folder, "film.gif")
                trainer.export(model)
                self._play(model, film)
                trainer.report.film(trainer.step, TAG, film.read_bytes(), SIZE)

    def _play(self, model: Path, film: Path) -> None:
        world = self._make_world(self._seed, 1, EnvironmentParameters())
        if not isinstance(world, AgentWorld):
            raise UsageError("--film and --record of --env-args do not go together; leave one of them out")
        policy = OnnxPolicy(model)
        speed = default_speed(world.name)
        playback = record_play(
            world,
            lambda steps: policy.act(steps.obs, allowed_actions(steps), True, steps.agent_id),
            SECONDS * speed,
            policy.forget,
        )
        draw = choose_renderer("plain").render  # the same pictures everywhere
        times = [speed * index / FRAMES_PER_SECOND for index in range(round(SECONDS * FRAMES_PER_SECOND))]
        write_pictures(film, (render_playbacks([playback], time, SIZE, draw) for time in times), FRAMES_PER_SECOND)
