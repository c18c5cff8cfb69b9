"""The table of what is offered: official module, to the modules of ours that its names come from."""

# Official modules that import on a current protobuf, and stay official.
WORKING = ["base_env", "exception", "timers", "logging_util", "env_utils"]
PACKAGES = {"side_channel", "envs", "registry", "communicator_objects"}
# Imported on demand: they are made of Gymnasium's and PettingZoo's classes.
NEED_AN_EXTRA = {
    "envs.unity_gym_env",
    "envs.unity_pettingzoo_base_env",
    "envs.unity_parallel_env",
    "envs.unity_aec_env",
    "envs.pettingzoo_env_factory",
}

DESCRIPTORS = "the protocol's descriptors"
_CHANNELS = "bridge.side_channels"
_OLD_CHANNELS = "bridge.compat.side_channels"
_REGISTRY = "bridge.compat.registry"
_PETTINGZOO = "bridge.compat.pettingzoo_envs"
_ENVIRONMENT = "bridge.environment"

# Message classes, enumerations and their values by the file that the official package generates for them.
_MESSAGES = {
    "agent_action_pb2": ["AgentActionProto"],
    "agent_info_action_pair_pb2": ["AgentInfoActionPairProto"],
    "agent_info_pb2": ["AgentInfoProto"],
    "brain_parameters_pb2": ["ActionSpecProto", "BrainParametersProto"],
    "capabilities_pb2": ["UnityRLCapabilitiesProto"],
    "command_pb2": ["CommandProto", "STEP", "RESET", "QUIT"],
    "demonstration_meta_pb2": ["DemonstrationMetaProto"],
    "header_pb2": ["HeaderProto"],
    "observation_pb2": [
        "ObservationProto",
        "CompressionTypeProto",
        "NONE",
        "PNG",
        "ObservationTypeProto",
        "DEFAULT",
        "GOAL_SIGNAL",
    ],
    "space_type_pb2": ["SpaceTypeProto", "discrete", "continuous"],
    "training_analytics_pb2": ["TrainingEnvironmentInitialized", "TrainingBehaviorInitialized"],
    "unity_input_pb2": ["UnityInputProto"],
    "unity_message_pb2": ["UnityMessageProto"],
    "unity_output_pb2": ["UnityOutputProto"],
    "unity_rl_initialization_input_pb2": ["UnityRLInitializationInputProto"],
    "unity_rl_initialization_output_pb2": ["UnityRLInitializationOutputProto"],
    "unity_rl_input_pb2": ["UnityRLInputProto"],
    "unity_rl_output_pb2": ["UnityRLOutputProto"],
}

MODULES: dict[str, dict[str, list[str]]] = {
    "environment": {_ENVIRONMENT: ["UnityEnvironment"]},
    "rpc_utils": {
        "bridge.compat.rpc_utils": [
            "behavior_spec_from_proto",
            "steps_from_proto",
            "process_pixels",
            "PNG_HEADER",
            "_process_maybe_compressed_observation",
            "_process_rank_one_or_two_observation",
        ]
    },
    "side_channel": {
        _CHANNELS: ["IncomingMessage", "OutgoingMessage", "SideChannel"],
        _OLD_CHANNELS: ["DefaultTrainingAnalyticsSideChannel"],
    },
    "side_channel.incoming_message": {_CHANNELS: ["IncomingMessage"]},
    "side_channel.outgoing_message": {_CHANNELS: ["OutgoingMessage"]},
    "side_channel.side_channel": {_CHANNELS: ["SideChannel", "IncomingMessage", "OutgoingMessage"]},
    "side_channel.side_channel_manager": {_OLD_CHANNELS: ["SideChannelManager"]},
    "side_channel.engine_configuration_channel": {_CHANNELS: ["EngineConfig", "EngineConfigurationChannel"]},
    "side_channel.environment_parameters_channel": {_CHANNELS: ["EnvironmentParametersChannel"]},
    "side_channel.float_properties_channel": {_OLD_CHANNELS: ["FloatPropertiesChannel"]},
    "side_channel.raw_bytes_channel": {_CHANNELS: ["RawBytesChannel"]},
    "side_channel.stats_side_channel": {
        _CHANNELS: ["StatsAggregationMethod", "EnvironmentStats"],
        _OLD_CHANNELS: ["StatsSideChannel"],
    },
    "side_channel.default_training_analytics_side_channel": {_OLD_CHANNELS: ["DefaultTrainingAnalyticsSideChannel"]},
    "communicator_objects": {},
    **{f"communicator_objects.{module}": {DESCRIPTORS: names} for module, names in _MESSAGES.items()},
    "communicator_objects.unity_to_external_pb2_grpc": {
        "bridge.compat.messages": [
            "UnityToExternalProtoStub",
            "UnityToExternalProtoServicer",
            "add_UnityToExternalProtoServicer_to_server",
        ]
    },
    "registry": {_REGISTRY: ["UnityEnvRegistry", "default_registry"]},
    "registry.base_registry_entry": {_REGISTRY: ["BaseRegistryEntry"]},
    "registry.remote_registry_entry": {_REGISTRY: ["RemoteRegistryEntry"]},
    "registry.unity_env_registry": {
        _REGISTRY: ["UnityEnvRegistry", "default_registry", "BaseRegistryEntry", "RemoteRegistryEntry"]
    },
    "registry.binary_utils": {_REGISTRY: ["get_local_binary_path", "load_local_manifest", "load_remote_manifest"]},
    "envs": {},  # its names are environments of the registry
    "envs.env_helpers": {
        "bridge.compat.env_helpers": [
            "_behavior_to_agent_id",
            "_agent_id_to_behavior",
            "_unwrap_batch_steps",
            "_parse_behavior",
        ]
    },
    "envs.unity_gym_env": {
        "bridge.compat.gym_env": ["UnityToGymWrapper", "UnityGymException", "ActionFlattener", "GymStepResult"]
    },
    "envs.unity_pettingzoo_base_env": {_PETTINGZOO: ["UnityPettingzooBaseEnv"]},
    "envs.unity_parallel_env": {_PETTINGZOO: ["UnityParallelEnv"]},
    "envs.unity_aec_env": {_PETTINGZOO: ["UnityAECEnv"]},
    "envs.pettingzoo_env_factory": {_PETTINGZOO: ["PettingZooEnvFactory", "logger"]},
}
