"""`UnityEnvironment` keeps to ML-Agents' protocol: the handshake, and one step after the other."""

import threading

import numpy as np
import pytest
from mlagents_envs.base_env import ActionSpec, ActionTuple, BaseEnv

import bridge
from bridge import UnityEnvironment
from bridge.exceptions import UnityEnvironmentException
from bridge.messages import COMMAND_RESET, COMMAND_STEP, UnityMessageProto
from bridge.side_channels import EngineConfigurationChannel

pytestmark = pytest.mark.timeout(60)

ECHO = "Echo?team=0"


def echo(*ids: int, **fields) -> list[dict]:
    """Agents of the behavior Echo, whose actions are two continuous numbers."""
    return [{"obs": [[0, 0]], "id": identifier, **fields} for identifier in ids]


def actions_in(message: UnityMessageProto) -> dict[str, list[list[float]]]:
    """By behavior, the continuous actions of each agent."""
    sent = message.unity_input.rl_input.agent_actions
    return {name: [list(action.continuous_actions) for action in sent[name].value] for name in sent}


class TestHandshake:
    def test_its_messages(self, unity_environment, free_port: int, play) -> None:
        engine = EngineConfigurationChannel()
        engine.set_configuration_parameters(time_scale=20.0)
        second_request_answered = threading.Event()

        def player(player):
            first = player.introduce()
            second = player.exchange()
            second_request_answered.set()
            return first, second, player.observe(*echo(3), brain=True)

        played = play(free_port, player)
        environment = unity_environment(base_port=free_port, seed=123, num_areas=4, side_channels=[engine])
        assert isinstance(environment, BaseEnv)
        assert environment.academy_capabilities.hybridActions
        assert not second_request_answered.wait(0.1), "the answer to the second request has to wait for the reset"
        assert len(environment.behavior_specs) == 0
        environment.reset()
        environment.send_step()
        first, second, third = played.result(10)

        assert first.header.status == second.header.status == third.header.status == 200
        start = first.unity_input.rl_initialization_input
        assert (start.seed, start.num_areas) == (123, 4)
        assert (start.communication_version, start.package_version) == ("1.5.0", bridge.__version__)
        capable = {field.name for field, value in start.capabilities.ListFields() if value}
        assert capable == {
            "baseRLCapabilities",
            "concatenatedPngObservations",
            "compressedChannelMapping",
            "hybridActions",
            "variableLengthObservation",
            "multiAgentGroups",
        }
        assert not first.unity_input.HasField("rl_input")

        reset = second.unity_input.rl_input
        assert reset.command == COMMAND_RESET
        assert reset.side_channel[:16] == engine.channel_id.bytes_le
        assert not reset.agent_actions
        assert not second.unity_input.HasField("rl_initialization_input")

        assert third.unity_input.rl_input.command == COMMAND_STEP
        assert third.unity_input.rl_input.side_channel == b""

    def test_both_sides_of_our_own(self, unity_environment, program) -> None:
        player = program(
            """
            class World(toy_worlds.EchoWorld):
                def reset(self):
                    steps = super().reset()
                    steps[toy_worlds.ECHO][0].obs[0][:] = self.seed, self.num_areas
                    return steps

            sys.exit(run_player(World, port))
            """
        )
        environment = unity_environment(player, seed=-5, num_areas=3)
        environment.reset()
        assert environment.get_steps(ECHO)[0].obs[0].tolist() == [[-5, 3], [-5, 3]]

    @pytest.mark.parametrize("version", ["2.0.0", "0.15.0", "", "nonsense"])
    def test_another_version_of_the_protocol_is_refused(
        self, unity_environment, free_port: int, play, version: str
    ) -> None:
        played = play(free_port, lambda player: player.introduce(version))
        with pytest.raises(UnityEnvironmentException) as error:
            unity_environment(base_port=free_port)
        text = str(error.value)
        assert f"the player speaks version {version or 'unknown'} " in text
        assert "this side 1.5.0" in text
        assert "3.0.0" in text, "the player's package"
        assert played.result(10).header.status == 400

    @pytest.mark.parametrize("version", ["1.0.0", "1.9.9"])
    def test_another_minor_version_is_not(self, unity_environment, free_port: int, play, version: str) -> None:
        def player(player):
            player.introduce(version)
            player.exchange()

        play(free_port, player)
        unity_environment(base_port=free_port)

    @pytest.mark.parametrize("seed", [-(2**31) - 1, 2**31])
    def test_a_seed_that_the_protocol_cannot_carry_is_refused(
        self, unity_environment, free_port: int, seed: int
    ) -> None:
        with pytest.raises(UnityEnvironmentException, match=f"seed is {seed}"):
            unity_environment(base_port=free_port, seed=seed)

    def test_in_another_thread_than_the_main_one(self, program) -> None:
        player = str(program("sys.exit(run_player(toy_worlds.EchoWorld, port))"))
        outcome = []

        def run() -> None:
            with UnityEnvironment(player, timeout_wait=20) as environment:
                environment.step()
                outcome.append(list(environment.behavior_specs))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(30)
        assert outcome == [[ECHO]]


