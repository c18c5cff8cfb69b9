"""Messages changed field by field, for a fuzzer whose own changes are byte by byte: lengths stay right unless meant."""

import random
from collections.abc import Callable

VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5
DEEPEST = 8
NUMBERS = [0, 1, 2, 127, 128, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
Field = list  # number, wire type, payload: an int, bytes, or the fields of a submessage


def varint(value: int, padding: int = 0) -> bytes:
    """`padding`: bytes more than are needed."""
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    for _ in range(padding):
        encoded[-1] |= 128
        encoded.append(0)
    return bytes(encoded)


def parse(data: bytes, depth: int = 0) -> list[Field] | None:
    """The fields, submessages opened wherever bytes can be read as one; None for what is no list of fields."""
    fields: list[Field] = []
    at = 0
    while at < len(data):
        head, at = _read_varint(data, at)
        number, kind = head >> 3, head & 7
        if kind == VARINT:
            payload, at = _read_varint(data, at)
        elif kind in (EIGHT, LENGTH, FOUR):
            length = {EIGHT: 8, FOUR: 4}.get(kind, 0)
            if kind == LENGTH:
                length, at = _read_varint(data, at)
            payload, at = data[at : at + length], at + length
        else:
            return None
        if at > len(data) or number == 0:
            return None
        if kind == LENGTH and payload and depth < DEEPEST:
            payload = parse(payload, depth + 1) or payload
        fields.append([number, kind, payload])
    return fields


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The position is behind the end where the number is cut off."""
    value, shift = 0, 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at
    return 0, len(data) + 1


def written(fields: list[Field], draw: random.Random, damage: float) -> bytes:
    """The bytes; each number or length is padded or wrong with the probability `damage`."""
    parts = []
    for number, kind, payload in fields:
        padding = draw.randrange(6) if draw.random() < damage else 0
        parts.append(varint(number << 3 | kind, padding if draw.random() < damage else 0))
        if kind == VARINT:
            parts.append(varint(payload, padding))
            continue
        inner = written(payload, draw, damage) if isinstance(payload, list) else payload
        if kind == LENGTH:
            wrong = draw.choice([0, 1, len(inner) + 1, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1])
            parts.append(varint(wrong if draw.random() < damage / 3 else len(inner), padding))
        parts.append(inner)
    return b"".join(parts)


def changed(data: bytes, draw: random.Random, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """`data` with one to three fields changed; `mutate(bytes, longest)` changes bytes."""
    fields = parse(data)
    if not fields:
        return data
    for _ in range(draw.choice([1, 1, 2, 3])):
        _change(fields, draw, mutate)
    return written(fields, draw, draw.choice([0.0, 0.0, 0.0, 0.1]))


def _change(fields: list[Field], draw: random.Random, mutate: Callable[[bytes, int], bytes]) -> None:
    lists = _lists(fields)
    among = draw.choice(lists)
    if not among:
        return
    at = draw.randrange(len(among))
    field = among[at]
    match draw.randrange(9):
        case 0:
            del among[at]
        case 1:
            among.insert(draw.randrange(len(among) + 1), _copied(field))
        case 2:
            other = draw.randrange(len(among))
            among[at], among[other] = among[other], among[at]
        case 3:
            field[0] = draw.choice([*range(1, 16), 16, 99, 2047])
        case 4:  # another wire type
            field[1:] = draw.choice([[VARINT, draw.choice(NUMBERS)], [EIGHT, bytes(8)], [FOUR, b"\0\0\xc0\x7f"]])
        case 5:  # a message in itself
            if field[1] == LENGTH:
                for _ in range(draw.choice([1, 2, 40, 200])):
                    field[2] = [_copied(field)]
                    field = field[2][0]
                    if len(lists) > 50:
                        break
        case 6:  # packed numbers one by one
            if isinstance(field[2], bytes) and field[1] == LENGTH and len(field[2]) % 4 == 0:
                pieces = [field[2][i : i + 4] for i in range(0, len(field[2]), 4)]
                among[at : at + 1] = [[field[0], FOUR, piece] for piece in pieces]
        case 7:
            donor = draw.choice(draw.choice(lists) or among)
            among.insert(at, _copied(donor))
        case _:
            if field[1] == VARINT:
                field[2] = draw.choice([draw.choice(NUMBERS), draw.randrange(300), field[2] ^ 1 << draw.randrange(64)])
            elif isinstance(field[2], bytes):
                size = len(field[2])
                new = mutate(field[2], size + 8) if field[1] == LENGTH else mutate(field[2], size)
                field[2] = new if field[1] == LENGTH else (new + bytes(size))[:size]


def _lists(fields: list[Field]) -> list[list[Field]]:
    """`fields` and the fields of every submessage."""
    found = [fields]
    for _, _, payload in fields:
        if isinstance(payload, list):
            found += _lists(payload)
    return found


def _copied(field: Field) -> Field:
    number, kind, payload = field
    return [number, kind, [_copied(each) for each in payload] if isinstance(payload, list) else payload]
