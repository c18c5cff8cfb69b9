"""Protocol bytes to blocks (`wire.py`), compiled by numba.

It is all or nothing: -1 or False says that a message holds something rare or wrong, and what is made of that is up to
protobuf. Rare is what players and trainers do not send while they step: known fields with another wire type, twice,
unpacked or in an order that matters, groups, padded numbers, images, NaN.
"""

import numpy as np

from bridge.wire import Bytes, Integers, Words, compiled, int64, uint64

# Columns of a row of `scan`'s table.
KEY_START, KEY_END, LIST_START, LIST_END, COUNT, DONE = range(6)

# Known fields of a message: bit n is set for field n. Of unknown ones only the numbers up to 15 are told apart.
_MALFORMED_TAG = 16 << 3
_MALFORMED = 1 << 16  # no message has it, so it goes with the known fields that are not as expected
_MESSAGE = 1 << 1 | 1 << 2 | 1 << 3 | _MALFORMED
_HEADER = _BODY = _ENTRY = 1 << 1 | 1 << 2 | _MALFORMED
_AGENT = 0b1110_1111_1000_0000 | _MALFORMED
_ACTION = 1 << 1 | 1 << 6 | 1 << 7 | _MALFORMED
_OBSERVATION = 0b1_1111_1110 | _MALFORMED


@compiled
def _field(data: Bytes, pos: int, end: int) -> tuple[int, int, int]:
    """The field at `pos` < `end`: its tag, its value if that is a number or else its length, and where it ends.

    Nothing is read at `end` or after.
    """
    tag, length = int64(data[pos]), int64(4)
    pos += 1
    kind = tag & 7
    if tag >= 128:
        if pos == end or data[pos] == 0 or data[pos] >= 128:
            return _MALFORMED_TAG, 0, end
        pos += 1
        tag = kind
    elif tag < 8:
        return _MALFORMED_TAG, 0, end
    if kind == 0 or kind == 2:
        value, shift, byte = int64(0), 0, int64(128)
        while byte >= 128:
            if pos == end or shift > 63:
                return _MALFORMED_TAG, 0, end
            byte = int64(data[pos])
            value |= (byte & 127) << shift
            pos += 1
            shift += 7
        if kind == 0:
            if shift == 70 and byte > 1:  # 64 bits end in the first of the tenth byte
                return _MALFORMED_TAG, 0, end
            return tag, value, pos
        length = value if shift <= 35 else int64(-1)
    elif kind == 1:
        length = int64(8)
    elif kind != 5:
        return _MALFORMED_TAG, 0, end
    if length < 0 or length > end - pos:
        return _MALFORMED_TAG, 0, end
    return tag, length, pos + length


@compiled
def _parts(data: Bytes, pos: int, end: int, first: int, second: int, known: int) -> tuple[int, int, int, int]:
    """Start and end of the submessages (or texts) with these numbers, -1 where there is none; 0 for `second`: no such.

    All are -1 if there is more of one.
    """
    start1, end1, start2, end2 = -1, -1, -1, -1
    while pos < end:
        tag, length, pos = _field(data, pos, end)
        if tag == first << 3 | 2 and start1 < 0:
            start1, end1 = pos - length, pos
        elif tag == second << 3 | 2 and start2 < 0:
            start2, end2 = pos - length, pos
        elif known >> (tag >> 3) & 1:
            return -1, -1, -1, -1
    return start1, end1, start2, end2


@compiled
def _number(data: Bytes, pos: int, end: int, field: int, known: int) -> int:
    """The last number of this field, 0 without one."""
    last: int = int64(0)
    while pos < end:
        tag, value, pos = _field(data, pos, end)
        if tag == field << 3:
            last = value
        elif known >> (tag >> 3) & 1:
            return -1
    return last


