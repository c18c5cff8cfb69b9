"""The trainer's end of the wire: where it listens, whom it answers, and how it ends."""

import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bridge
from bridge import ports
from bridge.exceptions import (
    PortInUseError,
    UnityEnvironmentException,
    UnityTimeOutException,
    UnityWorkerInUseException,
)
from bridge.messages import UnityMessageProto
from bridge.server import PlayerServer

pytestmark = pytest.mark.timeout(60)

REPOSITORY = str(Path(bridge.__file__).parents[1])
needs_ipv6 = pytest.mark.skipif(not ports.ipv6_loopback_exists(), reason="this machine has no ::1")
HOSTS = ["127.0.0.1", "localhost", pytest.param("[::1]", marks=needs_ipv6)]


@pytest.fixture
def serve(free_port: int) -> Iterator[Callable[..., PlayerServer]]:
    """A function that makes a PlayerServer, on `free_port` by default; all are closed in the end."""
    servers = []

    def start(port: int = free_port, worker_id: int = 0, listen: str | None = None) -> PlayerServer:
        servers.append(PlayerServer(port, worker_id, listen))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def numbered(number: int, size: int = 0) -> UnityMessageProto:
    """A message that carries a number, and is at least `size` bytes long."""
    return UnityMessageProto(header={"status": 200, "message": f"{number}" + "." * size})


def number_in(message: UnityMessageProto | bytes) -> int:
    if isinstance(message, bytes):
        message = UnityMessageProto.FromString(message)
    return int(message.header.message.rstrip("."))


def introduction() -> UnityMessageProto:
    message = UnityMessageProto()
    message.unity_output.rl_initialization_output.communication_version = "1.5.0"
    return message


def other_addresses() -> set[str]:
    """Those of this machine that are not its loopback addresses proper."""
    named = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)}
    return (named | ({"127.0.0.2"} if sys.platform == "linux" else set())) - {"127.0.0.1", "::1"}


def is_refused(message: UnityMessageProto) -> bool:
    return message.header.status == 400 and "another player is already connected" in message.header.message


class TestAddresses:
    @pytest.mark.parametrize("host", HOSTS)
    def test_it_answers_on_the_loopback_interfaces(self, serve, free_port: int, raw_player, host: str) -> None:
        server = serve()
        call = raw_player(free_port, host).begin(numbered(1))
        assert number_in(server.receive(10)) == 1
        server.send(numbered(2).SerializeToString())
        assert number_in(call.result(10)) == 2

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net")
    def test_it_listens_nowhere_else(self, serve, free_port: int) -> None:
        serve()
        listening = set()
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else ():
                _, local, _, state = line.split()[:4]
                address, _, port = local.partition(":")
                if state == "0A" and int(port, 16) == free_port:
                    listening.add(address)
        ipv4, ipv6 = {"0100007F", "0" * 16 + "FFFF00000100007F"}, {"0" * 24 + "01000000"}  # 127.0.0.1 has two spellings
        assert listening & ipv4
        assert listening - ipv4 == (ipv6 if ports.ipv6_loopback_exists() else set())

    def test_another_address_of_this_machine_is_refused(self, serve, free_port: int, caplog) -> None:
        serve()
        for address in other_addresses():
            with pytest.raises(OSError), socket.create_connection((address, free_port), timeout=2):
                pass
        assert caplog.messages == []

    @pytest.mark.parametrize("everywhere", ["0.0.0.0", pytest.param("::", marks=needs_ipv6)])
    def test_to_listen_on_all_addresses_opens_it_to_other_machines_and_is_warned_of(
        self, serve, free_port: int, raw_player, caplog, everywhere: str
    ) -> None:
        server = serve(listen=everywhere)
        for address in [*other_addresses(), "localhost", "127.0.0.1"]:
            if ":" not in address or everywhere == "::":
                with socket.create_connection((address, free_port), timeout=10):
                    pass
        call = raw_player(free_port).begin(numbered(1))
        assert number_in(server.receive(10)) == 1
        server.send(numbered(2).SerializeToString())
        assert number_in(call.result(10)) == 2
        shown = f"[::]:{free_port}" if everywhere == "::" else f"0.0.0.0:{free_port}"
        (warning,) = caplog.messages
        assert warning.startswith(f"Listening on {shown}, which other machines can reach.")
        for word in ("TLS", "token", "feed the trainer data, and stop it", "SSH tunnel", "bridge/README.md"):
            assert word in warning

    def test_one_more_address_is_listened_on_beside_the_loopback_ones(self, serve, free_port: int, caplog) -> None:
        for address in sorted(other_addresses()):
            server = serve(listen=address)
            for one in (address, "127.0.0.1"):
                with socket.create_connection((one, free_port), timeout=10):
                    pass
            server.close()
        assert len(caplog.messages) == len({each for each in other_addresses() if not ports.is_loopback(each)})

    @pytest.mark.parametrize("address", ["192.0.2.1", "no such name."])  # of documentation (RFC 5737): nobody has it
    def test_an_address_of_another_machine_is_refused(self, serve, address: str) -> None:
        with pytest.raises(UnityEnvironmentException, match=f"--listen {address}: this machine has no such address"):
            serve(listen=address)

    def test_a_port_that_is_taken_on_the_address_to_listen_on_is_in_use(self, serve, free_port: int) -> None:
        for address in sorted(other_addresses())[:1]:
            with socket.create_server((address, free_port)):
                with pytest.raises(PortInUseError):
                    serve(listen=address)
                server = PlayerServer.on_free_port(free_port, 0, address)
                assert server.port > free_port
                server.close()


