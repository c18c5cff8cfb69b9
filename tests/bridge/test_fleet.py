"""Several environments as one batch."""

import threading

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple, TerminalSteps

from bridge.exceptions import (
    UnityActionException,
    UnityEnvironmentException,
    UnityException,
    UnityObservationException,
    UnityTimeOutException,
)
from bridge.fleet import Fleet, FleetSteps
from bridge.in_process import InProcessEnvironment

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def echo_fleet(toy):
    """Two environments of the EchoWorld."""
    return Fleet([InProcessEnvironment(toy.EchoWorld), InProcessEnvironment(toy.EchoWorld)])


def step(fleet: Fleet) -> dict[str, FleetSteps]:
    fleet.send_step()
    return fleet.receive()


def test_players_are_joined_and_rows_say_whose_they_are(echo_fleet: Fleet, toy) -> None:
    steps = echo_fleet.reset()
    assert list(steps) == [toy.ECHO]
    batch = steps[toy.ECHO]
    assert batch.decisions.agent_id.tolist() == [0, 1, 0, 1]
    assert batch.decision_players.tolist() == [0, 0, 1, 1]
    assert batch.decisions.obs[0].shape == (4, 2)
    assert batch.terminal_players.tolist() == []
    assert list(echo_fleet.behavior_specs) == [toy.ECHO]


def test_actions_go_to_the_players_of_their_rows(echo_fleet: Fleet, toy) -> None:
    echo_fleet.reset()
    actions = np.arange(8, dtype=np.float32).reshape(4, 2)
    echo_fleet.set_actions(toy.ECHO, ActionTuple(actions))
    steps = step(echo_fleet)
    np.testing.assert_array_equal(steps[toy.ECHO].decisions.obs[0], actions)
    assert step(echo_fleet)[toy.ECHO].decisions.obs[0].tolist() == [[0, 0]] * 4, "and to none a second time"


@pytest.mark.parametrize("rows", [0, 3, 5])
def test_the_wrong_number_of_actions_is_refused(echo_fleet: Fleet, toy, rows: int) -> None:
    echo_fleet.reset()
    with pytest.raises(UnityActionException, match=rf"{rows} actions for 4 waiting agents of behavior 'Echo\?team=0'"):
        echo_fleet.set_actions(toy.ECHO, ActionTuple(np.zeros((rows, 2), np.float32)))


@pytest.mark.slow
def test_two_players_over_the_wire_are_the_two_worlds_joined(unity_environment, compiled_toy_player, toy) -> None:
    fleets = [
        Fleet([unity_environment(compiled_toy_player, seed=seed) for seed in (1, 2)]),
        Fleet([InProcessEnvironment(toy.ToyWorld, seed=seed) for seed in (1, 2)]),
    ]
    both = [fleet.reset() for fleet in fleets]
    for number in range(12):
        there, here = both
        assert set(there) == set(here)
        for name in here:
            ours, theirs = here[name], there[name]
            assert theirs.decision_players.tolist() == ours.decision_players.tolist()
            assert theirs.terminal_players.tolist() == ours.terminal_players.tolist()
            for part in ("decisions", "terminals"):
                one, two = getattr(ours, part), getattr(theirs, part)
                np.testing.assert_array_equal(one.agent_id, two.agent_id)
                np.testing.assert_array_equal(one.reward, two.reward)
                np.testing.assert_array_equal(one.group_reward, two.group_reward)
                for left, right in zip(one.obs, two.obs, strict=True):
                    np.testing.assert_array_equal(left, right)
            np.testing.assert_array_equal(ours.terminals.interrupted, theirs.terminals.interrupted)
            for left, right in zip(ours.decisions.action_mask or [], theirs.decisions.action_mask or [], strict=True):
                np.testing.assert_array_equal(left, right)
            rows = len(ours.decisions)
            action = fleets[0].behavior_specs[name].action_spec.empty_action(rows)
            action.continuous[...] = number + np.arange(rows)[:, None]
            action.discrete[...] = np.arange(rows)[:, None] % 2
            for fleet in fleets:
                fleet.set_actions(name, action)
        both = [step(fleet) for fleet in fleets]


