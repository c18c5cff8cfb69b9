"""A player of C# agents under Mono: what `new_player` of conftest.py gives."""

from __future__ import annotations

import math
import struct
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

LIMIT = 60  # seconds that a player may live


@dataclass
class Message:
    """What a trainer gets at once. Arrays have a row for each agent that reports, in the order of the wire."""

    ids: np.ndarray  # of the decisions, [decisions]
    rewards: np.ndarray
    observations: np.ndarray  # [decisions, size]
    terminal_ids: np.ndarray  # [terminals]
    terminal_rewards: np.ndarray
    terminal_observations: np.ndarray
    interrupted: np.ndarray


@dataclass
class AgentDeclaration:
    """What an agent declared as it was activated."""

    class_name: str
    behavior: str
    continuous: int
    branches: list[int]
    decision_period: int  # 0 without a DecisionRequester
    max_step: int
    sensors: dict[str, tuple[int, ...]]


class PlayerEnded(Exception):
    """The player quit, with `exit_code`, or failed. The text is what it logged."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass
class Player:
    """A running driver; raises Player.Ended when it ends by itself. What scripts log as a warning or an error raises
    AssertionError, unless `complaints_allowed`.
    """

    Ended: ClassVar = PlayerEnded
    folder: Path
    arguments: Sequence[str] = ()
    complaints_allowed: bool = False
    working_folder: Path | None = None
    complaints: list[str] = field(default_factory=list)
    agents: list[AgentDeclaration] = field(default_factory=list)

    def __enter__(self) -> Player:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            ["mono", str(self.folder / "Driver.exe"), *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=self.working_folder,
        )
        self._watchdog = threading.Timer(LIMIT, self._process.kill)
        self._watchdog.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    # ---- before the first step ----

    def areas(self, count: int) -> None:
        """What the trainer asks for as num_areas."""
        self._send("areas", count)

    def add_agent(
        self,
        class_name: str,
        behavior: str,
        observations: int,
        continuous: int = 0,
        branches: Sequence[int] = (),
        decision_period: int = 1,
        max_step: int = 0,
        **fields: Any,
    ) -> None:
        """One more agent on an object of its own; `fields` are public fields of the agent."""
        sizes = ",".join(str(size) for size in branches) or "-"
        values = [f"{name}={value}" for name, value in fields.items()]
        self._send("agent", class_name, behavior, observations, continuous, sizes, decision_period, max_step, *values)

    def begin(self) -> Message:
        """Builds the scene; returns the first message."""
        self._send("begin")
        return self._message()

    # ---- at a message ----

    def step(self, actions: Any = None) -> Message:
        """Goes on to the next message; `actions` [agents, continuous + branches], or None if nobody waits for any."""
        if actions is not None:
            rows = np.asarray(actions).reshape(len(self.agents), -1)
            first = self.agents[0].continuous  # discrete action
            words = [[*_texts(row[:first]), *_texts(row[first:].astype(np.int64))] for row in rows]
            self._send("act", "each", *(word for row in words for word in row))
        self._send("step")
        return self._message()

    def reset(self) -> Message:
        """The trainer's reset."""
        self._send("reset")
        return self._message()

    def suggest(self) -> np.ndarray:
        """What each agent's Heuristic would do: [agents, continuous + branches]."""
        self._send("suggest")
        return np.array([[_number(word) for word in line.split()[1:]] for line in self._answer()])

    # ---- at any time ----

    def random(self, numbers: Any) -> None:
        """What UnityEngine.Random draws next, as numbers of 0..1."""
        self._send("random", *_texts(numbers))

    def parameter(self, name: str, value: float) -> None:
        """Sets an environment parameter."""
        self._send("parameter", name, *_texts(value))

    def set(self, member: str, values: Any, who: str | int | None = None) -> None:
        """Sets a field or property ("World.Position") of all agents: `values` [agents, size], or one value for all.

        `who` is the number of one agent, or the name of a type.
        """
        if isinstance(values, str):
            self._send("set", "*" if who is None else who, member, values)
            return
        array = np.asarray(values)
        if who is None:
            who = "each" if array.ndim and len(array) == len(self.agents) else "*"
        self._send("set", who, member, *_texts(array))

    def get(self, member: str, who: str | int = "*") -> np.ndarray:
        """A field or property of all agents: [agents] or [agents, size]; numbers as float64, else text."""
        self._send("get", who, member)
        rows = [line.split()[1:] for line in self._answer()]
        try:
            array = np.array([[_number(word) for word in row] for row in rows])
        except ValueError:
            array = np.array([[" ".join(row)] for row in rows])
        return array[:, 0] if array.shape[1] == 1 else array

    def call(self, type_name: str, method: str) -> None:
        """A static method without parameters."""
        self._send("call", type_name, method)
        self._answer()

    def objects(self) -> list[tuple[str, bool, list[str]]]:
        """The objects of the scene in the order in which they were made: name, whether active, components."""
        self._send("objects")
        rows = [line.removeprefix("object ").split("|") for line in self._answer()]
        return [(name, active == "True", parts.split(",")) for name, active, parts in rows]

    def _send(self, *words: Any) -> None:
        try:
            self._process.stdin.write(" ".join(str(word) for word in words) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer, or that there is none, says why

    def _answer(self) -> list[str]:
        lines: list[str] = []
        while (line := self._process.stdout.readline().rstrip("\n")) != "end":
            if not line and self._process.poll() is not None:
                self._errors.seek(0)
                raise PlayerEnded(f"the player died: {self._errors.read()[-2000:]}", self._process.returncode)
            kind, _, text = line.partition(" ")
            if kind == "complaint":
                self.complaints.append(text)
            elif kind == "agent":
                self.agents.append(_declaration(text.split("|")))
            elif kind in ("failure", "exit"):
                raise PlayerEnded("\n".join([*self.complaints, text]), self._process.wait(LIMIT))
            elif line:
                lines.append(line)
        if self.complaints and not self.complaints_allowed:
            raise AssertionError("\n".join(self.complaints))
        return lines

    def _message(self) -> Message:
        rows: dict[str, list[list[float]]] = {"decision": [], "terminal": []}
        for line in self._answer():
            kind, *words = line.split()
            rows[kind].append([_number(word) for word in words])
        size = sum(math.prod(shape) for shape in self.agents[0].sensors.values() if len(shape) == 1)
        decisions = np.array(rows["decision"]).reshape(-1, 2 + size)
        terminals = np.array(rows["terminal"]).reshape(-1, 3 + size)
        return Message(
            decisions[:, 0].astype(int),
            decisions[:, 1].astype(np.float32),
            decisions[:, 2:].astype(np.float32),
            terminals[:, 0].astype(int),
            terminals[:, 1].astype(np.float32),
            terminals[:, 3:].astype(np.float32),
            terminals[:, 2].astype(bool),
        )


def _texts(values: Any) -> list[str]:
    """Numbers as the driver reads them: whole ones as they are, others by their bits."""
    array = np.asarray(values)
    if array.dtype.kind != "f":
        return [str(each) for each in array.ravel().tolist()]
    return [f"x{bits:016x}" for bits in array.ravel().astype(np.float64).view(np.uint64).tolist()]


def _number(text: str) -> float:
    return struct.unpack(">d", bytes.fromhex(text[1:]))[0] if text.startswith("x") else float(text)


def _declaration(words: list[str]) -> AgentDeclaration:
    def sizes(text: str) -> list[int]:
        return [int(size) for size in text.split(",")] if text != "-" else []

    sensors = dict(sensor.split(":") for sensor in words[7].split(";")) if words[7] else {}
    return AgentDeclaration(
        words[1],
        words[2],
        int(words[3]),
        sizes(words[4]),
        int(words[5]),
        int(words[6]),
        {name: tuple(sizes(shape)) for name, shape in sensors.items()},
    )
