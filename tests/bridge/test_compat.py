"""`bridge.compat`: the modules of mlagents_envs as imports and as attributes, taken back again, and as a program."""

import importlib
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

import bridge
from bridge import compat, side_channels
from bridge.compat.names import MODULES, NEED_AN_EXTRA, WORKING


@pytest.fixture
def package() -> Iterator[ModuleType]:
    """mlagents_envs with the modules installed."""
    compat.install()
    yield importlib.import_module("mlagents_envs")
    compat.uninstall()


def python(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=100)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_module_imports_and_has_its_names(package: ModuleType) -> None:
    for name, sources in MODULES.items():
        if name in NEED_AN_EXTRA:
            pytest.importorskip("gymnasium" if name == "envs.unity_gym_env" else "pettingzoo")
        module = importlib.import_module(f"mlagents_envs.{name}")
        for names in sources.values():
            assert all(hasattr(module, one) for one in names), name


def test_modules_are_attributes_without_an_import_of_their_own(package: ModuleType) -> None:
    assert package.environment.UnityEnvironment is bridge.UnityEnvironment
    assert package.side_channel.engine_configuration_channel.EngineConfig is side_channels.EngineConfig
    assert package.communicator_objects.command_pb2.RESET == 1
    assert all(hasattr(package, name) for name in WORKING)
    assert package.registry.default_registry is package.registry.unity_env_registry.default_registry


def test_our_environment_is_one_of_base_env(package: ModuleType) -> None:
    assert issubclass(package.environment.UnityEnvironment, package.base_env.BaseEnv)
    stats = package.side_channel.stats_side_channel.StatsSideChannel
    assert issubclass(stats, package.side_channel.SideChannel)
    assert issubclass(stats, side_channels.StatsSideChannel)


def test_hybrid_action_specifications_can_be_made(package: ModuleType) -> None:
    spec = package.base_env.ActionSpec.create_hybrid(2, (3, 4))
    assert (spec.continuous_size, spec.discrete_branches) == (2, (3, 4))


