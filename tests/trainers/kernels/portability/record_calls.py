"""A pytest plugin that writes down what the operators' tests ask of the library, for replay.cpp to ask it once more.

`pytest -p record_calls` with the folder's name in OPENMINED_RECORD writes two files there: `calls`, each with its
arguments and the memory that they point into, and `results`, the status and that memory afterwards. `kinds.json` holds
the NumPy type of each piece of memory.

calls: [name; number of blocks, each its size and bytes and the number of addresses in it, each its offset and the place
(block, offset) that it names; number of arguments, each a kind and two words]; kinds are 0 a whole number, 1 a double,
2 NULL, 3 a place. results: [status; the blocks without addresses]. Numbers are of 8 bytes, the lowest first.
"""

import ctypes
import json
import os
import struct
from pathlib import Path
from typing import Any

import torch

from trainers.kernels.operators import binding, combined_native

MOST_BYTES = 100_000  # of a call's memory
MOST_TENSORS = 200  # that are kept
recorders: list["Recorder"] = []
WHOLE, DOUBLE, NOTHING, PLACE = range(4)


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


class Memory:
    """The blocks of one call: storages of tensors, and arrays of ctypes, in which addresses of tensors may stand."""

    def __init__(self, tensors: dict[int, torch.Tensor]) -> None:
        self.tensors = tensors
        self.blocks: list[tuple[int, int, str]] = []  # address, bytes, kind
        self.addresses: list[list[bytes]] = []
        self.known: dict[int, int] = {}

    def place(self, address: int) -> tuple[int, int]:
        tensor = self.tensors[address]
        storage = tensor.untyped_storage()
        kind = str(tensor.dtype).removeprefix("torch.")
        return self.block(storage.data_ptr(), storage.nbytes(), kind), address - storage.data_ptr()

    def block(self, address: int, size: int, kind: str) -> int:
        if address not in self.known:
            self.known[address] = len(self.blocks)
            self.blocks.append((address, size, kind))
            self.addresses.append([])
        return self.known[address]

    def array(self, array: Any) -> tuple[int, int]:
        block = self.block(ctypes.addressof(array), ctypes.sizeof(array), "uint8")
        for index, value in enumerate(array):
            if value and value in self.tensors:
                self.addresses[block].append(words(8 * index, *self.place(value)))
        return block, 0

    def contents(self) -> list[bytes]:
        return [ctypes.string_at(address, size) for address, size, _ in self.blocks]


class Recorder:
    """Stands in for the library: passes calls on and writes them down."""

    def __init__(self, library: ctypes.CDLL, folder: Path) -> None:
        self.library, self.folder = library, folder
        self.calls, self.results = (folder / "calls").open("wb"), (folder / "results").open("wb")
        self.kinds: list[tuple[str, list[str]]] = []
        self.tensors: dict[int, torch.Tensor] = {}  # by address, those that were asked for it
        self._watch_pointers()

    def finish(self) -> None:
        self.calls.close()
        self.results.close()
        (self.folder / "kinds.json").write_text(json.dumps(self.kinds), encoding="utf-8")

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.library, name)

        def call(*arguments: Any) -> int:
            memory = Memory(self.tensors)
            encoded = [
                self._encode(memory, kind, value) for kind, value in zip(function.argtypes, arguments, strict=True)
            ]
            small = sum(size for _, size, _ in memory.blocks) <= MOST_BYTES
            before = memory.contents() if small else []
            status: int = function(*arguments)
            if small:
                self._write(name, memory, before, encoded, status)
            self._forget()
            return status

        return call

    def _forget(self) -> None:
        """Lets go of large tensors, and of small ones when there are many.

        The others are kept: an address may be passed on to a later call, as from a layer to its gradient, and nothing
        else can have come to lie there while its tensor is held.
        """
        small = [pair for pair in self.tensors.items() if pair[1].untyped_storage().nbytes() <= MOST_BYTES]
        self.tensors = dict(small[-MOST_TENSORS:])

    def _watch_pointers(self) -> None:
        plain = torch.Tensor.data_ptr

        def data_ptr(tensor: torch.Tensor) -> int:
            address = plain(tensor)
            self.tensors.pop(address, None)  # to the end
            self.tensors[address] = tensor
            return address

        torch.Tensor.data_ptr = data_ptr  # type: ignore[method-assign]

    def _encode(self, memory: Memory, kind: Any, value: Any) -> bytes:
        if kind is ctypes.c_double:
            return words(DOUBLE) + struct.pack("<d", value) + words(0)
        if kind is not ctypes.c_void_p:
            return words(WHOLE, ctypes.c_int64(int(value)).value, 0)
        if value is None or (isinstance(value, int) and value == 0):
            return words(NOTHING, 0, 0)
        if isinstance(value, int):
            return words(PLACE, *memory.place(value))
        return words(PLACE, *memory.array(value))

    def _write(self, name: str, memory: Memory, before: list[bytes], encoded: list[bytes], status: int) -> None:
        self.calls.write(words(len(name)) + name.encode() + words(len(before)))
        for content, addresses in zip(before, memory.addresses, strict=True):
            self.calls.write(words(len(content)) + content + words(len(addresses)) + b"".join(addresses))
        self.calls.write(words(len(encoded)) + b"".join(encoded))
        plain = [index for index, addresses in enumerate(memory.addresses) if not addresses]
        after = memory.contents()
        self.results.write(words(status) + b"".join(after[index] for index in plain))
        self.kinds.append((name, [f"{memory.blocks[index][2]}:{len(after[index])}" for index in plain]))


def pytest_configure() -> None:
    library = binding._functions()
    assert combined_native._functions() is library
    recorder = Recorder(library, Path(os.environ["OPENMINED_RECORD"]))
    binding._functions = combined_native._functions = lambda: recorder  # type: ignore[assignment, return-value]
    recorders.append(recorder)


def pytest_unconfigure() -> None:
    for recorder in recorders:
        recorder.finish()
