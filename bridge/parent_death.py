"""Starts a player that cannot outlive its trainer, on Linux and macOS; uses nothing but the standard library.

    python -I -S parent_death.py TRAINER_PID ERROR_DESCRIPTOR PLAYER [ARGUMENT ...]

A build whose trainer is gone before it connects would run on in inference mode for ever. So this small program, which
becomes the player by exec and hence has its process id, first

1. leaves a watcher behind, blocked on reading standard input: a pipe that only the trainer holds open. However the
   trainer ends, the system closes the pipe; the watcher then kills the player's whole session. This also reaches the
   children of a player that is a shell script.
2. asks Linux to kill the player when the trainer dies, in case the watcher itself was killed. (Children do not inherit
   that wish.)

It runs as the leader of a new session. When the player cannot be executed, the error's number is written to
ERROR_DESCRIPTOR, which is closed without a word otherwise.
"""

import contextlib
import os
import signal
import sys
import time

assert sys.platform != "win32"  # which has job objects: windows_job.py

# How long processes may take to disappear after SIGKILL; only one that hangs inside the system takes longer.
_KILL_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1


def _session_members(session: int) -> list[int]:
    """Ids of the living processes (zombies are not) of a session."""
    if sys.platform == "linux":
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and _lives_in(name, session)]
    import subprocess  # not needed on Linux, where it would double this program's start

    listing = subprocess.run(["/bin/ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    processes = (line.split() for line in listing.splitlines())
    return [int(pid) for pid, state, *_ in processes if not state.startswith("Z") and _session_of(int(pid)) == session]


def _lives_in(name: str, session: int) -> bool:
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            # "pid (command) state parent group session ...", where the command may hold blanks and brackets
            state, _, _, its_session = file.read().rpartition(b")")[2].split()[:4]
    except OSError:  # ended meanwhile
        return False
    return int(its_session) == session and state not in (b"Z", b"X")


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def signal_session(session: int, number: int) -> bool:
    """Sends a signal to each process of a session, in whatever process group it is; returns whether there was any."""
    members = _session_members(session)
    for pid in members:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):  # ended meanwhile, or became another user's
            continue
    return bool(members)


def kill_session(session: int) -> None:
    """Kills all processes of a session, again and again, as they may be starting others, until all are gone."""
    deadline = time.monotonic() + _KILL_SECONDS
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)  # most are in the leader's group, which dies at one blow
    while signal_session(session, signal.SIGKILL) and time.monotonic() < deadline:
        time.sleep(0.005)


def _leave_watcher_behind(error_descriptor: int) -> None:
    """Raises OSError when no further process may be started."""
    session = os.getpid()
    child = os.fork()
    if child != 0:
        error = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if error != 0:
            raise OSError(error, os.strerror(error))
        return
    try:
        os.setsid()  # not in the session that it is to kill
        if os.fork() == 0:  # a grandchild, so that the player never sees a child that it did not start
            _watch(session, error_descriptor)
    except OSError as error:
        os._exit(error.errno or 1)
    finally:
        os._exit(0)


def _watch(session: int, error_descriptor: int) -> None:
    os.close(error_descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir("/")
    if os.read(0, 1) == b"":  # else the trainer is done with the player and says so
        kill_session(session)


def _die_with_trainer() -> None:
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):  # a Python without ctypes: the watcher has to do
        return
    nothing = ctypes.c_ulong(0)
    prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), nothing, nothing, nothing)


def main(arguments: list[str]) -> None:
    """Becomes the player; never returns."""
    trainer, error_descriptor, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    os.set_inheritable(error_descriptor, False)
    try:
        _leave_watcher_behind(error_descriptor)
        if sys.platform == "linux":
            _die_with_trainer()
        if os.getppid() != trainer:  # it died before the request above, which therefore never fires
            os._exit(1)
        # Python ignores these for itself, and a program that is executed would inherit that.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(command[0], command)
    except OSError as error:
        os.write(error_descriptor, str(error.errno).encode())
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
