"""What the compiled halves of the codec share: `wire_reading.py` and `wire_writing.py`, used by `fast_codec.py`.

Bytes are uint8 arrays, read-only where they are input. The decisions of one behavior in a message are a *block*, and so
are its terminals: uint32 words that hold floats and integers as their bits, and bytes at the end.

    observation 0 [agents, sizes[0]], observation 1, ..., reward, group reward, id, group id
    bytes: masks [agents, flags] of decisions, interrupted [agents, 1] of terminals
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

njit: Any = None
with contextlib.suppress(ImportError):  # not for every Python and machine is there a numba
    from numba import njit

COMPILED = njit is not None

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint32]
Integers = NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., object])

int64: Any = np.int64  # what integers are in compiled functions
uint64: Any = np.uint64  # for positions: numba takes signed ones for such as may count from the end, which costs time

# Tags of fields: number and wire type. With plain integers numba would compile the functions they go to for each anew.
_VARINT, _SUBMESSAGE, _FLOAT = 0, 2, 5
STATUS = int64(1 << 3 | _VARINT)
VALUE = int64(1 << 3 | _SUBMESSAGE)  # an agent, or an action, in a list of them
REWARD = int64(7 << 3 | _FLOAT)
DONE = int64(8 << 3 | _VARINT)
MAX_STEP_REACHED = int64(9 << 3 | _VARINT)
ID = int64(10 << 3 | _VARINT)
ACTION_MASK = int64(11 << 3 | _SUBMESSAGE)
OBSERVATION = int64(13 << 3 | _SUBMESSAGE)
GROUP_ID = int64(14 << 3 | _VARINT)
GROUP_REWARD = int64(15 << 3 | _FLOAT)
# of an observation
SHAPE = int64(1 << 3 | _SUBMESSAGE)
COMPRESSION = int64(2 << 3 | _VARINT)
FLOAT_DATA = int64(4 << 3 | _SUBMESSAGE)
PACKED = int64(1 << 3 | _SUBMESSAGE)  # the numbers in there
DIMENSIONS = int64(6 << 3 | _SUBMESSAGE)
KIND = int64(7 << 3 | _VARINT)
NAME = int64(8 << 3 | _SUBMESSAGE)
# of an action
DEPRECATED = int64(1 << 3 | _SUBMESSAGE)
CONTINUOUS = int64(6 << 3 | _SUBMESSAGE)
DISCRETE = int64(7 << 3 | _SUBMESSAGE)

# What of a message is known: bit n is set for field n. The codec knows none above 15.
UNKNOWN_TAG, MALFORMED_TAG = int64(17 << 3), int64(16 << 3)
MALFORMED_FIELD = 1 << 16  # no message has it, so it goes with the known fields that are not as expected
MESSAGE_FIELDS = int64(1 << 1 | 1 << 2 | 1 << 3 | MALFORMED_FIELD)
HEADER_FIELDS = BODY_FIELDS = int64(1 << 1 | 1 << 2 | MALFORMED_FIELD)
ENTRY_FIELDS = int64((1 << 18) - 1)  # all: protobuf drops entries of a map that hold an unknown field
DONE_FIELD = int64(1 << 8 | MALFORMED_FIELD)
AGENT_FIELDS = int64(0b1110_1111_1000_0000 | MALFORMED_FIELD)
ACTION_FIELDS = int64(1 << 1 | 1 << 6 | 1 << 7 | MALFORMED_FIELD)
OBSERVATION_FIELDS = int64(0b1_1111_1110 | MALFORMED_FIELD)


def compiled(function: _Function) -> _Function:
    """The function as machine code, kept for the next start; where there is no numba, the function itself.

    Functions that call each other have to be in one file: numba's cache does not notice a change in another one.
    """
    if njit is None:
        return function
    try:
        faster: Any = njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # nowhere to keep it: neither this folder nor the user's cache can be written
        faster = njit(error_model="numpy")(function)
    return faster  # type: ignore[no-any-return]


def block_length(floats: int, agents: int, flags: int) -> int:
    """Words in the block of agents that observe `floats` numbers each and have `flags` bytes."""
    return agents * (floats + 4) + (agents * flags + 3) // 4
