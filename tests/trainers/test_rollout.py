"""Experience from steps to an update: which reward belongs where, and where trajectories are cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

from trainers.experience import ExperienceBuffer
from trainers.rollout import CutTrajectories, OpenTrajectories

SPEC = BehaviorSpec(
    [ObservationSpec((1,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "number")],
    ActionSpec.create_continuous(1),
)
COLUMNS: dict[str, tuple[int, Any]] = {"action": (1, np.float32)}


def players(count: int, player: int = 0) -> np.ndarray:
    return np.full(count, player, np.int64)


def decisions(
    ids: Sequence[int], observations: Sequence[float], rewards: Sequence[float], groups: Sequence[float] | None = None
) -> DecisionSteps:
    count = len(ids)
    return DecisionSteps(
        [np.array(observations, np.float32).reshape(count, 1)],
        np.array(rewards, np.float32),
        np.array(ids, np.int32),
        None,
        np.zeros(count, np.int32),
        np.array(groups if groups is not None else [0.0] * count, np.float32),
    )


def terminals(
    ids: Sequence[int],
    observations: Sequence[float],
    rewards: Sequence[float],
    interrupted: Sequence[bool],
    groups: Sequence[float] | None = None,
) -> TerminalSteps:
    count = len(ids)
    return TerminalSteps(
        [np.array(observations, np.float32).reshape(count, 1)],
        np.array(rewards, np.float32),
        np.array(interrupted, np.bool_),
        np.array(ids, np.int32),
        np.zeros(count, np.int32),
        np.array(groups if groups is not None else [0.0] * count, np.float32),
    )


class Life:
    """Feeds messages to OpenTrajectories; every action is the agent's observation plus 0.5."""

    def __init__(self, time_horizon: int = 1000) -> None:
        self.open = OpenTrajectories(SPEC, time_horizon, COLUMNS)
        self.cuts: list[CutTrajectories] = []
        self.episodes: list[tuple[float, float, int]] = []

    def message(self, decided: DecisionSteps, ended: TerminalSteps | None = None, player: int = 0) -> None:
        if ended is not None:
            cut, episodes = self.open.close_terminals(players(len(ended), player), ended)
            if cut is not None:
                self.cuts.append(cut)
            if episodes is not None:
                self.episodes += zip(
                    episodes.rewards.tolist(), episodes.group_rewards.tolist(), episodes.lengths.tolist(), strict=True
                )
        slots, cut = self.open.continue_decisions(players(len(decided), player), decided)
        if cut is not None:
            self.cuts.append(cut)
        self.open.store(slots, decided.obs, {"action": decided.obs[0] + 0.5})

    @property
    def trajectories(self) -> list[dict[str, Any]]:
        """All that was cut, one dictionary of lists a trajectory."""
        found = []
        for cut in self.cuts:
            ends = np.cumsum(cut.lengths)
            for index, (length, end) in enumerate(zip(cut.lengths, ends, strict=True)):
                rows = slice(end - length, end)
                found.append(
                    {
                        "observations": cut.observations[0][rows, 0].tolist(),
                        "actions": cut.columns["action"][rows, 0].tolist(),
                        "rewards": cut.rewards[rows].tolist(),
                        "next": cut.next_observations[0][index, 0].item(),
                        "terminated": bool(cut.terminated[index]),
                    }
                )
        return found


NOBODY = decisions([], [], [])


# ---- trajectories ----


def test_a_reward_belongs_to_the_action_before_it() -> None:
    life = Life()
    life.message(decisions([7], [1], [100]))  # nobody has acted yet: this reward belongs to nothing
    life.message(decisions([7], [2], [10]))
    life.message(decisions([7], [3], [20]))
    assert life.cuts == []
    life.message(NOBODY, terminals([7], [4], [30], [False]))
    assert life.trajectories == [
        {
            "observations": [1, 2, 3],
            "actions": [1.5, 2.5, 3.5],
            "rewards": [10, 20, 30],
            "next": 4,
            "terminated": True,
        }
    ]
    assert life.episodes == [(60, 0, 3)]


def test_an_interrupted_episode_is_not_terminated() -> None:
    life = Life()
    life.message(decisions([1, 2], [1, 1], [0, 0]))
    life.message(NOBODY, terminals([1, 2], [5, 6], [1, 2], [True, False]))
    assert [(each["next"], each["terminated"]) for each in life.trajectories] == [(5, False), (6, True)]