@compiled
def scan(data: Bytes, table: Integers, body: int, entries: int, side_channel: int, command: int, agents: bool) -> int:
    """Finds the parts of a message with status 200; returns the number of behaviors in it.

    `body`: the field of the message to look into, 2 from players and 3 from trainers. `entries`, `side_channel` and
    `command` (0: none) are fields of its rl part. `agents`: count those that are done.

    Row 0 of `table` gets start and end of the side channel and the command, each further row what the columns say.
    """
    start, end, pos, stop = _parts(data, 0, len(data), 1, body, _MESSAGE)
    if start < 0 or pos < 0 or _number(data, start, end, 1, _HEADER) != 200:
        return -1
    pos, end, _, _ = _parts(data, pos, stop, 1, 0, _BODY)
    if pos < 0:
        return -1
    table[0, :] = 0
    count = 0
    while pos < end:
        tag, value, pos = _field(data, pos, end)
        if tag == entries << 3 | 2:
            count += 1
            if count == len(table) or not _scan_entry(data, pos - value, pos, table, count, agents):
                return -1
        elif tag == side_channel << 3 | 2:
            table[0, 0], table[0, 1] = pos - value, pos
        elif tag == command << 3 and command > 0:
            table[0, 2] = value
        elif (1 << entries | 1 << side_channel | 1 << command | _MALFORMED) >> (tag >> 3) & 1:
            return -1
    return count


@compiled
def _scan_entry(data: Bytes, start: int, end: int, table: Integers, row: int, agents: bool) -> bool:
    start, stop, pos, end = _parts(data, start, end, 1, 2, _ENTRY)
    if start < 0 or pos < 0:
        return False
    count, ended = 0, int64(0)
    table[row, KEY_START], table[row, KEY_END], table[row, LIST_START], table[row, LIST_END] = start, stop, pos, end
    while pos < end:
        tag, length, pos = _field(data, pos, end)
        if tag != 0x0A:
            return False
        count += 1
        if agents:
            done = _number(data, pos - length, pos, 8, 1 << 8 | _MALFORMED)
            if done < 0 or done > 1:
                return False
            ended += done
    table[row, COUNT], table[row, DONE] = count, ended
    return True


@compiled
def read_agents(
    data: Bytes, pos: int, end: int, block: Words, sizes: Integers, agents: int, flags: int, done: bool, mixed: bool
) -> bool:
    """Those agents of a list that are `done`, or those that are not, to a block; `mixed`: the list has both."""
    words = block.view(np.uint8)
    floats = sizes.sum() + 2
    if len(words) < 4 * agents * (floats + 2) + agents * flags:
        return False
    row = 0
    while pos < end:
        tag, length, pos = _field(data, pos, end)
        if tag != 0x0A:
            return False
        start = pos - length
        if not mixed or _number(data, start, pos, 8, 1 << 8 | _MALFORMED) == done:
            if row == agents or not _read_agent(data, start, pos, block, words, sizes, agents, flags, done, row):
                return False
            row += 1
    finite = True
    for i in range(uint64(agents * floats)):
        finite &= block[i] & 0x7F800000 != 0x7F800000
    return finite and row == agents


@compiled
def _read_agent(
    data: Bytes,
    pos: int,
    end: int,
    block: Words,
    words: Bytes,
    sizes: Integers,
    agents: int,
    flags: int,
    done: bool,
    row: int,
) -> bool:
    floats = agents * sizes.sum()
    flag = 4 * (floats + 4 * agents) + row * flags
    for i in range(4):  # reward, group reward, id, group id
        block[floats + i * agents + row] = 0
    for i in range(flags):
        words[flag + i] = 0
    is_done, interrupted = int64(0), int64(0)
    seen, first = 0, 0
    while pos < end:
        tag, value, pos = _field(data, pos, end)
        if tag == 0x6A:  # an observation
            if seen == len(sizes):
                return False
            size = sizes[seen]
            if not _read_observation(data, pos - value, pos, words, first + row * size, size):
                return False
            first += agents * size
            seen += 1
        elif tag == 0x3D or tag == 0x7D:  # reward, group reward
            word = floats + (agents if tag == 0x7D else 0) + row
            _copy(data, pos - 4, words, 4 * word, 4)
        elif tag == 0x50 or tag == 0x70:  # id, group id
            block[floats + (3 if tag == 0x70 else 2) * agents + row] = value & 0xFFFFFFFF
        elif tag == 0x40:
            is_done = value
        elif tag == 0x48:
            interrupted = value
        elif tag == 0x5A:  # mask; without meaning where an agent is done
            if not done and value != flags:
                return False
            for i in range(value):
                if data[pos - value + i] > 1:
                    return False
                if not done:
                    words[flag + i] = data[pos - value + i]
        elif _AGENT >> (tag >> 3) & 1:
            return False
    if seen != len(sizes) or is_done != done or interrupted < 0 or interrupted > 1:
        return False
    if done:
        words[flag] = interrupted
    return True


