"""What ratios are to be reached at least on two cores with AVX-512: row name -> ours against the peer.

They are shown beside what was measured, wherever that was; nothing fails when one is missed.
"""

GOALS = {
    "share of grpc floor, 1 agents": 0.8,
    "share of grpc floor, 12 agents": 0.8,
    "share of grpc floor, 100 agents": 0.75,
    "share of grpc floor, 1000 agents": 0.6,
    "bridge vs mlagents_envs, 12 agents": 3.0,
    "bridge vs mlagents_envs, 100 agents": 7.0,
    "bridge vs mlagents_envs, 1000 agents": 30.0,
    "train 3DBall over gRPC, 12 agents": 12.0,
    "train 3DBall over gRPC, 100 agents": 30.0,
    "3DBall over gRPC, shell prompt to mean reward 95": 8.0,
    "3DBall in process, shell prompt to mean reward 95 (peer over gRPC)": 25.0,
    "train in process vs Stable-Baselines3, 12 agents": 20.0,
    "train in process vs jitted JAX, 12 agents, one core each": 1.3,
    "train in process vs jitted JAX, 12 agents, all cores": 2.0,
    "4 players against 1, 12 agents each": 1.4,
    "4 players against 1, 12 agents each, 5 ms a step": 3.5,
}