def test_players_may_have_different_behaviors(toy) -> None:
    class Other(toy.EchoWorld):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.behavior_specs = {"Other?team=0": self.spec}

        def report(self, observation):
            return {"Other?team=0": super().report(observation)[toy.ECHO]}

        def step(self, actions):
            return super().step({toy.ECHO: actions["Other?team=0"]})

    worlds = (toy.EchoWorld, Other, toy.EchoWorld)
    fleet = Fleet([InProcessEnvironment(world) for world in worlds])
    steps = fleet.reset()
    assert list(steps) == list(fleet.behavior_specs) == [toy.ECHO, "Other?team=0"]
    assert steps[toy.ECHO].decision_players.tolist() == [0, 0, 2, 2]
    assert steps["Other?team=0"].decision_players.tolist() == [1, 1]
    fleet.set_actions(toy.ECHO, ActionTuple(np.array([[1, 1], [2, 2], [3, 3], [4, 4]], np.float32)))
    fleet.set_actions("Other?team=0", ActionTuple(np.array([[5, 5], [6, 6]], np.float32)))
    steps = step(fleet)
    assert steps[toy.ECHO].decisions.obs[0][:, 0].tolist() == [1, 2, 3, 4]
    assert steps["Other?team=0"].decisions.obs[0][:, 0].tolist() == [5, 6]


def test_a_player_without_decisions_gets_none_of_the_actions(toy) -> None:
    class Ending(toy.EchoWorld):
        """In every second message its agents end and do not decide."""

        def report(self, observation):
            steps = super().report(observation)
            if self.steps % 2 == 0:
                return steps
            ended = toy.terminal_steps(self.spec, [observation], [0, 1], interrupted=True)
            return {toy.ECHO: (toy.decision_steps(self.spec, [np.zeros((0, 2))], []), ended)}

        def step(self, actions):
            if self.steps % 2 == 1:
                assert not actions
                self.steps += 1
                return self.report(np.zeros((2, 2)))
            return super().step(actions)

    fleet = Fleet([InProcessEnvironment(Ending), InProcessEnvironment(toy.EchoWorld)])
    fleet.reset()
    fleet.set_actions(toy.ECHO, ActionTuple(np.arange(8, dtype=np.float32).reshape(4, 2)))
    batch = step(fleet)[toy.ECHO]
    assert (batch.decision_players.tolist(), batch.terminal_players.tolist()) == ([1, 1], [0, 0])
    assert isinstance(batch.terminals, TerminalSteps)
    assert batch.terminals.obs[0].tolist() == [[0, 1], [2, 3]]
    assert batch.terminals.interrupted.tolist() == [True, True]
    fleet.set_actions(toy.ECHO, ActionTuple(np.array([[8, 9], [10, 11]], np.float32)))
    batch = step(fleet)[toy.ECHO]
    assert batch.decision_players.tolist() == [0, 0, 1, 1]
    assert batch.decisions.obs[0].tolist() == [[0, 0], [0, 0], [8, 9], [10, 11]]


def test_it_says_whether_it_waits(toy) -> None:
    class Watched(InProcessEnvironment):
        def send_step(self) -> None:
            seen.append(("send", fleet.waiting))
            super().send_step()

        def receive_steps(self):
            seen.append(("receive", fleet.waiting))
            if len(seen) == 4:
                raise ValueError("enough")
            return super().receive_steps()

    seen = []
    fleet = Fleet([Watched(toy.EchoWorld)])
    fleet.reset()
    assert seen == [("receive", True)]
    seen.clear()
    step(fleet)
    with pytest.raises(ValueError, match="enough"):
        step(fleet)
    assert seen == [("send", False), ("receive", True)] * 2
    assert not fleet.waiting


def test_players_simulate_at_the_same_time(unity_environment, program) -> None:
    """Each waits in its step until the other has begun its own."""
    folder = "os.path.dirname(os.path.abspath(__file__))"
    player = program(
        f"""
        class World(toy_worlds.EchoWorld):
            def step(self, actions):
                open(os.path.join({folder}, f"begun{{self.seed}}"), "w").close()
                deadline = time.monotonic() + 10
                while not os.path.exists(os.path.join({folder}, f"begun{{1 - self.seed}}")):
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
                return super().step(actions)

        sys.exit(run_player(World, port))
        """
    )
    fleet = Fleet([unity_environment(player, seed=seed) for seed in (0, 1)])
    fleet.reset()
    step(fleet)


