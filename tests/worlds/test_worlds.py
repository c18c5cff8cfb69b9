"""The test worlds, without learning: what they pay to chance and to the best policy, and that they can be resumed."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple, BaseEnv, DecisionSteps

from bridge.environment import UnityEnvironment
from bridge.in_process import InProcessEnvironment
from bridge.player import EnvironmentParameters
from bridge.side_channels import EnvironmentParametersChannel

pytestmark = pytest.mark.timeout(60)

Policy = Callable[[str, Any, DecisionSteps], ActionTuple]
CLASSES = {
    name: name.capitalize() for name in ("memory", "masked", "curriculum", "entities", "hybrid", "groups", "corridor")
}


@pytest.fixture
def factory(world_module: Any) -> Callable[..., Callable[..., Any]]:
    """`factory("visual", variant="rgb")`: make_world of a world of this folder."""

    def find(name: str, **options: Any) -> Callable[..., Any]:
        module = world_module(name)
        made = getattr(module, CLASSES.get(name, "Visual" if name == "visual" else "make_world"))
        return functools.partial(made, **options)

    return find


def random_policy(seed: int) -> Policy:
    """Continuous actions of U(-1, 1), discrete ones of those that are allowed."""
    generator = np.random.default_rng(seed)

    def act(_: str, spec: Any, decisions: DecisionSteps) -> ActionTuple:
        count = len(decisions)
        action = spec.action_spec.empty_action(count)
        action.continuous[...] = generator.uniform(-1, 1, action.continuous.shape)
        for branch, mask in enumerate(decisions.action_mask or []):
            action.discrete[:, branch] = np.where(mask, -1.0, generator.uniform(0, 1, mask.shape)).argmax(axis=1)
        return action

    return act


def play(environment: BaseEnv, policy: Policy, messages: int) -> dict[str, tuple[float, float]]:
    """Means of an episode's reward and group reward, by behavior. The first episode of each agent does not count."""
    sums: dict[Any, np.ndarray] = {}
    episodes: dict[str, list[np.ndarray]] = {}
    environment.reset()
    for _ in range(messages):
        for name, spec in environment.behavior_specs.items():
            decisions, terminals = environment.get_steps(name)
            for steps in (terminals, decisions):
                for agent, reward, group_reward in zip(steps.agent_id, steps.reward, steps.group_reward, strict=True):
                    if (name, agent) in sums:
                        sums[name, agent] = sums[name, agent] + (reward, group_reward)
                if steps is terminals:
                    for agent in terminals.agent_id:
                        if (name, agent) in sums:
                            episodes.setdefault(name, []).append(sums[name, agent])
                        sums[name, agent] = np.zeros(2)
            if len(decisions):
                environment.set_actions(name, policy(name, spec, decisions))
        environment.step()
    return {name: tuple(np.mean(pairs, axis=0)) for name, pairs in episodes.items()}


# ---- the best policies, from what agents see ----


def choose(*branches: Any) -> ActionTuple:
    return ActionTuple(discrete=np.stack(branches, axis=1).astype(np.int32))


def best_visual(_: str, spec: Any, decisions: DecisionSteps) -> ActionTuple:
    (pictures,) = decisions.obs
    bright = pictures.max(axis=-1 if pictures.shape[-1] == 3 else 1) > 0.9  # [agents, y, x]
    low, right = bright[:, 10:].any(axis=(1, 2)), bright[:, :, 10:].any(axis=(1, 2))
    if spec.action_spec.continuous_size:
        return ActionTuple(continuous=np.stack([2.0 * right - 1, 2.0 * low - 1], axis=1).astype(np.float32))
    return choose(2 * low + right)


def best_masked(_: str, __: Any, decisions: DecisionSteps) -> ActionTuple:
    first, second = decisions.action_mask
    return choose(
        np.where(first, -np.inf, decisions.obs[0]).argmax(axis=1), np.where(second, -1, [0, 1, 2]).argmax(axis=1)
    )


def best_entities(_: str, __: Any, decisions: DecisionSteps) -> ActionTuple:
    rows = decisions.obs[1]
    marked = rows[np.arange(len(rows)), rows[:, :, 2].argmax(axis=1)]
    return choose(2 * (marked[:, 1] > 0) + (marked[:, 0] > 0))


