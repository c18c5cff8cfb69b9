"""What every environment of this package does the same: remember the last steps and the actions set for them."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType

from mlagents_envs.base_env import ActionTuple, BaseEnv, BehaviorMapping, BehaviorSpec, DecisionSteps, TerminalSteps

from bridge.codec import Steps
from bridge.exceptions import UnityActionException


class SteppedEnvironment(BaseEnv):
    """A `BaseEnv` whose step is made of two halves, so that many players can work at the same time.

    A subclass implements `send_reset`, `send_step`, `receive_steps` (which sets `_steps`, adds to `_specs` and calls
    `_forget_actions`) and `close`.
    """

    def __init__(self) -> None:
        self._specs: dict[str, BehaviorSpec] = {}
        self._steps: Steps = {}
        self._actions: dict[str, ActionTuple] = {}
        self._own_actions: set[str] = set()  # behaviors whose actions are arrays of our own

    @abstractmethod
    def send_reset(self) -> None:
        """The first half of `reset`."""

    @abstractmethod
    def send_step(self) -> None:
        """The first half of `step`."""

    @abstractmethod
    def receive_steps(self) -> Steps:
        """The second half: waits for the player. Behaviors without news are not in the result."""

    @property
    def ready(self) -> bool:
        """Whether `receive_steps` would return, or raise, at once."""
        return True

    def on_message(self, callback: Callable[[], None]) -> None:
        """`callback` is called, from another thread, when `ready` may have become true."""

    def send_close(self) -> None:
        """The first half of `close`; calling it is not required."""

    @property
    def behavior_specs(self) -> Mapping[str, BehaviorSpec]:
        """Specifications by behavior name; more may come as the player reports new behaviors."""
        return BehaviorMapping(self._specs)

    def reset(self) -> None:
        """Starts all episodes anew. The steps afterwards hold decisions and no terminals."""
        self.send_reset()
        self.receive_steps()

    def step(self) -> None:
        """Sends the actions set since the last step (zeros where none were set) and waits for the next steps.

        The first call resets.
        """
        self.send_step()
        self.receive_steps()

    def set_actions(self, behavior_name: str, action: ActionTuple) -> None:
        """`action`: continuous float32 [agents, size], discrete int32 [agents, branches].

        Rows are those of the decision steps. The arrays are not copied: they are to stay as they are until the step.
        Raises UnityActionException for an unknown behavior and for other shapes.
        """
        spec = self._spec(behavior_name)
        decisions = self._steps.get(behavior_name)
        if decisions is None:
            return
        self._actions[behavior_name] = spec.action_spec._validate_action(action, len(decisions[0]), behavior_name)
        self._own_actions.discard(behavior_name)

    def set_action_for_agent(self, behavior_name: str, agent_id: int, action: ActionTuple) -> None:
        """The same for one agent: continuous [1, size], discrete [1, branches]. The others keep theirs, or zeros."""
        spec = self._spec(behavior_name).action_spec
        action = spec._validate_action(action, 1, behavior_name)
        decisions = self._steps[behavior_name][0] if behavior_name in self._steps else None
        if decisions is None or agent_id not in decisions:
            raise UnityActionException(
                f"agent {agent_id} of behavior '{behavior_name}' did not ask for a decision in this step"
            )
        if behavior_name not in self._own_actions:  # those that were set belong to the caller
            actions = self._actions.get(behavior_name) or spec.empty_action(len(decisions))
            self._actions[behavior_name] = ActionTuple(actions.continuous.copy(), actions.discrete.copy())
            self._own_actions.add(behavior_name)
        row = decisions.agent_id_to_index[agent_id]
        if spec.continuous_size > 0:
            self._actions[behavior_name].continuous[row] = action.continuous[0]
        if spec.discrete_size > 0:
            self._actions[behavior_name].discrete[row] = action.discrete[0]

    def get_steps(self, behavior_name: str) -> tuple[DecisionSteps, TerminalSteps]:
        """The agents that ask for a decision and those whose episode ended, as of the last step."""
        spec = self._spec(behavior_name)
        steps = self._steps.get(behavior_name)
        return steps if steps is not None else (DecisionSteps.empty(spec), TerminalSteps.empty(spec))

    def _forget_actions(self) -> None:
        self._actions.clear()
        self._own_actions.clear()

    def _action(self, behavior_name: str) -> ActionTuple:
        """The actions set for the waiting agents of a behavior, zeros where none were set."""
        action = self._actions.get(behavior_name)
        if action is None:
            action = self._specs[behavior_name].action_spec.empty_action(len(self._steps[behavior_name][0]))
        return action

    def _spec(self, behavior_name: str) -> BehaviorSpec:
        if behavior_name not in self._specs:
            known = ", ".join(f"'{name}'" for name in self._specs) or "none yet; call reset() first"
            raise UnityActionException(f"no behavior '{behavior_name}' in this environment; it has: {known}")
        return self._specs[behavior_name]

    def __enter__(self) -> "SteppedEnvironment":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
