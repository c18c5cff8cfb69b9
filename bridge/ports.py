"""Addresses and ports to listen on: is a port free, which one is, and who holds it."""

import ipaddress
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from bridge.exceptions import UnityEnvironmentException

_TOOL_TIMEOUT_SECONDS = 2.0
_SHOWN_COMMAND_LENGTH = 100
_ALL = {"0.0.0.0", "::"}


def check_port(port: int) -> int:
    """Returns `port`; raises UnityEnvironmentException when it is not a port number (1 to 65535)."""
    if not 1 <= port <= 65535:
        raise UnityEnvironmentException(f"{port} is not a port: choose a number from 1 to 65535")
    return port


@cache
def ipv6_loopback_exists() -> bool:
    """Whether a program here can listen on ::1; many containers have no IPv6."""
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def loopback_addresses() -> list[str]:
    """127.0.0.1 and, where there is one, ::1: Unity dials `localhost`, which may be either."""
    return ["127.0.0.1", *(["::1"] if ipv6_loopback_exists() else [])]


def addresses_of(listen: str | None) -> list[str]:
    """What to listen on: the loopback addresses, and `listen`, a name or address of this machine (0.0.0.0: all).

    Raises UnityEnvironmentException when it is no address of this machine.
    """
    loopback = loopback_addresses()
    if listen is None:
        return loopback
    try:
        family, _, _, _, (address, *_) = socket.getaddrinfo(listen, None, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise UnityEnvironmentException(
            f"--listen {listen}: this machine has no such address ({error.strerror}); use one of its own, or leave "
            "--listen out to be reached from this machine alone"
        ) from error
    if address in _ALL:  # gRPC makes IPv4 and IPv6 of each
        return [address]
    return [*loopback, *({str(address)} - set(loopback))]


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def port_is_free(port: int, addresses: Sequence[str] | None = None) -> bool:
    """Whether a server can listen on `port` of these addresses, by default the loopback ones.

    Connections of an ended server that linger (TIME_WAIT) do not count as taken. Raises UnityEnvironmentException when
    `port` is no port number, or one that only an administrator may use.
    """
    check_port(port)
    wanted = list(loopback_addresses() if addresses is None else addresses)
    if not _ALL.isdisjoint(wanted) or sys.platform not in ("linux", "win32"):
        # BSD and macOS let 127.0.0.1 be bound beside a listener on all interfaces. Nothing listens: no firewall asks.
        wanted += ["0.0.0.0", *(["::"] if ipv6_loopback_exists() else [])]
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    return all(_can_bind(families[ipaddress.ip_address(each).version], each, port) for each in wanted)


def _can_bind(family: socket.AddressFamily, address: str, port: int) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if sys.platform == "win32":  # SO_REUSEADDR would let two servers share the port there
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, port))
        except PermissionError as error:
            if sys.platform == "win32":  # also the answer for a port that is taken or reserved
                return False
            raise UnityEnvironmentException(
                f"port {port} may only be used by an administrator: choose a port from 1024 to 65535"
            ) from error
        except OSError:
            return False
    return True


def find_free_port(first: int, count: int = 100, addresses: Sequence[str] | None = None) -> int:
    """The lowest free port of the `count` ports from `first` on; raises UnityEnvironmentException when none is free."""
    check_port(first)
    last = min(first + count - 1, 65535)
    for port in range(first, last + 1):
        if port_is_free(port, addresses):
            return port
    holder = describe_port_holder(first, prefix=f"; {first} is held by ")
    raise UnityEnvironmentException(f"none of the ports {first} to {last} is free{holder}; choose another first port")


def describe_port_holder(port: int, prefix: str = "held by ") -> str:
    """Who listens on `port`, as in "held by process 1234 (python server.py)"; "" if that is unknown. Never raises."""
    try:
        if sys.platform == "linux":
            holder = _holder_on_linux(port)
        elif sys.platform == "win32":
            holder = _holder_from_netstat(port)
        else:
            holder = _holder_from_lsof(port)
    except (
        OSError,
        ValueError,
        IndexError,
        subprocess.SubprocessError,
    ):  # a help to the reader, never worth another error
        return ""
    return f"{prefix}{holder}" if holder else ""


def _process(pid: int, command: str) -> str:
    command = " ".join(command.split())
    if len(command) > _SHOWN_COMMAND_LENGTH:
        command = command[: _SHOWN_COMMAND_LENGTH - 3] + "..."
    return f"process {pid} ({command})" if command else f"process {pid}"


def _holder_on_linux(port: int) -> str:
    sockets = dict(_sockets_on_linux(port))  # inode: user id
    if not sockets:
        return ""
    links = {f"socket:[{inode}]" for inode in sockets}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(_target(descriptor) in links for descriptor in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
                return _process(int(process.name), shlex.join(words) if words != [""] else "")
        except OSError:  # ended meanwhile, or another user's
            continue
    return f"a process of another user (user id {next(iter(sockets.values()))})"


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:  # closed meanwhile; the process's other descriptors still count
        return ""


def _sockets_on_linux(port: int) -> Iterator[tuple[str, int]]:
    """Inode and user id of each listening socket on `port`: columns 10 and 8 of /proc/net/tcp."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            is_listening = columns[3] == "0A"
            if is_listening and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9], int(columns[7])


def _output_of(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_SECONDS, check=False
    ).stdout


def _holder_from_lsof(port: int) -> str:
    for line in _output_of("lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fp").splitlines():
        if line.startswith("p"):
            pid = int(line[1:])
            return _process(pid, _output_of("ps", "-o", "command=", "-p", str(pid)))
    return ""


def _holder_from_netstat(port: int) -> str:
    for line in _output_of("netstat", "-ano").splitlines():
        # "TCP  127.0.0.1:5005  0.0.0.0:0  LISTENING  1234"; the state's name is translated, the remote port 0 is not
        columns = line.split()
        if len(columns) >= 5 and columns[0] == "TCP" and columns[1].endswith(f":{port}") and columns[2].endswith(":0"):
            pid = int(columns[-1])
            name = _output_of("tasklist", "/FI", f"PID eq {pid}", "/FO", "CSV", "/NH").partition(",")[0].strip('" \r\n')
            return _process(pid, name)
    return ""
