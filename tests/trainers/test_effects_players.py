"""What players get of flags and keys: their command line, port, seed, areas, engine settings, patience and new lives.

Each is asked for by a flag and by a key, and seen by the player, a program that writes down what it is given.
"""

import json
import logging
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bridge.ports import port_is_free
from trainers.commands import learn, main

PLAYER = """
import json, os, sys, time
from pathlib import Path
from bridge import player
from unity_envs.worlds import make_world_factory

port = player.port_from_arguments(sys.argv[1:])
engine = []

def note(channel, message):
    if str(channel.channel_id) == "e951342c-4f7e-11ea-b238-784f4387d1f7":
        engine.append(message.get_raw_bytes().hex())

player._Ignored.on_message_received = note

def make_world(seed, num_areas, parameters):
    world = make_world_factory("PoleBalancer", 2)(seed, num_areas, parameters)
    reset, step = world.reset, world.step
    lives = Path(f"lives-{seed}")
    lives.write_text(lives.read_text() + "x" if lives.exists() else "x")

    def first():
        size = parameters.get_with_default("size", -1.0)
        given = {"seed": seed, "num_areas": num_areas, "port": port, "arguments": sys.argv[1:], "engine": engine}
        Path(f"given-{seed}.json").write_text(json.dumps(given | {"size": size}))
        return reset()

    def next_one(actions):
        BEHAVE
        return step(actions)

    world.reset, world.step = first, next_one
    return world

sys.exit(player.run_player(make_world, port))
"""

