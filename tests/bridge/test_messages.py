"""The messages have the names, numbers and types of ML-Agents' communicator API 1.5.0, on every protobuf."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from bridge import messages

PROTOS = Path(messages.__file__).with_name("protos")

# message: {number: (name, type)}; a type in [] is repeated, one in {} a map from string.
MESSAGES = {
    "UnityMessageProto": {
        1: ("header", "HeaderProto"),
        2: ("unity_output", "UnityOutputProto"),
        3: ("unity_input", "UnityInputProto"),
    },
    "HeaderProto": {1: ("status", "int32"), 2: ("message", "string")},
    "UnityOutputProto": {
        1: ("rl_output", "UnityRLOutputProto"),
        2: ("rl_initialization_output", "UnityRLInitializationOutputProto"),
    },
    "UnityInputProto": {
        1: ("rl_input", "UnityRLInputProto"),
        2: ("rl_initialization_input", "UnityRLInitializationInputProto"),
    },
    "UnityRLOutputProto": {
        2: ("agentInfos", "{UnityRLOutputProto.ListAgentInfoProto}"),
        3: ("side_channel", "bytes"),
    },
    "UnityRLOutputProto.ListAgentInfoProto": {1: ("value", "[AgentInfoProto]")},
    "UnityRLInputProto": {
        1: ("agent_actions", "{UnityRLInputProto.ListAgentActionProto}"),
        4: ("command", "CommandProto"),
        5: ("side_channel", "bytes"),
    },
    "UnityRLInputProto.ListAgentActionProto": {1: ("value", "[AgentActionProto]")},
    "UnityRLInitializationInputProto": {
        1: ("seed", "int32"),
        2: ("communication_version", "string"),
        3: ("package_version", "string"),
        4: ("capabilities", "UnityRLCapabilitiesProto"),
        5: ("num_areas", "int32"),
    },
    "UnityRLInitializationOutputProto": {
        1: ("name", "string"),
        2: ("communication_version", "string"),
        3: ("log_path", "string"),
        5: ("brain_parameters", "[BrainParametersProto]"),
        7: ("package_version", "string"),
        8: ("capabilities", "UnityRLCapabilitiesProto"),
    },
    "UnityRLCapabilitiesProto": {
        1: ("baseRLCapabilities", "bool"),
        2: ("concatenatedPngObservations", "bool"),
        3: ("compressedChannelMapping", "bool"),
        4: ("hybridActions", "bool"),
        5: ("trainingAnalytics", "bool"),
        6: ("variableLengthObservation", "bool"),
        7: ("multiAgentGroups", "bool"),
    },
    "BrainParametersProto": {
        3: ("vector_action_size_deprecated", "[int32]"),
        5: ("vector_action_descriptions_deprecated", "[string]"),
        6: ("vector_action_space_type_deprecated", "SpaceTypeProto"),
        7: ("brain_name", "string"),
        8: ("is_training", "bool"),
        9: ("action_spec", "ActionSpecProto"),
    },
    "ActionSpecProto": {
        1: ("num_continuous_actions", "int32"),
        2: ("num_discrete_actions", "int32"),
        3: ("discrete_branch_sizes", "[int32]"),
        4: ("action_descriptions", "[string]"),
    },
    "AgentInfoProto": {
        7: ("reward", "float"),
        8: ("done", "bool"),
        9: ("max_step_reached", "bool"),
        10: ("id", "int32"),
        11: ("action_mask", "[bool]"),
        13: ("observations", "[ObservationProto]"),
        14: ("group_id", "int32"),
        15: ("group_reward", "float"),
    },
    "AgentActionProto": {
        1: ("vector_actions_deprecated", "[float]"),
        4: ("value", "float"),
        6: ("continuous_actions", "[float]"),
        7: ("discrete_actions", "[int32]"),
    },
    "AgentInfoActionPairProto": {1: ("agent_info", "AgentInfoProto"), 2: ("action_info", "AgentActionProto")},
    "ObservationProto": {
        1: ("shape", "[int32]"),
        2: ("compression_type", "CompressionTypeProto"),
        3: ("compressed_data", "bytes"),
        4: ("float_data", "ObservationProto.FloatData"),
        5: ("compressed_channel_mapping", "[int32]"),
        6: ("dimension_properties", "[int32]"),
        7: ("observation_type", "ObservationTypeProto"),
        8: ("name", "string"),
    },
    "ObservationProto.FloatData": {1: ("data", "[float]")},
    "DemonstrationMetaProto": {
        1: ("api_version", "int32"),
        2: ("demonstration_name", "string"),
        3: ("number_steps", "int32"),
        4: ("number_episodes", "int32"),
        5: ("mean_reward", "float"),
    },
    "TrainingEnvironmentInitialized": {
        1: ("mlagents_version", "string"),
        2: ("mlagents_envs_version", "string"),
        3: ("python_version", "string"),
        4: ("torch_version", "string"),
        5: ("torch_device_type", "string"),
        6: ("num_envs", "int32"),
        7: ("num_environment_parameters", "int32"),
        8: ("run_options", "string"),
    },
    "TrainingBehaviorInitialized": {
        1: ("behavior_name", "string"),
        2: ("trainer_type", "string"),
        3: ("extrinsic_reward_enabled", "bool"),
        4: ("gail_reward_enabled", "bool"),
        5: ("curiosity_reward_enabled", "bool"),
        6: ("rnd_reward_enabled", "bool"),
        7: ("behavioral_cloning_enabled", "bool"),
        8: ("recurrent_enabled", "bool"),
        9: ("visual_encoder", "string"),
        10: ("num_network_layers", "int32"),
        11: ("num_network_hidden_units", "int32"),
        12: ("trainer_threaded", "bool"),
        13: ("self_play_enabled", "bool"),
        14: ("curriculum_enabled", "bool"),
        15: ("config", "string"),
    },
}
RESERVED = {
    "UnityRLOutputProto": {1},
    "UnityRLInputProto": {2, 3},
    "UnityRLInitializationOutputProto": {6},
    "BrainParametersProto": {1, 2, 4},
    "AgentInfoProto": {1, 2, 3, 4, 5, 6, 12},
    "AgentActionProto": {2, 3, 5},
}
ENUMS = {
    "CommandProto": {"STEP": 0, "RESET": 1, "QUIT": 2},
    "SpaceTypeProto": {"discrete": 0, "continuous": 1},
    "CompressionTypeProto": {"NONE": 0, "PNG": 1},
    "ObservationTypeProto": {"DEFAULT": 0, "GOAL_SIGNAL": 1},
}


@pytest.fixture(scope="module")
def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString((PROTOS / "descriptor_set.binpb").read_bytes())


@pytest.fixture(scope="module")
def declared(descriptor_set) -> dict:
    """Every message in the set by its name within the package."""
    found = {}

    def collect(message, prefix: str) -> None:
        found[prefix + message.name] = message
        for nested in message.nested_type:
            collect(nested, f"{prefix}{message.name}.")

    for file in descriptor_set.file:
        assert file.package == "communicator_objects"
        assert file.syntax == "proto3"
        for message in file.message_type:
            collect(message, "")
    return found


def type_of(field, declared: dict) -> str:
    name = field.type_name.removeprefix(".communicator_objects.")
    if not name:
        name = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    elif name in declared and declared[name].options.map_entry:
        key, value = declared[name].field
        assert (key.number, type_of(key, declared), value.number) == (1, "string", 2)
        return f"{{{type_of(value, declared)}}}"
    repeated = field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    return f"[{name}]" if repeated else name


def test_names_numbers_and_types(declared: dict) -> None:
    seen = {
        name: {field.number: (field.name, type_of(field, declared)) for field in message.field}
        for name, message in declared.items()
        if not message.options.map_entry
    }
    assert seen == MESSAGES


def test_reserved_numbers(declared: dict) -> None:
    seen = {
        name: {number for each in message.reserved_range for number in range(each.start, each.end)}
        for name, message in declared.items()
        if message.reserved_range
    }
    assert seen == RESERVED


def test_enumerations(descriptor_set) -> None:
    enums = [enum for file in descriptor_set.file for enum in file.enum_type]
    assert {enum.name: {value.name: value.number for value in enum.value} for enum in enums} == ENUMS


def test_an_observation_holds_either_an_image_or_numbers() -> None:
    observation = messages.ObservationProto(compressed_data=b"image")
    observation.float_data.data.append(1.0)
    assert observation.WhichOneof("observation_data") == "float_data"
    assert observation.compressed_data == b""


def test_the_service(descriptor_set) -> None:
    (service,) = [service for file in descriptor_set.file for service in file.service]
    (method,) = service.method
    assert (service.name, method.name) == ("UnityToExternalProto", "Exchange")
    assert messages.EXCHANGE_METHOD.split("/") == ["", "communicator_objects.UnityToExternalProto", "Exchange"]
    assert method.input_type == method.output_type == ".communicator_objects.UnityMessageProto"
    assert not method.client_streaming
    assert not method.server_streaming


def test_the_bytes_of_a_message() -> None:
    message = messages.UnityMessageProto()
    message.header.status = 200
    message.unity_input.rl_input.command = messages.COMMAND_RESET
    action = message.unity_input.rl_input.agent_actions["A?team=0"].value.add()
    action.continuous_actions.append(1.0)
    actions = b"\x0a\x08A?team=0\x12\x08\x0a\x06\x32\x04\x00\x00\x80\x3f"  # key 1, value 2: value 1: field 6, packed
    rl_input = b"\x0a" + bytes([len(actions)]) + actions + b"\x20\x01"
    assert message.SerializeToString() == b"".join(
        [b"\x0a\x03\x08\xc8\x01", b"\x1a", bytes([len(rl_input) + 2]), b"\x0a", bytes([len(rl_input)]), rl_input]
    )


@pytest.mark.parametrize(
    ("version", "compatible"),
    [
        ("1.5.0", True),
        ("1.0.0", True),
        ("1.99.7", True),
        ("2.0.0", False),
        ("0.15.0", False),
        ("", False),
        ("x", False),
    ],
)
def test_the_major_version_decides(version: str, compatible: bool) -> None:
    assert messages.is_compatible(version) is compatible


def test_our_messages_are_not_in_the_default_pool() -> None:
    assert messages.UnityMessageProto.DESCRIPTOR.file.pool is not descriptor_pool.Default()
    code = (
        "import bridge.messages; from google.protobuf import descriptor_pool;"
        "descriptor_pool.Default().FindMessageTypeByName('communicator_objects.UnityMessageProto')"
    )
    done = run_python(code)
    assert "KeyError" in done.stderr


def test_the_official_messages_can_be_imported_beside_ours() -> None:
    """In both orders, where this protobuf takes the official ones at all: their generated code is from 2019."""
    official = "from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto as Official"
    ours = "from bridge.messages import UnityMessageProto as Ours"
    check = "assert Official.FromString(Ours(header={'status': 200}).SerializeToString()).header.status == 200"
    if run_python(official).returncode != 0:
        pytest.skip("this protobuf refuses the official generated code")
    for code in ([official, ours, check], [ours, official, check]):
        done = run_python("; ".join(code))
        assert done.returncode == 0, done.stderr


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with protobuf's implementation in Python, which takes older generated code."""
    setting = "import os; os.environ['PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION'] = 'python'; "
    path = str(Path(messages.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", f"{setting}import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_committed_descriptor_set_is_what_make_proto_writes(descriptor_set, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    output = tmp_path / "descriptor_set.binpb"
    files = sorted(path.name for path in PROTOS.glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--include_imports"]
    done = subprocess.run(
        [*command, f"--descriptor_set_out={output}", *files], cwd=PROTOS, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()) == descriptor_set
