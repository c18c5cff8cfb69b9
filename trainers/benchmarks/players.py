"""Four players of 3DBall against one, 12 agents each, over gRPC: agent-steps/s of whole trainings of ours.

Once as fast as the players can, once where each of their steps takes 5 ms more in which they sleep.
"""

from functools import partial
from pathlib import Path

from trainers.benchmarks import Context
from trainers.benchmarks.machine import cores
from trainers.benchmarks.rows import Row, alternate
from trainers.benchmarks.trainer_process import our_program, train_3dball
from trainers.benchmarks.training import write_configuration

PLAYERS = 4
WAIT_MILLISECONDS = 5
_LIMIT = 900.0  # seconds a run


def run(context: Context) -> list[Row]:
    """Ours with four players, beside ours with one."""
    waiting = [str(Path(__file__).with_name("waiting_player.py")), "--wait-ms", str(WAIT_MILLISECONDS)]
    name = f"{PLAYERS} players against 1, 12 agents each"
    rows = []
    for row_name, player in ((name, []), (f"{name}, {WAIT_MILLISECONDS} ms a step", waiting)):
        context.say(f"players: {row_name}")
        sides = {f"{count} players": partial(_agent_steps_per_second, context, count, player) for count in (PLAYERS, 1)}
        several, one = alternate(context.rounds, sides, context.say).values()
        rows.append(Row(row_name, "agent-steps/s", several, one, "measured", cores(), beside="ours with 1 player"))
    return rows


def _agent_steps_per_second(context: Context, players: int, player: list[str], turn: int) -> float:
    configuration = write_configuration(context.folder / f"3DBall-{context.steps}.yaml", context.steps)
    run = train_3dball(
        our_program(), configuration, context.folder, seed=turn, limit=_LIMIT, players=players, player=player
    )
    return run.steps_per_second()