RUN: dict[str, Any] = {
    "behaviors": {
        "PoleBalancer": {
            "trainer_type": "ppo",
            "hyperparameters": {"batch_size": 16, "buffer_size": 64},
            "network_settings": {"hidden_units": 8},
            "time_horizon": 8,
            "max_steps": 40,
        }
    }
}


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, list[dict[str, Any]]]]]:
    """`play(how, section, values...)`: a short run of the player; its exit code and what each player was given.

    how: "flags" puts the values on the command line, "keys" into the configuration's `section`.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(learn, "_preload", lambda: None)  # everything is loaded, and garbage stays collected here
    loggers = [logging.getLogger(name) for name in ("bridge", "trainers", "unity_envs")]
    before = torch.get_num_threads(), [logger.level for logger in loggers]

    def run(how: str, behave: str = "pass", **sections: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
        Path("player.py").write_text(PLAYER.replace("BEHAVE", behave), encoding="utf-8")
        sections = {
            "env_settings": {"env_path": "player.py", "seed": 7, **sections.pop("env_settings", {})},
            **sections,
        }
        Path("run.yaml").write_text(yaml.safe_dump(RUN | (sections if how == "keys" else {})), encoding="utf-8")
        flags = []
        for key, value in (pair for section in sections.values() for pair in section.items()):
            flag = "--env" if key == "env_path" else "--" + key.replace("_", "-")
            values = value if isinstance(value, list) else [] if value is True else [str(value)]
            flags += [(flag, *values)]
        flags.sort(key=lambda one: one[0] == "--env-args")  # the last one
        given = [part for flag in flags for part in flag] if how == "flags" else []
        code = main(["learn", "run.yaml", *given])
        return code, [json.loads(path.read_text()) for path in sorted(tmp_path.glob("given-*.json"))]

    yield run
    torch.set_num_threads(before[0])
    for logger, level in zip(loggers, before[1], strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("how", ["flags", "keys"])
def test_a_player_gets_what_is_set_for_it(play: Callable[..., Any], how: str) -> None:
    base_port = next(port for port in range(21_000, 22_000) if port_is_free(port) and port_is_free(port + 1))
    env = {"num_envs": 2, "num_areas": 3, "seed": 11, "env_args": ["--colour", "red"], "base_port": base_port}
    engine: dict[str, Any] = {"width": 101, "height": 102, "quality_level": 3, "time_scale": 4.5}
    engine |= {"target_frame_rate": 30, "capture_frame_rate": 25, "no_graphics_monitor": True}
    code, given = play(how, env_settings=env, engine_settings=engine)
    assert code == 0
    assert [(one["seed"], one["port"]) for one in given] == [(11, base_port), (12, base_port + 1)]
    for one in given:
        assert one["num_areas"] == 3
        assert one["arguments"][-2:] == ["--colour", "red"]
        # Unity's kinds of messages: 0 resolution, 1 quality, 2 time scale, 3 and 4 frame rates
        assert sorted(one["engine"]) == [
            struct.pack("<iii", 0, 101, 102).hex(),
            struct.pack("<ii", 1, 3).hex(),
            struct.pack("<if", 2, 4.5).hex(),
            struct.pack("<ii", 3, 30).hex(),
            struct.pack("<ii", 4, 25).hex(),
        ]
    # Only the first one shows its picture.
    assert [{"-nographics", "-batchmode"} <= set(one["arguments"]) for one in given] == [False, True]


@pytest.mark.parametrize("how", ["flags", "keys"])
def test_no_graphics_is_for_every_player(play: Callable[..., Any], how: str) -> None:
    code, given = play(how, env_settings={"num_envs": 2}, engine_settings={"no_graphics": True})
    assert code == 0 and len(given) == 2
    assert all({"-nographics", "-batchmode"} <= set(one["arguments"]) for one in given)


def test_without_any_of_them_a_player_gets_the_defaults_of_ml_agents(play: Callable[..., Any]) -> None:
    code, (given,) = play("keys", environment_parameters={"size": 2.5})
    assert code == 0
    assert (given["num_areas"], given["size"]) == (1, 2.5)
    assert not {"-nographics", "-batchmode"} & set(given["arguments"])
    assert sorted(given["engine"]) == [
        struct.pack("<iii", 0, 84, 84).hex(),
        struct.pack("<ii", 1, 5).hex(),
        struct.pack("<if", 2, 20.0).hex(),
        struct.pack("<ii", 3, -1).hex(),
        struct.pack("<ii", 4, 60).hex(),
    ]


@pytest.mark.parametrize("how", ["flags", "keys"])
def test_timeout_wait_is_how_long_a_silent_player_is_waited_for(
    play: Callable[..., Any], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("silent.py").write_text("import time; time.sleep(50)")
    begun = time.monotonic()
    code, _ = play(how, env_settings={"env_path": "silent.py", "timeout_wait": 1})
    assert code == 2
    assert 1 <= time.monotonic() - begun < 20  # and not the 60 s that are the default
    assert "did not connect to port " in (error := capsys.readouterr().err) and " within 1 s;" in error


CRASH = "os._exit(3)"


@pytest.mark.parametrize(
    ("how", "limits", "lives", "reason"),
    [
        ("flags", {"max_lifetime_restarts": 2, "restarts_rate_limit_n": -1}, 3, "it has had its 2 restarts"),
        ("keys", {"max_lifetime_restarts": -1, "restarts_rate_limit_n": 1}, 2, "it has had 1 restart within 60 s"),
    ],
)
def test_a_player_has_so_many_lives(
    play: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    how: str,
    limits: dict[str, int],
    lives: int,
    reason: str,
) -> None:
    code, _ = play(how, CRASH, env_settings=limits)
    assert code == 2
    assert Path("lives-7").read_text() == "x" * lives
    assert f"Player 0 is not started again: {reason}" in capsys.readouterr().out


@pytest.mark.slow
def test_restarts_count_for_their_period(play: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    """A player that lives for longer than the period may be started again each time, until its lives are used up."""
    limits = {"max_lifetime_restarts": 2, "restarts_rate_limit_n": 1, "restarts_rate_limit_period_s": 1}
    code, _ = play("flags", f"time.sleep(1.1); {CRASH}", env_settings=limits)
    assert code == 2
    assert Path("lives-7").read_text() == "xxx"
    assert "Player 0 is not started again: it has had its 2 restarts" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["flags", "keys"])
def test_listen_opens_the_ports_to_other_machines_and_says_so(
    play: Callable[..., Any], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = (
        r"Listening on 0\.0\.0\.0:(\d+), which other machines can reach\. .* anyone who reaches this port can feed"
    )
    code, (given,) = play(how)
    assert code == 0
    assert not re.search(warning, " ".join(capsys.readouterr().out.split()))
    code, (given,) = play(how, env_settings={"listen": "0.0.0.0"}, checkpoint_settings={"force": True})
    assert code == 0
    assert re.search(warning, " ".join(capsys.readouterr().out.split()))[1] == str(given["port"])
