"""What can go wrong between a trainer and a player: the official classes, so that existing code catches them."""

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
    "InvalidModelError",
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


class InvalidModelError(UnityException):
    """A file is no ONNX model of ML-Agents, or not one for these agents. The message names the file and the remedy."""


class InvalidObservationError(UnityObservationException, RuntimeError):
    """An observation or a reward is NaN or infinite; also a RuntimeError, as the official client raises just that."""


class PortInUseError(UnityWorkerInUseException):
    """A port that a player is to dial is taken. Says which, and by whom; the official class knows the worker only."""

    def __init__(self, worker_id: int, message: str) -> None:
        super().__init__(worker_id)
        self.args = (message,)
