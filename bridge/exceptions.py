"""What can go wrong between a trainer and a player: the official classes, so that existing `except` clauses keep working."""

from mlagents_envs.exception import (
    UnityActionException,
    UnityCommunicationException,
    UnityCommunicatorStoppedException,
    UnityEnvironmentException,
    UnityException,
    UnityObservationException,
    UnitySideChannelException,
    UnityTimeOutException,
    UnityWorkerInUseException,
)

__all__ = [
    "InvalidObservationError",
    "PortInUseError",
    "UnityActionException",
    "UnityCommunicationException",
    "UnityCommunicatorStoppedException",
    "UnityEnvironmentException",
    "UnityException",
    "UnityObservationException",
    "UnitySideChannelException",
    "UnityTimeOutException",
    "UnityWorkerInUseException",
]


class InvalidObservationError(UnityObservationException, RuntimeError):
    """An observation or a reward is NaN or infinite. The official client raises a bare RuntimeError here, so this is one as well."""


class PortInUseError(UnityWorkerInUseException):
    """A port that a player is to dial is taken. Says which, and by whom; the official class only knows the worker's number."""

    def __init__(self, worker_id: int, message: str) -> None:
        super().__init__(worker_id)
        self.args = (message,)
