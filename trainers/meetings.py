"""When the ranks of a training meet, and what they agree on there.

Between two meetings no rank hears of another. A rank comes to the next one when it has its share of a behavior's
buffer, when it has to stop, or 5 seconds after the last one, and waits there for the others. There the steps, episodes
and statistics of all are added up on every rank in the same order, so that summaries, lessons, updates, checkpoints
and the end of the run follow from the same numbers everywhere, without another word.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlagents_envs.base_env import BehaviorSpec

from trainers.distributed import Ranks
from trainers.report import Report, Statistics
from trainers.rollout import Episodes

if TYPE_CHECKING:
    from trainers.behavior_trainer import BehaviorTrainer

_LONGEST_APART = 5.0  # seconds: a rank whose agents decide nothing keeps the others waiting no longer


@dataclass
class Told:
    """What a rank tells the others of a behavior: what has happened since the last meeting."""

    steps: int = 0
    gathered: int = 0  # steps for the next update, those from before the last meeting as well
    episodes: list[Episodes] = field(default_factory=list)
    statistics: Statistics = field(default_factory=dict)


class Shared:
    """What one behavior's trainer has in common with those on the other ranks.

    Attributes:
        untold: what the others do not know yet.
        gathered: steps that all ranks together had for the next update at the last meeting.
        enough: how many steps are this rank's share of the buffer.
    """

    def __init__(self, ranks: Ranks, buffer_size: int) -> None:
        self._ranks = ranks
        self._buffer_size = buffer_size
        self._agreed: list[Statistics] = []  # what all know, and no summary has said yet
        self.untold = Told()
        self.gather_anew()

    def gather_anew(self) -> None:
        """After an update."""
        self.gathered = 0
        self.enough = self._equal_part(self._buffer_size + 1)

    def exchange(self, gathered: int, statistics: Statistics) -> Told:
        """What to tell the others, with these figures of this rank."""
        told, self.untold = self.untold, Told()
        told.gathered, told.statistics = gathered, statistics
        return told

    def agree(self, told: Sequence[Told], own: int, counted: Statistics) -> None:
        """`told`: by each rank; `own`: steps that this one has gathered; `counted`: statistics that all ranks have."""
        self._agreed += [counted, *(one.statistics for one in told)]
        self.gathered = sum(one.gathered for one in told)
        self.enough = own + self._equal_part(self._buffer_size + 1 - self.gathered)

    def put_into(self, report: Report) -> None:
        """The statistics of all ranks, for a summary."""
        for statistics in self._agreed:
            report.put(statistics)
        self._agreed.clear()

    def _equal_part(self, missing: int) -> int:
        return max(1, -(-missing // self._ranks.size))


class Meetings:
    """Attributes: stopping: whether all ranks have agreed to end the run."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.stopping = False
        self._agreed: set[str] = set()  # behaviors that every rank has a trainer of
        self._last = time.monotonic()
        self._parent = os.getppid()

    def due(self, trainers: Mapping[str, "BehaviorTrainer"], *, leaving: bool) -> bool:
        """Whether this rank has to meet the others now; `leaving`: it was asked to stop."""
        if leaving or any(_has_share(trainer) for trainer in trainers.values()):
            return True
        return time.monotonic() - self._last > _LONGEST_APART

    def meet(
        self, trainers: Mapping[str, "BehaviorTrainer"], specs: Mapping[str, BehaviorSpec], *, leaving: bool
    ) -> dict[str, BehaviorSpec]:
        """Tells the others what has happened here, and takes in what they tell.

        Returns the behaviors that are new to any rank, by full name, in the same order on all: `know` them next.
        """
        # Whoever has started this rank is gone, and with it whoever would end this rank when another one dies.
        leaving = leaving or os.getppid() != self._parent
        told = [_exchange(trainers[name]) for name in sorted(self._agreed)]
        new = {name: spec for name, spec in specs.items() if _short(name) not in self._agreed}
        every = self.ranks.gather((leaving, told, new))
        self.stopping = self.stopping or any(one[0] for one in every)
        for index, name in enumerate(sorted(self._agreed)):
            _agree(trainers[name], [one[1][index] for one in every])
        self._last = time.monotonic()
        met: dict[str, BehaviorSpec] = {}
        for one in every:
            met = {**one[2], **met}
        return dict(sorted(met.items()))

    def know(self, trainer: "BehaviorTrainer", source: int) -> bool:
        """Gives every rank the networks that rank `source` has for a new behavior; False for one that they know."""
        if trainer.name in self._agreed:
            return False
        state = self.ranks.from_rank(source, trainer.networks() if self.ranks.rank == source else None)
        if self.ranks.rank != source:
            trainer.load_networks(state)
        self._agreed.add(trainer.name)
        return True


def _has_share(trainer: "BehaviorTrainer") -> bool:
    """Whether this rank has done its part of what the next update needs."""
    enough = trainer.shared is not None and trainer.gathered >= trainer.shared.enough
    return enough and trainer.training and not trainer.finished


def _exchange(trainer: "BehaviorTrainer") -> Told:
    """What the other ranks have to know."""
    assert trainer.shared is not None
    trainer.take_in()
    trainer.log_entropies()
    return trainer.shared.exchange(trainer.gathered, {} if trainer.report is None else trainer.report.take())


def _agree(trainer: "BehaviorTrainer", told: Sequence[Told]) -> None:
    """Takes in what `_exchange` gave on each rank, the same on all of them."""
    assert trainer.shared is not None
    for one in told:
        trainer.step += one.steps
        for episodes in one.episodes:
            trainer.count_episodes(episodes)
    # What all ranks have counted alike: none has to tell it to another.
    trainer.shared.agree(told, trainer.gathered, {} if trainer.report is None else trainer.report.take())


def _short(full_name: str) -> str:
    return full_name.partition("?")[0]
