"""Blocks (`wire.py`) to protocol bytes, compiled by numba.

Messages are written from their end to their beginning, so that each length is known when it is due. A function returns
the position of the first byte that it wrote; it is given what room it needs by the two functions that say how much.
"""

import functools

import numpy as np

from bridge import wire
from bridge.wire import Bytes, Integers, Words, compiled, int64, uint64

_LONGEST = 10  # bytes of a number


def agents_room(agents: int, floats: int, flags: int, templates: int) -> int:
    """Bytes that agents take at most; `templates`: what `write_agents` gets has that many bytes."""
    return agents * (4 * floats + flags + templates + 64)


def actions_room(agents: int, continuous: int, discrete: int) -> int:
    """Bytes that actions take at most."""
    return agents * (4 * continuous + _LONGEST * discrete + 32)


@functools.lru_cache(4096)
def number(value: int) -> bytes:
    """A number or length, not below 0, as protobuf writes it."""
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@compiled
def _put(out: Bytes, pos: int, value: int) -> int:
    """A number, which takes 10 bytes below 0."""
    size, rest = 1, value >> 7
    while rest != 0 and size < 10:
        size += 1
        rest >>= 7
    pos -= size
    for i in range(size - 1):
        out[pos + i] = (value & 127) | 128
        value >>= 7
    out[pos + size - 1] = value & (1 if size == 10 else 127)
    return pos


@compiled
def _put_tagged(out: Bytes, pos: int, tag: int, value: int) -> int:
    pos = _put(out, pos, value) - 1
    out[pos] = tag
    return pos


@compiled
def _put_bytes(out: Bytes, pos: int, data: Bytes, start: int, end: int) -> int:
    pos -= end - start
    source, target = uint64(start), uint64(pos)
    for i in range(uint64(end - start)):
        out[target + i] = data[source + i]
    return pos


@compiled
def _put_word(out: Bytes, pos: int, tag: int, block: Words, words: Bytes, index: int) -> int:
    """A float, unless it is 0.0."""
    if block[index] != 0:
        pos = _put_bytes(out, pos, words, 4 * index, 4 * index + 4) - 1
        out[pos] = tag
    return pos


@compiled
def write_agents(
    out: Bytes,
    pos: int,
    block: Words,
    sizes: Integers,
    agents: int,
    flags: int,
    done: bool,
    templates: Bytes,
    spans: Integers,
) -> int:
    """Agents that are `done`, or that are not, before `pos`; flags count only if one of them is set.

    `spans` [observations, 3]: of what stands before and after the numbers of each observation in `templates`, the
    start, the boundary and the end. Returns -1 where there is not enough room.
    """
    words, signed = block.view(np.uint8), block.view(np.int32)
    rewards = int64(0)
    for size in sizes:
        rewards += agents * size
    first_flag = 4 * (rewards + 4 * agents)
    if pos > len(out) or pos < 4 * rewards + agents * (flags + len(templates) + 64):
        return -1
    if len(words) < first_flag + agents * flags:
        return -1
    any_flag = False
    for i in range(agents * flags):
        any_flag |= words[first_flag + i] != 0
    for row in range(agents - 1, -1, -1):
        stop = pos
        pos = _put_word(out, pos, wire.GROUP_REWARD, block, words, rewards + agents + row)
        group = int64(signed[rewards + 3 * agents + row])
        if group != 0:
            pos = _put_tagged(out, pos, wire.GROUP_ID, group)
        first = rewards
        for k in range(len(sizes) - 1, -1, -1):
            first -= agents * sizes[k]
            start = 4 * (first + row * sizes[k])
            pos = _put_bytes(out, pos, templates, spans[k, 1], spans[k, 2])
            pos = _put_bytes(out, pos, words, start, start + 4 * sizes[k])
            pos = _put_bytes(out, pos, templates, spans[k, 0], spans[k, 1])
        flag = first_flag + row * flags
        if any_flag and not done:
            pos = _put_bytes(out, pos, words, flag, flag + flags)
            pos = _put_tagged(out, pos, wire.ACTION_MASK, flags)
        agent = int64(signed[rewards + 2 * agents + row])
        if agent != 0:
            pos = _put_tagged(out, pos, wire.ID, agent)
        if done:
            if words[flag] != 0:
                pos = _put_tagged(out, pos, wire.MAX_STEP_REACHED, int64(1))
            pos = _put_tagged(out, pos, wire.DONE, int64(1))
        pos = _put_word(out, pos, wire.REWARD, block, words, rewards + row)
        pos = _put_tagged(out, pos, wire.VALUE, stop - pos)
    return pos


@compiled
def write_actions(out: Bytes, pos: int, block: Words, agents: int, continuous: int, discrete: int) -> int:
    """Actions before `pos`; `block`: continuous [agents, continuous] and then discrete [agents, discrete].

    Returns -1 where there is not enough room.
    """
    words, signed = block.view(np.uint8), block.view(np.int32)
    if pos > len(out) or pos < agents * (4 * continuous + 10 * discrete + 32):
        return -1
    if len(block) < agents * (continuous + discrete):
        return -1
    for row in range(agents - 1, -1, -1):
        stop = pos
        if discrete > 0:
            first = agents * continuous + row * discrete
            for i in range(discrete - 1, -1, -1):
                pos = _put(out, pos, int64(signed[first + i]))
            pos = _put_tagged(out, pos, wire.DISCRETE, stop - pos)
        if continuous > 0:
            first = row * continuous
            pos = _put_bytes(out, pos, words, 4 * first, 4 * (first + continuous))
            pos = _put_tagged(out, pos, wire.CONTINUOUS, 4 * continuous)
        pos = _put_tagged(out, pos, wire.VALUE, stop - pos)
    return pos