def best_hybrid(_: str, __: Any, decisions: DecisionSteps) -> ActionTuple:
    observation = decisions.obs[0]
    return ActionTuple(observation[:, :1], observation[:, 1:].argmax(axis=1)[:, None].astype(np.int32))


def best_sign(_: str, spec: Any, decisions: DecisionSteps) -> ActionTuple:
    """Says the number, or its sign."""
    observation = decisions.obs[0][:, :1]
    return ActionTuple(observation) if spec.action_spec.continuous_size else choose(observation[:, 0] > 0)


def best_corridor(_: str, __: Any, decisions: DecisionSteps) -> ActionTuple:
    return choose(np.ones(len(decisions)))


class BestMemory:
    def __init__(self) -> None:
        self.cues = np.zeros(1)

    def __call__(self, _: str, __: Any, decisions: DecisionSteps) -> ActionTuple:
        shown = decisions.obs[0][:, 1] == 1
        self.cues = np.where(shown, decisions.obs[0][:, 0], self.cues)
        return choose(self.cues > 0)


BEST: dict[str, Policy] = {
    "visual": best_visual,
    "memory": BestMemory(),
    "masked": best_masked,
    "entities": best_entities,
    "hybrid": best_hybrid,
    "groups": best_sign,
    "corridor": best_corridor,
}


@pytest.mark.parametrize("name", BEST)
def test_what_chance_and_what_the_best_policy_get(name: str, factory: Any, world_module: Any) -> None:
    module, column = world_module(name), int(name == "groups")
    messages = 300 if name == "visual" else 800
    (chance,) = play(InProcessEnvironment(factory(name), seed=1), random_policy(1), messages).values()
    (best,) = play(InProcessEnvironment(factory(name), seed=1), BEST[name], 100).values()
    assert chance[column] == pytest.approx(module.RANDOM, abs=0.04 * max(1, module.OPTIMAL))
    assert best[column] == pytest.approx(module.OPTIMAL, abs=1e-5)
    if name == "groups":
        assert chance[0] == best[0] == 0
    elif name == "corridor":
        assert 0 < chance[0] < 2 * module.RANDOM


@pytest.mark.parametrize("variant", ["rgb", "last", "continuous"])
def test_the_variants_of_the_pictures(variant: str, factory: Any, world_module: Any) -> None:
    environment = InProcessEnvironment(factory("visual", variant=variant), seed=1)
    ((spec,),) = [spec.observation_specs for spec in environment.behavior_specs.values()]
    assert spec.shape == {"rgb": (3, 20, 20), "last": (20, 20, 3), "continuous": (1, 20, 20)}[variant]
    (best,) = play(environment, best_visual, 20).values()
    (chance,) = play(environment, random_policy(1), 200).values()
    assert best[0] == world_module("visual").OPTIMAL
    assert chance[0] == pytest.approx(world_module("visual").RANDOM, abs=0.15)


@pytest.mark.parametrize("difficulty", [1, 3, 6])
def test_the_curriculum_is_as_hard_as_its_parameter_says(difficulty: int, factory: Any, world_module: Any) -> None:
    channel = EnvironmentParametersChannel()
    channel.set_float_parameter("difficulty", difficulty)
    environment = InProcessEnvironment(factory("curriculum"), seed=1, side_channels=[channel])
    (chance,) = play(environment, random_policy(1), 800).values()
    (best,) = play(environment, best_sign, 50).values()
    assert chance[0] == pytest.approx(world_module("curriculum").RANDOM[difficulty], abs=0.03) and best[0] == 1.0


def test_the_masked_world_takes_no_forbidden_action(factory: Any) -> None:
    environment = InProcessEnvironment(factory("masked", agents=4), seed=1)
    environment.reset()
    (name,) = environment.behavior_specs
    masks = environment.get_steps(name)[0].action_mask
    assert [mask.sum(axis=1).tolist() for mask in masks] == [[2] * 4, [1] * 4]
    forbidden = choose(*(mask.argmax(axis=1) for mask in masks))
    environment.set_actions(name, forbidden)
    with pytest.raises(ValueError, match="agent 0 was given a forbidden action of branch 0"):
        environment.step()