@compiled
def _read_observation(data: Bytes, pos: int, end: int, words: Bytes, first: int, size: int) -> bool:
    """The numbers to `words` from word `first` on. All else that may be there only has to be well-formed."""
    seen = False
    while pos < end:
        tag, value, pos = _field(data, pos, end)
        start = pos - value
        if tag == 0x22:  # the numbers, packed, in a message of their own
            if value > 0:
                tag, value, stop = _field(data, start, pos)
                if tag != 0x0A or stop != pos:
                    return False
            if seen or value != 4 * size:
                return False
            seen = True
            _copy(data, pos - value, words, 4 * first, value)
        elif tag == 0x0A or tag == 0x32:  # shape, dimension properties
            more = 0
            for i in range(start, pos):
                more = more + 1 if data[i] >= 128 else 0
                if more == 5:
                    return False
            if more > 0:
                return False
        elif tag == 0x42:
            if not _is_utf8(data, start, pos):
                return False
        elif tag == 0x10:  # compression
            if value != 0:
                return False
        elif tag != 0x38 and _OBSERVATION >> (tag >> 3) & 1:
            return False
    return seen or size == 0


@compiled
def _is_utf8(data: Bytes, pos: int, end: int) -> bool:
    while pos < end:
        first = data[pos]
        pos += 1
        if first < 0x80:
            continue
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if first < 0xC2 or first > 0xF4 or end - pos < more:
            return False
        # Shorter forms exist of some, and others stand for no character.
        low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        for i in range(more):
            if data[pos + i] < low or data[pos + i] > high:
                return False
            low, high = 0x80, 0xBF
        pos += more
    return True


@compiled
def _copy(data: Bytes, start: int, words: Bytes, first: int, count: int) -> None:
    # Unsigned, positions cost nothing more: numba takes others for ones that may count from the end.
    source, target = uint64(start), uint64(first)
    for i in range(uint64(count)):
        words[target + i] = data[source + i]


@compiled
def read_actions(data: Bytes, pos: int, end: int, block: Words, agents: int, continuous: int, discrete: int) -> bool:
    """A list of actions to `block`: continuous [agents, continuous] and then discrete [agents, discrete]."""
    words = block.view(np.uint8)
    if len(block) < agents * (continuous + discrete):
        return False
    row = 0
    while pos < end:
        tag, length, pos = _field(data, pos, end)
        if tag != 0x0A or row == agents:
            return False
        at = pos - length
        floats, integers = 0, 0
        while at < pos:
            tag, length, at = _field(data, at, pos)
            if tag == 0x32 and floats == 0 and length == 4 * continuous:
                _copy(data, at - length, words, 4 * row * continuous, length)
                floats = continuous
            elif tag == 0x3A and integers == 0:
                value, shift = int64(0), 0
                for i in range(at - length, at):
                    if integers == discrete or shift > 63:
                        return False
                    value |= (int64(data[i]) & 127) << shift
                    shift += 7
                    if data[i] < 128:
                        block[agents * continuous + row * discrete + integers] = value & 0xFFFFFFFF
                        integers += 1
                        value, shift = int64(0), 0
                if shift > 0:
                    return False
            elif (
                not (tag == 0x0A and length % 4 == 0) and _ACTION >> (tag >> 3) & 1
            ):  # 0x0A: deprecated, both as floats
                return False
        if floats != continuous or integers != discrete:
            return False
        row += 1
    return row == agents
