"""Protocol bytes to blocks (`wire.py`), compiled by numba.

It is all or nothing: -1 or False says that a message holds something rare or wrong, and what is made of that is up to
protobuf. Rare is what players and trainers do not send while they step: known fields with another wire type, twice,
unpacked or in an order that matters, groups, padded numbers, images, NaN. Nothing is read at `end` or after.
"""

import numpy as np

from bridge import wire
from bridge.wire import Bytes, Integers, Words, compiled, int64, uint64

# Columns of a row of `scan`'s table.
KEY_START, KEY_END, LIST_START, LIST_END, COUNT, DONE = range(6)

_FIRST, _SECOND, _FLOAT_SIZE = int64(1), int64(2), int64(4)


@compiled
def _field(data: Bytes, pos: int, end: int) -> tuple[int, int, int, int]:
    """The field at `pos` < `end`: tag, number (if it is one), and start and end of the payload, which are in range."""
    tag, length, value = int64(data[pos]), int64(4), int64(0)
    pos += 1
    kind = tag & 7
    if tag >= 128:
        if pos == end or data[pos] == 0 or data[pos] >= 128:
            return wire.MALFORMED_TAG, 0, end, end
        pos += 1
        tag = wire.UNKNOWN_TAG
    elif tag < 8:
        return wire.MALFORMED_TAG, 0, end, end
    if kind == 0 or kind == 2:
        shift, byte = 0, int64(128)
        while byte >= 128:
            if pos == end or shift > 63:
                return wire.MALFORMED_TAG, 0, end, end
            byte = int64(data[pos])
            value |= (byte & 127) << shift
            pos += 1
            shift += 7
        if kind == 0:
            if shift == 70 and byte > 1:  # 64 bits end in the first of the tenth byte
                return wire.MALFORMED_TAG, 0, end, end
            return tag, value, pos, pos
        length = value if shift <= 35 else int64(-1)
    elif kind == 1:
        length = int64(8)
    elif kind != 5:
        return wire.MALFORMED_TAG, 0, end, end
    if length < 0 or length > end - pos:
        return wire.MALFORMED_TAG, 0, end, end
    return tag, value, pos, pos + length


@compiled
def _parts(data: Bytes, pos: int, end: int, first: int, second: int, known: int) -> tuple[int, int, int, int]:
    """Start and end of the submessages (or texts) with these numbers, -1 where there is none.

    All are -1 if one is there twice.
    """
    start1, end1, start2, end2 = int64(-1), int64(-1), int64(-1), int64(-1)
    while pos < end:
        tag, _, start, pos = _field(data, pos, end)
        if tag == first << 3 | 2 and start1 < 0:
            start1, end1 = start, pos
        elif tag == second << 3 | 2 and start2 < 0:
            start2, end2 = start, pos
        elif known >> (tag >> 3) & 1:
            return -1, -1, -1, -1
    return start1, end1, start2, end2


@compiled
def _number(data: Bytes, pos: int, end: int, field: int, known: int) -> int:
    """The last number of this field, 0 without one."""
    last: int = int64(0)
    while pos < end:
        tag, value, _, pos = _field(data, pos, end)
        if tag == field:
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
    start, end, pos, stop = _parts(data, int64(0), len(data), _FIRST, body, wire.MESSAGE_FIELDS)
    if start < 0 or pos < 0 or _number(data, start, end, wire.STATUS, wire.HEADER_FIELDS) != 200:
        return -1
    pos, end, start, stop = _parts(data, pos, stop, _FIRST, _SECOND, wire.BODY_FIELDS)
    if pos < 0 or start >= 0:
        return -1
    table[0, :] = 0
    count = 0
    while pos < end:
        tag, value, start, pos = _field(data, pos, end)
        if tag == entries << 3 | 2:
            count += 1
            if count == len(table):
                return -1
            start, stop, at, last = _parts(data, start, pos, _FIRST, _SECOND, wire.ENTRY_FIELDS)
            if start < 0 or at < 0:
                return -1
            table[count, KEY_START], table[count, KEY_END] = start, stop
            table[count, LIST_START], table[count, LIST_END] = at, last
            table[count, COUNT], table[count, DONE] = 0, 0
            while at < last:
                tag, _, start, at = _field(data, at, last)
                done = _number(data, start, at, wire.DONE, wire.DONE_FIELD) if agents else int64(0)
                if tag != wire.VALUE or done < 0 or done > 1:
                    return -1
                table[count, COUNT] += 1
                table[count, DONE] += done
        elif tag == side_channel << 3 | 2:
            table[0, 0], table[0, 1] = start, pos
        elif tag == command << 3 and command > 0:
            table[0, 2] = value
        elif (1 << entries | 1 << side_channel | 1 << command | wire.MALFORMED_FIELD) >> (tag >> 3) & 1:
            return -1
    return count


