"""Two hosts on one Linux machine: network namespaces with a line of a given delay and rate between them.

python relay.py --delay-ms 10 [--rate-mbit 100] FIRST SECOND

makes the namespaces FIRST (10.77.0.1) and SECOND (10.77.0.2), each with the interface `line`, prints `ready`, and
carries packets between them until its standard input is closed. Needs root, `ip` and /dev/net/tun; the kernel needs no
netem: every packet that one TUN device gives is written to the other one when its time has come. `--delay-ms` is that
of one direction, half of what ping shows.
"""

import argparse
import contextlib
import fcntl
import os
import queue
import struct
import subprocess
import sys
import threading
import time

_TUNSETIFF, _TUN, _NO_INFORMATION = 0x400454CA, 0x0001, 0x1000
_LARGEST = 9000  # bytes of a packet: fewer packets for a relay written in Python
INTERFACE = "line"
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL, timeout=30)


def connect(namespace: str, address: str) -> int:
    """Gives the namespace its end of the line; the file descriptor is the other end."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    name = f"l{os.getpid()}-{address[-1]}"
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN | _NO_INFORMATION))
    ip("link", "set", name, "netns", namespace)
    inside = ("-n", namespace)
    ip(*inside, "link", "set", name, "name", INTERFACE, "mtu", str(_LARGEST))
    ip(*inside, "address", "add", f"{address}/24", "dev", INTERFACE)
    ip(*inside, "link", "set", INTERFACE, "up")
    ip(*inside, "link", "set", "lo", "up")
    return device


def carry(source: int, target: int, delay: float, rate: float | None) -> None:
    """Starts threads that carry packets from one device to the other: `delay` seconds later, at `rate` bytes/s."""
    packets: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def take() -> None:
        free = 0.0  # when the line has sent what came before
        while True:
            try:
                packet = os.read(source, _LARGEST + 64)
            except OSError:  # the namespace is gone, and the interface with it
                return
            now = time.monotonic()
            if rate is not None:
                free = now = max(now, free) + len(packet) / rate
            packets.put((now + delay, packet))

    def give() -> None:
        while True:
            due, packet = packets.get()
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            with contextlib.suppress(OSError):  # an interface that is down loses packets, as any does
                os.write(target, packet)

    for work in (take, give):
        threading.Thread(target=work, daemon=True).start()


def main() -> int:
    parser = argparse.ArgumentParser(description="Two hosts with a line between them.")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--rate-mbit", type=float)
    parser.add_argument("namespaces", nargs=2, metavar="NAMESPACE")
    arguments = parser.parse_args()
    made = []
    try:
        for namespace in arguments.namespaces:
            ip("netns", "add", namespace)
            made.append(namespace)
        first, second = (connect(*pair) for pair in zip(arguments.namespaces, ADDRESSES, strict=True))
        rate = None if arguments.rate_mbit is None else arguments.rate_mbit * 1e6 / 8
        carry(first, second, arguments.delay_ms / 1000, rate)
        carry(second, first, arguments.delay_ms / 1000, rate)
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        for namespace in made:
            ip("netns", "delete", namespace)
    return 0


if __name__ == "__main__":
    sys.exit(main())