class TestStepping:
    def test_the_first_step_is_a_reset(self, unity_environment, free_port: int, play) -> None:
        def player(player):
            return player.connect(), player.observe(*echo(1), brain=True)

        played = play(free_port, player)
        environment = unity_environment(base_port=free_port)
        environment.step()
        environment.send_step()
        commands = [answer.unity_input.rl_input.command for answer in played.result(10)]
        assert commands == [COMMAND_RESET, COMMAND_STEP]

    def test_actions_go_out_in_the_order_of_the_decisions_and_unset_ones_as_zeros(self, conversation) -> None:
        environment, played = conversation(
            lambda player: [
                player.observe(*echo(5), *echo(6, done=True), *echo(2), brain=True),
                player.observe(*echo(2, 5)),
                player.observe(*echo(5, 2)),
                player.observe(*echo(5, 2)),
            ]
        )
        environment.reset()
        decisions, terminals = environment.get_steps(ECHO)
        assert (decisions.agent_id.tolist(), terminals.agent_id.tolist()) == ([5, 2], [6])
        environment.set_actions(ECHO, ActionTuple(np.array([[0.5, 1.0], [0.25, -1.0]], np.float32)))
        environment.step()
        environment.step()
        environment.set_action_for_agent(ECHO, 2, ActionTuple(np.array([[4.0, 8.0]], np.float32)))
        environment.step()
        environment.send_reset()
        answers = played.result(10)
        assert [actions_in(answer) for answer in answers] == [
            {ECHO: [[0.5, 1.0], [0.25, -1.0]]},
            {ECHO: [[0, 0], [0, 0]]},
            {ECHO: [[0, 0], [4.0, 8.0]]},
            {},
        ]
        assert [answer.unity_input.rl_input.command for answer in answers] == [COMMAND_STEP] * 3 + [COMMAND_RESET]
        (action, _) = answers[0].unity_input.rl_input.agent_actions[ECHO].value
        assert not action.vector_actions_deprecated

    def test_a_player_without_hybrid_actions_gets_the_deprecated_field(self, conversation) -> None:
        environment, played = conversation(
            lambda player: player.observe(*echo(1), brain=True), capable={"hybridActions": False}
        )
        environment.reset()
        environment.set_actions(ECHO, ActionTuple(np.array([[0.5, 1.0]], np.float32)))
        environment.send_step()
        (action,) = played.result(10).unity_input.rl_input.agent_actions[ECHO].value
        assert list(action.vector_actions_deprecated) == list(action.continuous_actions) == [0.5, 1.0]

    def test_a_behavior_without_decisions_gets_no_actions_and_empty_steps(self, conversation) -> None:
        other = "Other?team=1"
        environment, played = conversation(
            lambda player: [
                player.observe(*echo(1), brain=True),
                player.observe(*echo(7), brain=True, name=other),
                player.observe(*echo(1, done=True)),
                player.observe(*echo(1)),
            ]
        )
        environment.reset()
        assert list(environment.behavior_specs) == [ECHO]
        environment.step()
        assert list(environment.behavior_specs) == [ECHO, other]
        decisions, terminals = environment.get_steps(ECHO)
        assert (len(decisions), len(terminals), decisions.obs[0].shape) == (0, 0, (0, 2))
        environment.set_actions(ECHO, ActionTuple(np.zeros((0, 2), np.float32)))
        environment.step()
        assert len(environment.get_steps(ECHO)[1]) == 1
        environment.step()
        environment.send_step()
        assert [set(actions_in(answer)) for answer in played.result(10)] == [{ECHO}, {other}, set(), {ECHO}]

    def test_actions_set_are_the_environments_own(self, conversation) -> None:
        environment, played = conversation(lambda player: player.observe(*echo(1, 2), brain=True))
        environment.reset()
        mine = np.ones((2, 2), np.float32)
        environment.set_actions(ECHO, ActionTuple(mine))
        environment.set_action_for_agent(ECHO, 2, ActionTuple(np.array([[3.0, 3.0]], np.float32)))
        assert mine.tolist() == [[1, 1], [1, 1]]
        environment.send_step()
        assert actions_in(played.result(10)) == {ECHO: [[1, 1], [3, 3]]}

    def test_parameters_of_a_behavior_may_come_before_its_first_agent(self, conversation) -> None:
        environment, _ = conversation(lambda player: [player.observe(brain=True), player.observe(*echo(1))])
        environment.reset()
        assert not environment.behavior_specs
        environment.step()
        assert environment.behavior_specs[ECHO].action_spec == ActionSpec.create_continuous(2)

    def test_messages_of_more_than_4_mib(self, unity_environment, program) -> None:
        size = 600_000
        player = program(
            f"""
            class World(toy_worlds.EchoWorld):
                def __init__(self, *arguments):
                    super().__init__(*arguments)
                    self.spec = toy_worlds.BehaviorSpec(
                        [toy_worlds.vector_spec("large", {size})], toy_worlds.ActionSpec.create_continuous({size})
                    )
                    self.behavior_specs = {{toy_worlds.ECHO: self.spec}}
                def reset(self):
                    self.steps = 0
                    return self.report(np.zeros((2, {size})))

            import numpy as np
            sys.exit(run_player(World, port))
            """
        )
        environment = unity_environment(player)
        environment.reset()
        sent = np.arange(2 * size, dtype=np.float32).reshape(2, size)
        environment.set_actions(ECHO, ActionTuple(sent))
        environment.step()
        np.testing.assert_array_equal(environment.get_steps(ECHO)[0].obs[0], sent)