@compiled
def read_agents(
    data: Bytes, pos: int, end: int, block: Words, sizes: Integers, agents: int, flags: int, done: bool, mixed: bool
) -> bool:
    """Those agents of a list that are `done`, or those that are not, to a block; `mixed`: the list has both."""
    words = block.view(np.uint8)
    rewards = int64(0)
    for size in sizes:
        rewards += agents * size
    first_flag = 4 * (rewards + 4 * agents)
    if len(words) < first_flag + agents * flags:
        return False
    row = 0
    while pos < end:
        tag, _, at, pos = _field(data, pos, end)
        if tag != wire.VALUE:
            return False
        if mixed and _number(data, at, pos, wire.DONE, wire.DONE_FIELD) != done:
            continue
        if row == agents:
            return False
        for i in range(rewards + row, rewards + 4 * agents, agents):  # reward, group reward, id, group id
            block[i] = 0
        flag = first_flag + row * flags
        words[flag : flag + flags] = 0
        is_done, interrupted = int64(0), int64(0)
        seen, first, masked = 0, int64(0), False
        while at < pos:
            tag, value, start, at = _field(data, at, pos)
            if tag == wire.OBSERVATION:
                if seen == len(sizes):
                    return False
                size = sizes[seen]
                if not _read_observation(data, start, at, words, first + row * size, size):
                    return False
                first += agents * size
                seen += 1
            elif tag == wire.REWARD:
                _copy(data, start, words, 4 * (rewards + row), _FLOAT_SIZE)
            elif tag == wire.GROUP_REWARD:
                _copy(data, start, words, 4 * (rewards + agents + row), _FLOAT_SIZE)
            elif tag == wire.ID:
                block[rewards + 2 * agents + row] = value & 0xFFFFFFFF
            elif tag == wire.GROUP_ID:
                block[rewards + 3 * agents + row] = value & 0xFFFFFFFF
            elif tag == wire.DONE:
                is_done = value
            elif tag == wire.MAX_STEP_REACHED:
                interrupted = value
            elif tag == wire.ACTION_MASK:
                if not done and (masked or at - start != flags):  # a second one is appended to the first
                    return False
                masked = True
                for i in range(start, at):
                    if data[i] > 1:
                        return False
                if not done:
                    _copy(data, start, words, flag, flags)
            elif wire.AGENT_FIELDS >> (tag >> 3) & 1:
                return False
        if seen != len(sizes) or is_done != done or interrupted < 0 or interrupted > 1:
            return False
        if done:
            words[flag] = interrupted
        row += 1
    finite = True
    for i in range(uint64(rewards + 2 * agents)):
        finite &= block[i] & 0x7F800000 != 0x7F800000
    return finite and row == agents


@compiled
def _read_observation(data: Bytes, pos: int, end: int, words: Bytes, first: int, size: int) -> bool:
    """The numbers to `words` from word `first` on. All else that may be there only has to be well-formed."""
    seen = False
    while pos < end:
        tag, value, start, pos = _field(data, pos, end)
        if tag == wire.FLOAT_DATA:
            stop = pos
            if start < pos:
                tag, _, start, stop = _field(data, start, pos)
                if tag != wire.PACKED:
                    return False
            if seen or stop != pos or stop - start != 4 * size:
                return False
            seen = True
            _copy(data, start, words, 4 * first, 4 * size)
        elif tag == wire.SHAPE or tag == wire.DIMENSIONS:
            more = 0
            for i in range(start, pos):
                more = more + 1 if data[i] >= 128 else 0
                if more == 5:
                    return False
            if more > 0:
                return False
        elif tag == wire.NAME:
            if not _is_utf8(data, start, pos):
                return False
        elif tag == wire.COMPRESSION:
            if value != 0:
                return False
        elif tag != wire.KIND and wire.OBSERVATION_FIELDS >> (tag >> 3) & 1:
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
        tag, _, at, pos = _field(data, pos, end)
        if tag != wire.VALUE or row == agents:
            return False
        floats, integers = 0, 0
        while at < pos:
            tag, _, start, at = _field(data, at, pos)
            if tag == wire.CONTINUOUS and floats == 0 and at - start == 4 * continuous:
                _copy(data, start, words, 4 * row * continuous, 4 * continuous)
                floats = continuous
            elif tag == wire.DISCRETE and integers == 0:
                value, shift = int64(0), 0
                for i in range(start, at):
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
            elif (tag != wire.DEPRECATED or (at - start) & 3 != 0) and wire.ACTION_FIELDS >> (tag >> 3) & 1:
                return False
        if floats != continuous or integers != discrete:
            return False
        row += 1
    return row == agents