def test_the_time_horizon_cuts_and_the_episode_goes_on() -> None:
    life = Life(time_horizon=2)
    for number in range(5):
        life.message(decisions([1], [number], [number]))
    life.message(NOBODY, terminals([1], [5], [5], [False]))
    assert [
        (each["observations"], each["rewards"], each["next"], each["terminated"]) for each in life.trajectories
    ] == [
        ([0, 1], [1, 2], 2, False),
        ([2, 3], [3, 4], 4, False),
        ([4], [5], 5, True),
    ]
    assert life.episodes == [(15, 0, 5)]


def test_an_episode_that_ends_at_the_horizon_is_cut_once() -> None:
    life = Life(time_horizon=2)
    life.message(decisions([1], [0], [0]))
    life.message(decisions([1], [1], [1]))
    life.message(NOBODY, terminals([1], [2], [2], [False]))
    assert [each["observations"] for each in life.trajectories] == [[0, 1]]
    assert life.trajectories[0]["terminated"]


def test_the_same_agent_ends_and_begins_in_one_message() -> None:
    life = Life()
    life.message(decisions([4], [0], [0]))
    life.message(decisions([4], [10], [7]), terminals([4], [1], [3], [False]))
    life.message(NOBODY, terminals([4], [11], [5], [True]))
    assert [(each["observations"], each["rewards"], each["next"]) for each in life.trajectories] == [
        ([0], [3], 1),  # the 7 of the new episode's first decision belongs to no action
        ([10], [5], 11),
    ]
    assert life.episodes == [(3, 0, 1), (5, 0, 1)]


def test_an_end_without_a_decision_before_is_left_out() -> None:
    life = Life()
    life.message(NOBODY, terminals([1], [1], [1], [False]))
    life.message(decisions([2], [0], [0]))
    life.message(NOBODY, terminals([1, 2], [1, 1], [8, 9], [False, False]))
    life.message(NOBODY, terminals([2], [1], [10], [False]))
    assert [each["rewards"] for each in life.trajectories] == [[9]]
    assert life.episodes == [(9, 0, 1)]


def test_agents_decide_in_their_own_time_and_in_any_order() -> None:
    life = Life()
    life.message(decisions([1, 2, 3], [10, 20, 30], [0, 0, 0]))
    life.message(decisions([3], [31], [3]))
    life.message(decisions([2, 1], [21, 11], [2, 1]))
    life.message(NOBODY, terminals([2], [22], [4], [False]))
    life.message(NOBODY, terminals([3, 1], [32, 12], [6, 5], [False, True]))
    assert [(each["observations"], each["rewards"], each["next"]) for each in life.trajectories] == [
        ([20, 21], [2, 4], 22),
        ([30, 31], [3, 6], 32),
        ([10, 11], [1, 5], 12),
    ]


@pytest.mark.parametrize("agent", [0, -1, 123456, 2**31 - 1, -(2**31)])
def test_an_agent_id_may_be_any_number(agent: int) -> None:
    life = Life()
    life.message(decisions([agent, 5], [1, 2], [0, 0]))
    life.message(NOBODY, terminals([5, agent], [3, 4], [10, 20], [False, False]))
    assert [each["rewards"] for each in life.trajectories] == [[10], [20]]
    assert [each["observations"] for each in life.trajectories] == [[2], [1]]


def test_ids_that_never_come_back_take_no_room_for_ever() -> None:
    life = Life()
    for agent in range(0, 20_000, 10):
        ids = range(agent, agent + 10)
        life.message(decisions(ids, ids, [0] * 10))
        life.message(NOBODY, terminals(ids, ids, [1] * 10, [False] * 10))
    assert len(life.episodes) == 20_000
    sizes = [np.size(array) for array in life.open.state()["arrays"].values()]
    assert max(sizes) < 3000


def test_equal_ids_of_two_players_are_two_agents() -> None:
    life = Life()
    life.message(decisions([1], [10], [0]), player=0)
    life.message(decisions([1], [20], [0]), player=1)
    life.message(NOBODY, terminals([1], [11], [3], [False]), player=0)
    life.message(NOBODY, terminals([1], [21], [4], [False]), player=1)
    assert [(each["observations"], each["rewards"]) for each in life.trajectories] == [([10], [3]), ([20], [4])]


def test_group_rewards_count_for_learning_and_are_summed_apart() -> None:
    life = Life()
    life.message(decisions([1], [0], [0], groups=[50]))
    life.message(decisions([1], [1], [1], groups=[10]))
    life.message(NOBODY, terminals([1], [2], [2], [False], groups=[20]))
    assert life.trajectories[0]["rewards"] == [11, 22]
    assert life.episodes == [(3, 30, 2)]