def test_close_ends_all_players_together_and_each_even_if_another_cannot_be(unity_environment, toy_player, toy) -> None:
    class Stuck(InProcessEnvironment):
        def close(self) -> None:
            raise UnityEnvironmentException("stuck")

    environments = [unity_environment(toy_player) for _ in range(2)]
    players = [environment._player for environment in environments]
    fleet = Fleet([environments[0], Stuck(toy.EchoWorld), environments[1]])
    fleet.reset()
    with pytest.raises(UnityEnvironmentException, match="stuck"):
        fleet.close()
    assert [player.exit.returncode for player in players] == [0, 0]
    assert threading.active_count() < 50


# ---- players that fail ----


class Failing(InProcessEnvironment):
    """Fails once, in `half` of its step number `at`."""

    def __init__(self, world, at: int, half: str) -> None:
        super().__init__(world)
        self.at, self.half, self.closed = at, half, False

    def send_step(self) -> None:
        self.at -= 1
        if self.at == 0 and self.half == "send":
            raise UnityTimeOutException("silence")
        super().send_step()

    def receive_steps(self):
        if self.at == 0 and self.half == "receive":
            raise UnityEnvironmentException("it crashed")
        return super().receive_steps()

    def close(self) -> None:
        self.closed = True
        super().close()


@pytest.mark.parametrize("half, error", [("send", "silence"), ("receive", "it crashed")])
def test_a_player_that_fails_is_started_again_and_the_others_go_on(toy, half: str, error: str) -> None:
    failing, other = Failing(toy.EchoWorld, 3, half), InProcessEnvironment(toy.EchoWorld)
    fleet = Fleet([failing, other])
    told = []

    def restart(player, why):
        told.append((player, str(why), failing.closed))
        return InProcessEnvironment(toy.EchoWorld)

    fleet.restart, fleet.on_restart = restart, lambda player: told.append(player)
    fleet.reset()
    for number in range(6):
        fleet.set_actions(toy.ECHO, ActionTuple(np.full((4, 2), number + 1, np.float32)))
        batch = step(fleet)[toy.ECHO]
        assert batch.decision_players.tolist() == [0, 0, 1, 1]
        of_the_first = 0 if number == 2 else number + 1  # in a new life nothing was done yet
        assert batch.decisions.obs[0].tolist() == [[of_the_first] * 2] * 2 + [[number + 1] * 2] * 2
    assert told == [(0, error, True), 0]
    assert fleet.environments[1] is other


def test_without_a_way_to_start_it_again_the_failure_is_raised(toy) -> None:
    for half, error in (("send", "silence"), ("receive", "it crashed")):
        fleet = Fleet([Failing(toy.EchoWorld, 1, half)])
        fleet.reset()
        with pytest.raises(UnityException, match=error):
            step(fleet)


def test_a_restart_that_is_refused_raises_the_failure(toy) -> None:
    def refuse(player, why):
        raise why

    fleet = Fleet([Failing(toy.EchoWorld, 1, "receive")])
    fleet.restart = refuse
    fleet.reset()
    with pytest.raises(UnityEnvironmentException, match="it crashed"):
        step(fleet)


def test_a_player_that_fails_at_a_reset_is_started_again(toy) -> None:
    class FailingAtReset(InProcessEnvironment):
        def send_reset(self) -> None:
            raise UnityEnvironmentException("it crashed")

    fleet = Fleet([FailingAtReset(toy.EchoWorld), InProcessEnvironment(toy.EchoWorld)])
    fleet.restart = lambda player, why: InProcessEnvironment(toy.EchoWorld)
    assert fleet.reset()[toy.ECHO].decision_players.tolist() == [0, 0, 1, 1]


def test_a_player_whose_restart_fails_is_started_again_until_that_is_refused(toy) -> None:
    """The second life cannot be opened, the third fails at its reset, the fourth sends what nobody can read."""

    class FailingAtReset(InProcessEnvironment):
        def send_reset(self) -> None:
            raise UnityTimeOutException("life 3")

    class SendingNonsense(InProcessEnvironment):
        def receive_steps(self):
            raise UnityObservationException("life 4")

    told = []

    def restart(player, why):
        told.append(str(why))
        if len(told) == 1:
            raise UnityEnvironmentException("life 2")
        if len(told) == 4:
            raise why
        return [FailingAtReset, SendingNonsense][len(told) - 2](toy.EchoWorld)

    fleet = Fleet([Failing(toy.EchoWorld, 1, "receive")])
    fleet.restart = restart
    fleet.reset()
    with pytest.raises(UnityObservationException, match="life 4"):
        step(fleet)
    assert told == ["it crashed", "life 2", "life 3", "life 4"]