def test_the_second_behavior_appears_late(factory: Any, world_module: Any) -> None:
    module = world_module("two_behaviors")
    environment = InProcessEnvironment(factory("two_behaviors"), seed=1)
    environment.reset()
    for _ in range(module.LATE):
        assert list(environment.behavior_specs) == [module.PUSHER]
        environment.step()
    assert list(environment.behavior_specs) == [module.PUSHER, module.CHOOSER]
    ids = [environment.get_steps(name)[0].agent_id.tolist() for name in environment.behavior_specs]
    assert ids == [[*range(16)], [*range(16, 32)]]
    for policy, expected in ((random_policy(1), module.RANDOM), (best_sign, module.OPTIMAL)):
        means = play(environment, policy, 800)
        assert {name: mean for name, (mean, _) in means.items()} == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("name", [*BEST, "curriculum", "two_behaviors"])
def test_a_seed_and_a_state_say_all(name: str, factory: Any) -> None:
    def go_on(environment: InProcessEnvironment, messages: int) -> list[Any]:
        policy, seen = random_policy(2), []
        for _ in range(messages):
            for behavior, spec in environment.behavior_specs.items():
                decisions, terminals = environment.get_steps(behavior)
                seen += [array.tolist() for steps in (decisions, terminals) for array in (*steps.obs, steps.reward)]
                if len(decisions):
                    environment.set_actions(behavior, policy(behavior, spec, decisions))
            environment.step()
        return seen

    worlds = [InProcessEnvironment(factory(name, agents=2), seed=seed) for seed in (3, 3, 4)]
    for world in worlds:
        world.reset()
    first, same, other = (go_on(world, 45) for world in worlds)
    assert first == same
    assert first != other or name == "corridor"
    resumed = InProcessEnvironment(factory(name, agents=2), seed=9)
    resumed.load_state(worlds[0].state())
    assert go_on(resumed, 15) == go_on(worlds[0], 15)


PROGRAMS = [
    ("visual", "last"),
    ("visual", "png"),
    *((name, None) for name in ("masked", "entities", "groups", "two_behaviors")),
]


@pytest.mark.parametrize(("name", "variant"), PROGRAMS)
def test_as_a_program_it_is_the_same_world(name: str, variant: str | None, factory: Any, world_path: Any) -> None:
    options = {"variant": variant} if variant else {}
    here = InProcessEnvironment(factory(name, **options), seed=5)
    arguments = ["--variant", variant] if variant else []
    with UnityEnvironment(world_path(name), seed=5, timeout_wait=50, additional_args=arguments) as there:
        here.reset()
        there.reset()
        policy = random_policy(1)
        for _ in range(45 if name == "two_behaviors" else 8):
            assert list(here.behavior_specs) == list(there.behavior_specs)
            for behavior, spec in here.behavior_specs.items():
                for ours, theirs in zip(here.get_steps(behavior), there.get_steps(behavior), strict=True):
                    tolerance = 0.5 / 255 + 1e-6 if variant == "png" else 0
                    for ours_seen, theirs_seen in zip(ours.obs, theirs.obs, strict=True):
                        np.testing.assert_allclose(ours_seen, theirs_seen, rtol=0, atol=tolerance)
                    for field in ("reward", "agent_id", "group_id", "group_reward"):
                        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
                decisions = here.get_steps(behavior)[0]
                masks = there.get_steps(behavior)[0].action_mask
                assert (decisions.action_mask is None) == (masks is None)
                for mine, other in zip(decisions.action_mask or [], masks or [], strict=True):
                    np.testing.assert_array_equal(mine, other)
                action = policy(behavior, spec, decisions)
                here.set_actions(behavior, action)
                there.set_actions(behavior, action)
            here.step()
            there.step()


def test_parameters_of_worlds_made_by_hand(factory: Any) -> None:
    assert factory("groups", agents=6)(1, 2, EnvironmentParameters()).reset()["Groups?team=0"][0].group_id.tolist() == [
        *(1, 1, 2, 2, 3, 3),
        *(4, 4, 5, 5, 6, 6),
    ]
