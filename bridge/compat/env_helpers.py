"""Agents by name, `BEHAVIOR?agent_id=NUMBER`, as the PettingZoo wrappers call them."""

from typing import Any
from urllib.parse import parse_qs, urlparse

from mlagents_envs.base_env import DecisionSteps, TerminalSteps

_SEPARATOR = "?agent_id="


def _behavior_to_agent_id(behavior_name: str, unique_id: int) -> str:
    return f"{behavior_name}{_SEPARATOR}{unique_id}"


def _agent_id_to_behavior(agent_id: str) -> str:
    return agent_id.split(_SEPARATOR)[0]


def _parse_behavior(full_behavior: str) -> tuple[str, int]:
    """The name and the team of `NAME?team=NUMBER`."""
    parsed = urlparse(full_behavior)
    return parsed.path, int(parse_qs(parsed.query).get("team", ["0"])[0])


def _unwrap_batch_steps(
    batch_steps: tuple[DecisionSteps, TerminalSteps], behavior_name: str
) -> tuple[list[str], dict[str, Any], dict[str, bool], dict[str, float], dict[str, float], dict[str, Any], Any]:
    """Agents, and by agent: observations, dones, rewards, cumulative rewards, infos, row among the decisions.

    One observation comes bare, several as a list; masks make it a dict of "observation" and "action_mask". An agent
    that ended and decides again in the same step has its new observation and reward, with `done` False; that it ended
    is seen from "interrupted" in its info.
    """
    decisions, terminals = batch_steps
    deciding = [_behavior_to_agent_id(behavior_name, int(one)) for one in decisions.agent_id]
    ended = [_behavior_to_agent_id(behavior_name, int(one)) for one in terminals.agent_id]
    observations: dict[str, Any] = {}
    rewards: dict[str, float] = {}
    infos: dict[str, Any] = {}
    for agents, steps in ((ended, terminals), (deciding, decisions)):
        for row, agent in enumerate(agents):
            seen = [observation[row] for observation in steps.obs]
            observations[agent] = seen if len(seen) > 1 else seen[0]
            rewards[agent] = steps.reward[row]
            info = {
                "behavior_name": behavior_name,
                "group_id": steps.group_id[row],
                "group_reward": steps.group_reward[row],
            }
            infos.setdefault(agent, info)
            if isinstance(steps, TerminalSteps):
                info["interrupted"] = steps.interrupted[row]
            elif steps.action_mask is not None:
                observations[agent] = {"observation": seen, "action_mask": [mask[row] for mask in steps.action_mask]}
    dones = dict.fromkeys(ended, True) | dict.fromkeys(deciding, False)
    rows = {agent: row for row, agent in enumerate(deciding)}
    return list(dict.fromkeys(deciding + ended)), observations, dones, rewards, dict(rewards), infos, rows