def test_official_modules_that_only_lacked_their_messages_work_again(package: ModuleType, free_port: int) -> None:
    mock = importlib.import_module("mlagents_envs.mock_communicator").MockCommunicator()
    assert mock.initialize(None).rl_initialization_output.communication_version == bridge.API_VERSION
    rpc = importlib.import_module("mlagents_envs.rpc_communicator")
    communicator = rpc.RpcCommunicator(base_port=free_port, timeout_wait=1)
    with pytest.raises(package.exception.UnityWorkerInUseException):
        rpc.RpcCommunicator(base_port=free_port)
    communicator.close()


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [("unity_gym_env", "gymnasium", "gymnasium"), ("unity_parallel_env", "pettingzoo", "pettingzoo")],
)
def test_a_missing_library_is_told_with_its_extra(
    package: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    if library == "pettingzoo":
        pytest.importorskip("gymnasium")
    for loaded in ("bridge.compat.gym_env", "bridge.compat.pettingzoo_envs"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs {library}; run: pip install 'mlagents-bridge\[{extra}\]'"):
        importlib.import_module(f"mlagents_envs.envs.{name}")


def test_install_twice_is_harmless(package: ModuleType) -> None:
    module = package.environment
    compat.install()
    assert package.environment is module


def test_uninstall_takes_everything_back() -> None:
    package = importlib.import_module("mlagents_envs")
    for name in WORKING:  # these are the official ones, and stay
        importlib.import_module(f"mlagents_envs.{name}")
    before = set(vars(package)), {name for name in sys.modules if name.startswith("mlagents_envs")}
    finders = list(sys.meta_path)
    compat.install()
    compat.uninstall()
    assert (set(vars(package)), {name for name in sys.modules if name.startswith("mlagents_envs")}) == before
    assert sys.meta_path == finders
    compat.uninstall()  # harmless


def test_official_modules_in_use_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlagents_envs.environment", ModuleType("mlagents_envs.environment"))
    with pytest.raises(ImportError, match=r"mlagents_envs\.environment of the official package is imported already"):
        compat.install()
    assert not hasattr(importlib.import_module("mlagents_envs"), "rpc_utils")


def test_an_untried_version_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("mlagents_envs.__version__", "9.0.0")
    compat.install()
    compat.uninstall()
    assert "9.0.0 is installed" in caplog.text


def test_a_version_without_the_types_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mlagents_envs.base_env.ObservationSpec")
    with pytest.raises(ImportError, match="too old"):
        compat.install()


def test_what_is_broken_without_it_works_in_a_script(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("value = 7", encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside\nfrom mlagents_envs.environment import UnityEnvironment\n"
        "print(__name__, sys.argv[1:], beside.value, UnityEnvironment.API_VERSION)",
        encoding="utf-8",
    )
    assert "Error" in python(script, code=1)
    assert python("-m", "bridge.compat", script, "--flag", "3") == "__main__ ['--flag', '3'] 7 1.5.0\n"


def test_a_module_can_be_run(tmp_path: Path) -> None:
    assert python("-m", "bridge.compat", "-m", "platform").strip()


def test_a_missing_script_is_an_error_of_one_line(tmp_path: Path) -> None:
    assert python("-m", "bridge.compat", tmp_path / "no.py", code=1).count("\n") == 1
    assert "usage" in python("-m", "bridge.compat", code=2)


# ---- what the modules do ----


def test_messages_round_trip(package: ModuleType) -> None:
    objects = package.communicator_objects
    observation = objects.observation_pb2.ObservationProto(
        float_data=objects.observation_pb2.ObservationProto.FloatData(data=[1, 2]),
        shape=[2],
        compression_type=objects.observation_pb2.NONE,
    )
    agent = objects.agent_info_pb2.AgentInfoProto(reward=0.5, id=3, observations=[observation])
    again = objects.agent_info_pb2.AgentInfoProto.FromString(agent.SerializeToString())
    assert again.observations[0].float_data.data == [1, 2]
    assert objects.command_pb2.CommandProto.Name(2) == "QUIT"
    assert objects.space_type_pb2.continuous == 1


def test_steps_from_messages(package: ModuleType) -> None:
    objects, types = package.communicator_objects, package.base_env
    brain = objects.brain_parameters_pb2.BrainParametersProto(
        brain_name="A", action_spec=objects.brain_parameters_pb2.ActionSpecProto(num_continuous_actions=2)
    )
    agents = [
        objects.agent_info_pb2.AgentInfoProto(
            id=number,
            done=number == 2,
            max_step_reached=number == 2,
            reward=number / 2,
            observations=[
                objects.observation_pb2.ObservationProto(
                    float_data=objects.observation_pb2.ObservationProto.FloatData(data=[number, -number]), shape=[2]
                )
            ],
        )
        for number in range(3)
    ]
    spec = package.rpc_utils.behavior_spec_from_proto(brain, agents[0])
    decisions, terminals = package.rpc_utils.steps_from_proto(agents, spec)
    assert spec.action_spec == types.ActionSpec(2, ())
    np.testing.assert_array_equal(decisions.obs[0], [[0, 0], [1, -1]])
    assert (terminals.agent_id.tolist(), terminals.reward.tolist(), terminals.interrupted.tolist()) == (
        [2],
        [1],
        [True],
    )
    agents[0].reward = float("nan")
    with pytest.raises(RuntimeError, match="NaN"):
        package.rpc_utils.steps_from_proto(agents, spec)


def test_pixels_come_channels_first(package: ModuleType, png) -> None:
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    decoded = package.rpc_utils.process_pixels(png(pixels), 3)
    np.testing.assert_allclose(decoded, np.moveaxis(pixels, -1, 0) / 255.0, rtol=1e-6)
    assert package.rpc_utils.process_pixels(png(pixels), 3, [0, 1, -1]).shape == (2, 4, 5)
    with pytest.raises(package.exception.UnityObservationException, match="no PNG"):
        package.rpc_utils.process_pixels(b"short", 3)


@pytest.fixture
def png():
    def encode(pixels: np.ndarray) -> bytes:
        import io

        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        return file.getvalue()

    return encode


def test_float_properties_go_both_ways(package: ModuleType) -> None:
    channels = package.side_channel
    here, there = (channels.float_properties_channel.FloatPropertiesChannel() for _ in range(2))
    here.set_property("speed", 2.5)
    managers = [channels.side_channel_manager.SideChannelManager([one]) for one in (here, there)]
    managers[1].process_side_channel_message(managers[0].generate_side_channel_messages())
    assert there.get_property("speed") == 2.5
    assert there.get_property("height") is None
    assert there.get_property_dict_copy() == here.get_property_dict_copy() == {"speed": 2.5}


def test_a_channel_of_ones_own_and_the_statistics(package: ModuleType) -> None:
    channels = package.side_channel

    class Own(channels.SideChannel):
        def __init__(self) -> None:
            super().__init__(uuid.UUID(int=5))
            self.seen: list[int] = []

        def on_message_received(self, msg: object) -> None:
            self.seen.append(msg.read_int32())

    own = Own()
    message = channels.OutgoingMessage()
    message.write_int32(41)
    own.queue_message_to_send(message)
    manager = channels.side_channel_manager.SideChannelManager([own])
    manager.process_side_channel_message(manager.generate_side_channel_messages())
    assert own.seen == [41]

    stats = channels.stats_side_channel.StatsSideChannel()
    message = channels.OutgoingMessage()
    message.write_string("score")
    message.write_float32(2)
    message.write_int32(1)
    stats.on_message_received(channels.IncomingMessage(bytes(message.buffer)))
    assert stats.stats["score"] == [(2, channels.stats_side_channel.StatsAggregationMethod.MOST_RECENT)]
    assert stats.get_and_reset_stats()["score"]
    assert not stats.stats


def test_analytics_say_which_python_this_is(package: ModuleType) -> None:
    channel = package.side_channel.DefaultTrainingAnalyticsSideChannel()
    channel.environment_initialized()
    packed = AnyMessage.FromString(channel.message_queue[0])
    details = package.communicator_objects.training_analytics_pb2.TrainingEnvironmentInitialized()
    assert packed.Unpack(details)
    assert details.python_version == ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(package.exception.UnityCommunicationException):
        channel.on_message_received(package.side_channel.IncomingMessage(b""))


def test_the_grpc_service_answers_its_stub(package: ModuleType, free_port: int) -> None:
    import concurrent.futures

    import grpc

    service = package.communicator_objects.unity_to_external_pb2_grpc
    messages = package.communicator_objects.unity_message_pb2

    class Echo(service.UnityToExternalProtoServicer):
        def Exchange(self, request: object, context: object) -> object:
            return request

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    service.add_UnityToExternalProtoServicer_to_server(Echo(), server)
    server.add_insecure_port(f"127.0.0.1:{free_port}")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{free_port}") as channel:
            request = messages.UnityMessageProto()
            request.header.status = 200
            assert service.UnityToExternalProtoStub(channel).Exchange(request, timeout=20).header.status == 200
    finally:
        server.stop(None)