class TestPort:
    def test_one_that_is_in_use_is_refused_with_its_holder_and_the_remedy(self, serve, free_port: int) -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", free_port))
            holder.listen()
            with pytest.raises(PortInUseError) as error:
                serve(worker_id=3)
        text = str(error.value)
        assert text.startswith(f"port {free_port} is in use")
        assert "--base-port" in text
        assert isinstance(error.value, UnityWorkerInUseException)

    def test_two_servers_do_not_share_one(self, serve) -> None:
        serve()
        with pytest.raises(PortInUseError):
            serve()

    def test_nor_do_two_programs(self, serve, free_port: int) -> None:
        serve()
        code = f"import sys; sys.path.insert(0, {REPOSITORY!r}); from bridge.server import *; PlayerServer({free_port})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
        by = f" by process {os.getpid()} (" if sys.platform == "linux" else ""
        assert f"PortInUseError: port {free_port} is in use{by}" in done.stderr

    def test_one_that_is_taken_between_the_look_and_the_leap(self, serve, free_port: int, monkeypatch) -> None:
        monkeypatch.setattr("bridge.server.port_is_free", lambda *_: True)
        before = threading.active_count()
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", free_port))
            holder.listen()
            with pytest.raises(PortInUseError):
                serve()
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() <= before

    def test_threads_that_look_for_free_ones_at_the_same_time_all_find_one(self, free_port: int, capfd) -> None:
        with ThreadPoolExecutor(8) as pool:
            servers = list(pool.map(PlayerServer.on_free_port, [free_port] * 8))
        found = {server.port for server in servers}
        for server in servers:
            server.close()
        assert len(found) == 8
        assert min(found) >= free_port
        assert capfd.readouterr().err == "", "gRPC writes there what fails"

    def test_it_can_be_used_again_at_once(self, serve, free_port: int, raw_player) -> None:
        for round in range(5):
            server = serve()
            player = raw_player(free_port)
            call = player.begin(numbered(round))
            assert number_in(server.receive(10)) == round
            server.send(numbered(round).SerializeToString())
            assert number_in(call.result(10)) == round
            held = player.begin(numbered(round))  # a connection with a call in it
            server.receive(10)
            server.close()
            assert UnityMessageProto.FromString(held.result(10)).header.status == 400

    @pytest.mark.parametrize("port", [0, 65536, -1])
    def test_what_is_no_port_is_refused(self, serve, port: int) -> None:
        with pytest.raises(UnityEnvironmentException, match=f"{port} is not a port"):
            serve(port)


class TestConversation:
    def test_calls_are_answered_one_after_the_other(self, serve, free_port: int, raw_player) -> None:
        server, player = serve(), raw_player(free_port)
        for number in range(200):
            call = player.begin(numbered(number))
            assert number_in(server.receive(10)) == number
            server.send(numbered(-number).SerializeToString())
            assert number_in(call.result(10)) == -number

    def test_messages_are_not_limited_to_4_mib(self, serve, free_port: int, raw_player) -> None:
        server, player = serve(), raw_player(free_port)
        size = 9 * 2**20
        call = player.begin(numbered(1, size))
        assert len(server.receive(10)) > size
        server.send(numbered(2, size).SerializeToString())
        assert len(call.result(10)) > size

    @pytest.mark.slow
    def test_a_fast_player_is_never_taken_for_gone(self, serve, free_port: int, raw_player) -> None:
        """Its next call comes before the server hears that the last one has ended."""
        server, player = serve(), raw_player(free_port)
        rounds = 1000

        def answer() -> None:
            for _ in range(rounds):
                server.receive(10)
                server.send(b"")

        trainer = threading.Thread(target=answer)
        trainer.start()
        for _ in range(rounds):
            player.begin().result(10)
        trainer.join(10)
        with pytest.raises(UnityTimeOutException):
            server.receive(0.05)

    def test_a_second_player_is_turned_away_while_the_first_goes_on(self, serve, free_port: int, raw_player) -> None:
        server, first, second = serve(), raw_player(free_port), raw_player(free_port)
        call = first.begin(introduction())
        server.receive(10)
        assert is_refused(second.exchange(introduction()))  # while the first waits for an answer
        server.send(numbered(1).SerializeToString())
        assert number_in(call.result(10)) == 1
        assert is_refused(second.exchange(introduction()))  # while the first simulates
        call = first.begin(numbered(2))
        assert number_in(server.receive(10)) == 2
        server.send(numbered(3).SerializeToString())
        assert number_in(call.result(10)) == 3

    def test_a_player_that_connects_anew_goes_on(self, serve, free_port: int, raw_player) -> None:
        server = serve()
        for number in range(3):
            call = raw_player(free_port).begin(numbered(number))
            assert number_in(server.receive(10)) == number
            server.send(b"")
            call.result(10)

    def test_garbage_from_a_stranger_is_turned_away(self, serve, free_port: int, raw_player) -> None:
        server, first, stranger = serve(), raw_player(free_port), raw_player(free_port)
        call = first.begin(introduction())
        server.receive(10)
        server.send(b"")
        call.result(10)
        answer = stranger._call(b"\xff\xff garbage", timeout=10, wait_for_ready=True)
        assert is_refused(UnityMessageProto.FromString(answer))