def test_a_long_sum_of_small_rewards_is_exact_to_the_printed_digits() -> None:
    life = Life(time_horizon=10)
    for _ in range(1001):
        life.message(decisions([1], [0], [0.1]))
    life.message(NOBODY, terminals([1], [0], [0], [True]))
    reward, _, length = life.episodes[0]
    assert f"{reward:.3f}" == "100.000"
    assert length == 1001


def test_room_grows_with_agents_and_with_steps() -> None:
    life = Life(time_horizon=500)
    for number in range(200):
        ids = range(number + 1)
        life.message(decisions(ids, [1000 * agent + number for agent in ids], [number] * len(ids)))
    ids = range(200)
    life.message(NOBODY, terminals(ids, [0] * 200, [200] * 200, [False] * 200))
    assert len(life.trajectories) == 200
    for agent, each in enumerate(life.trajectories):
        steps = range(agent, 200)  # agent n came with message n
        assert each["observations"] == [1000 * agent + number for number in steps]
        assert each["rewards"] == [number + 1 for number in steps]


def test_a_player_that_is_forgotten_leaves_nothing_behind() -> None:
    life = Life()
    for player in (0, 1):
        life.message(decisions([1, 2], [1, 2], [0, 0]), player=player)
    life.open.forget_player(1)
    life.open.forget_player(5)
    life.message(NOBODY, terminals([1], [3], [4], [False]), player=1)
    assert life.trajectories == []
    life.message(decisions([1], [7], [9]), player=1)
    life.message(NOBODY, terminals([1], [8], [6], [False]), player=1)
    life.message(NOBODY, terminals([2], [3], [5], [False]), player=0)
    assert [(each["observations"], each["rewards"]) for each in life.trajectories] == [([7], [6]), ([2], [5])]


def test_it_goes_on_from_its_state() -> None:
    straight, first, second = Life(3), Life(3), Life(3)
    for life in (straight, first):
        for number in range(4):
            life.message(decisions([1, 99], [number, -number], [number, number]))
    second.open.load_state(first.open.state())
    for life in (straight, second):
        life.cuts.clear()
        life.message(decisions([99, 5], [-4, 50], [4, 0]))
        life.message(NOBODY, terminals([1, 99, 5], [7, 8, 9], [1, 2, 3], [True, False, False]))
    assert second.trajectories == straight.trajectories
    assert second.episodes == straight.episodes
    assert second.episodes[1] == (1 + 2 + 3 + 4 + 2, 0, 5)


# ---- the buffer ----


def cut_of(numbers: Sequence[float], lengths: Sequence[int]) -> CutTrajectories:
    column = np.array(numbers, np.float32)
    return CutTrajectories(
        [column[:, None]],
        {"action": column[:, None] * 10},
        column * 100,
        np.array(lengths, np.int64),
        [np.zeros((len(lengths), 1), np.float32)],
        np.zeros((len(lengths), 0), np.float32),
        np.zeros(len(lengths), np.bool_),
        np.zeros(len(lengths), np.bool_),
        np.arange(len(lengths)),
    )


def column(numbers: Sequence[float]) -> np.ndarray:
    return np.array(numbers, np.float32)[:, None]


def test_the_buffer_keeps_order_grows_and_starts_again() -> None:
    buffer = ExperienceBuffer(SPEC, 2, 1, COLUMNS)
    buffer.append(cut_of([1, 2, 3], [2, 1]), column([1, 2, 3]), column([4, 5, 6]), column([0, 9]))
    buffer.append(cut_of([4, 5], [2]), column([7, 8]), column([9, 10]), column([11]))
    assert buffer.size == 5
    assert buffer.observations[0][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert buffer.columns["action"][:, 0].tolist() == [10, 20, 30, 40, 50]
    assert buffer.rewards[:, 0].tolist() == [1, 2, 3, 7, 8]
    assert buffer.values[:, 0].tolist() == [4, 5, 6, 9, 10]
    assert buffer.lengths.tolist() == [2, 1, 2]
    assert buffer.next_values[:, 0].tolist() == [0, 9, 11]

    other = ExperienceBuffer(SPEC, 1, 1, COLUMNS)
    other.load_state(buffer.state())
    for each in (buffer, other):
        each.append(cut_of([6], [1]), column([1]), column([1]), column([1]))
    assert other.observations[0].tolist() == buffer.observations[0].tolist()
    assert other.lengths.tolist() == [2, 1, 2, 1]
    other.clear()
    assert other.size == 0
    assert other.lengths.tolist() == []
    assert other.next_values.shape == (0, 1)
