"""Which ports are free, and who holds those that are not."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bridge import ports
from bridge.exceptions import UnityEnvironmentException

needs_ipv6 = pytest.mark.skipif(not ports.ipv6_loopback_exists(), reason="this machine has no ::1")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def listen(free_port: int) -> Iterator:
    """A function that listens on `free_port` of an address."""
    sockets = []

    def start(address: str) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sockets.append(listener)
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
        listener.bind((address, free_port))
        listener.listen()
        return listener

    yield start
    for listener in sockets:
        listener.close()


def test_a_port_that_nobody_uses_is_free(free_port: int) -> None:
    assert ports.port_is_free(free_port)
    assert ports.describe_port_holder(free_port) == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_taken_on_ipv4_alone_is_not_free(listen, free_port: int, address: str) -> None:
    listen(address)
    assert not ports.port_is_free(free_port)


@needs_ipv6
@pytest.mark.parametrize("address", ["::1", "::"])
def test_a_port_taken_on_ipv6_alone_is_not_free(listen, free_port: int, address: str) -> None:
    listen(address)
    assert not ports.port_is_free(free_port)


def test_without_ipv6_only_ipv4_is_asked(listen, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ipv6_loopback_exists", lambda: False)
    assert ports.port_is_free(free_port)
    listen("127.0.0.1")
    assert not ports.port_is_free(free_port)


def test_a_connection_that_lingers_after_its_server_does_not_count(listen, free_port: int) -> None:
    listener = listen("127.0.0.1")
    with socket.create_connection(("127.0.0.1", free_port)) as client:
        connection, _ = listener.accept()
        connection.close()  # the side that closes first is the one that lingers (TIME_WAIT)
        assert client.recv(1) == b""
    listener.close()
    assert ports.port_is_free(free_port)


def test_the_first_free_port_is_found(listen, free_port: int) -> None:
    listen("127.0.0.1")
    found = ports.find_free_port(free_port)
    assert free_port < found < free_port + 100
    assert ports.port_is_free(found)


def test_no_free_port_is_an_error_that_names_the_range_and_the_holder(listen, free_port: int) -> None:
    listen("127.0.0.1")
    with pytest.raises(UnityEnvironmentException, match=f"ports {free_port} to {free_port} is free") as caught:
        ports.find_free_port(free_port, count=1)
    assert sys.platform != "linux" or f"process {os.getpid()}" in str(caught.value)


def test_the_search_ends_at_the_last_port() -> None:
    with pytest.raises(UnityEnvironmentException, match="65536 is not a port"):
        ports.find_free_port(65536)
    assert ports.find_free_port(65500) <= 65535


@pytest.mark.parametrize("port", [-1, 0, 65536, 70000])
def test_numbers_that_are_no_ports_are_refused(port: int) -> None:
    with pytest.raises(UnityEnvironmentException, match=f"{port} is not a port: choose a number from 1 to 65535"):
        ports.port_is_free(port)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
@pytest.mark.parametrize("address", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_the_holder_is_named_with_its_command(free_port: int, address: str) -> None:
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\n"
        "s.bind((sys.argv[1], int(sys.argv[2]))); s.listen(); print('listening', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, address, str(free_port), "x" * 300]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "listening\n"
        description = ports.describe_port_holder(free_port)
        other_words = ports.describe_port_holder(free_port, prefix=" by ")
        holder.kill()
    assert description.startswith(f"held by process {holder.pid} ({sys.executable} -c ")
    assert description.endswith("...)") and len(description) < 150 and "\n" not in description
    assert other_words.startswith(f" by process {holder.pid} (")


def test_a_holder_that_cannot_be_told_is_no_error(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError("no")

    for function in ("_holder_on_linux", "_holder_from_lsof", "_holder_from_netstat"):
        monkeypatch.setattr(ports, function, refuse)
    assert ports.describe_port_holder(free_port) == ""


def test_lsof_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"lsof": "p4711\nf5\n", "ps": "python  server.py\n"}
    monkeypatch.setattr(ports, "_output_of", lambda *command: answers[command[0]])
    assert ports._holder_from_lsof(5005) == "process 4711 (python server.py)"
    answers["lsof"] = ""
    assert ports._holder_from_lsof(5005) == ""


def test_netstat_and_tasklist_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    netstat = (
        "\nAktive Verbindungen\n\n  Proto  Lokale Adresse  Remoteadresse  Status  PID\n"
        "  TCP    127.0.0.1:15005    0.0.0.0:0    ABHÖREN    1\n"
        "  TCP    127.0.0.1:5005    127.0.0.1:61234    HERGESTELLT    2\n"
        "  TCP    [::1]:5005    [::]:0    ABHÖREN    4711\n"
        "  UDP    0.0.0.0:5005    *:*    3\n"
    )
    answers = {"netstat": netstat, "tasklist": '"python.exe","4711","Console","1","20.000 K"\n'}
    monkeypatch.setattr(ports, "_output_of", lambda *command: answers[command[0]])
    assert ports._holder_from_netstat(5005) == "process 4711 (python.exe)"