class TestWaiting:
    def test_the_time_limit_holds_and_the_text_is_the_callers(self, serve) -> None:
        server = serve()
        started = time.monotonic()
        with pytest.raises(UnityTimeOutException, match=r"^nobody there$"):
            server.receive(0.3, lambda: "nobody there")
        assert 0.3 <= time.monotonic() - started < 1.0
        with pytest.raises(UnityTimeOutException, match=r"within 0\.1 s"):
            server.receive(0.1)

    def test_one_can_wait_on_after_the_limit(self, serve, free_port: int, raw_player) -> None:
        server = serve()
        with pytest.raises(UnityTimeOutException):
            server.receive(0.05)
        call = raw_player(free_port).begin(numbered(1))
        assert number_in(server.receive(10)) == 1
        server.send(numbered(2).SerializeToString())
        assert number_in(call.result(10)) == 2

    def test_without_a_limit(self, serve, free_port: int, raw_player) -> None:
        server, player = serve(), raw_player(free_port)
        timer = threading.Timer(0.7, player.begin, [numbered(1)])
        timer.start()
        assert number_in(server.receive(None)) == 1

    def test_an_answer_without_a_question_is_refused(self, serve, free_port: int, raw_player) -> None:
        """It would be taken for the answer to the next message, and so on for ever."""
        server, player = serve(), raw_player(free_port)
        player.begin(numbered(1))
        server.receive(10)
        server.send(b"")
        with pytest.raises(UnityEnvironmentException, match="still busy"):
            server.send(b"")

    def test_a_player_that_hangs_up_is_noticed_at_once_and_stays_gone(self, serve, free_port: int, raw_player) -> None:
        server, player = serve(), raw_player(free_port)
        player.begin(numbered(1))
        server.receive(10)
        threading.Timer(0.1, player.close).start()
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(UnityEnvironmentException, match="closed its connection"):
                server.receive(10)
        assert time.monotonic() - started < 1.0
        server.send(b"for nobody")

    def test_the_last_words_of_a_player_that_hangs_up_are_heard_first(self, serve, free_port: int, raw_player) -> None:
        server, player = serve(), raw_player(free_port)
        call = player.begin(numbered(7))
        while server._requests.empty():
            time.sleep(0.001)
        call.cancel()
        assert number_in(server.receive(10)) == 7
        with pytest.raises(UnityEnvironmentException, match="closed its connection"):
            server.receive(10)


class TestEnd:
    def test_a_waiting_player_is_told_to_leave(self, serve, free_port: int, raw_player) -> None:
        server, player = serve(), raw_player(free_port)
        call = player.begin(numbered(1))
        server.receive(10)
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 0.5
        answer = UnityMessageProto.FromString(call.result(10))
        assert (answer.header.status, answer.header.message) == (400, "the trainer is closing")
        assert not answer.HasField("unity_input")

    def test_a_busy_player_is_told_when_it_calls_again(self, serve, free_port: int, raw_player) -> None:
        server, player = serve(), raw_player(free_port)
        call = player.begin(numbered(1))
        server.receive(10)
        server.send(b"")
        call.result(10)
        server.stop_player()
        assert player.exchange(numbered(2)).header.status == 400

    def test_no_player_at_all_is_no_reason_to_wait(self, serve) -> None:
        server = serve()
        started = time.monotonic()
        server.close()
        server.close()
        assert time.monotonic() - started < 0.5

    def test_no_threads_remain(self, serve, free_port: int, raw_player, wait_for) -> None:
        before = {thread.ident for thread in threading.enumerate()}
        server, player = serve(), raw_player(free_port)
        player.begin(numbered(1))
        server.receive(10)
        server.close()
        player.close()
        assert wait_for(lambda: {thread.ident for thread in threading.enumerate()} <= before, 10)

    def test_a_program_that_forgets_to_close_it_ends(self, free_port: int, raw_player) -> None:
        code = f"""
            import sys
            sys.path.insert(0, {REPOSITORY!r})
            from bridge.server import PlayerServer
            server = PlayerServer({free_port})
            print("listening", flush=True)
            server.receive(10)
        """
        program = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
        try:
            assert program.stdout.readline() == "listening\n"
            call = raw_player(free_port).begin(numbered(1))
            assert program.wait(10) == 0
            assert call.exception(10) is not None
        finally:
            program.kill()
            program.wait()
            program.stdout.close()
