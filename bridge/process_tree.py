"""A process together with all that it starts: ended as one, and never left behind, however this process ends."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import BinaryIO, TypeVar

_Result = TypeVar("_Result")


class _SpawningThread:
    """The one thread that starts processes.

    Linux sends the parent-death signal when the *thread* that started a process ends, so it must live as long as we do.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, start: Callable[[], _Result]) -> _Result:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="player-spawning", daemon=True)
                self._thread.start()
        future: Future[_Result] = Future()

        def work() -> None:
            try:
                future.set_result(start())
            except BaseException as error:  # raised again where the result is awaited
                future.set_exception(error)

        self._work.put(work)
        return future.result()

    def _loop(self) -> None:
        while True:
            self._work.get()()


_spawning_thread = _SpawningThread()


def in_spawning_thread(start: Callable[[], _Result]) -> _Result:
    """Calls `start`, which makes a ProcessTree, in the thread in which that must be done; raises what it raises."""
    return _spawning_thread.run(start)


if sys.platform == "win32":  # never run by its authors
    from bridge import windows_job

    class ProcessTree:
        """The process of `command`, in a job that Windows ends when this process ends. Raises OSError."""

        def __init__(self, command: Sequence[str], output: BinaryIO) -> None:
            self._lock = threading.Lock()
            self._job = windows_job.Job()
            # Suspended until it is in the job, so that nothing it starts escapes; a group of its own against Ctrl-C.
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | windows_job.CREATE_SUSPENDED
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, creationflags=flags
                )
            except OSError:
                self._job.close()
                raise
            self.pid = self._process.pid
            try:
                self._job.add_and_resume(self.pid)
            except OSError:
                self._process.kill()
                self._process.wait()
                self._job.close()
                raise

        def wait(self) -> int:
            """Waits until the process itself has ended, ends what it left, returns its exit code; call it once."""
            returncode = self._process.wait()
            with self._lock:
                self._job.close()
            return returncode

        def terminate(self) -> None:
            """Ends all processes: Windows knows no polite request that a program without a window would hear."""
            self.kill()

        def kill(self) -> None:
            """Ends all processes, whether they like it or not."""
            with self._lock:
                self._job.terminate()

else:
    from bridge import parent_death

    _lifelines: set[int] = set()  # the ends of the watchers' pipes that this process holds open while it lives

    class ProcessTree:
        """The process of `command`, leader of a new session, started and guarded by `parent_death.py`.

        Raises OSError when it cannot be started, with the error number of the attempt to execute it.
        """

        def __init__(self, command: Sequence[str], output: BinaryIO) -> None:
            self._lock = threading.Lock()
            self._ended = False
            watched, self._lifeline = os.pipe()
            error_read, error_write = os.pipe()
            _lifelines.add(self._lifeline)
            wrapper = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), str(error_write)]
            try:
                self._process = subprocess.Popen(
                    [*wrapper, *command],
                    stdin=watched,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C does not reach it
                    pass_fds=(error_write,),
                )
            except OSError:
                os.close(error_read)
                self._release_watcher()
                raise
            finally:
                os.close(watched)
                os.close(error_write)
            self.pid = self._process.pid
            with open(error_read, "rb") as errors:
                error_number = errors.read()  # returns when the player is executed
            if error_number:
                self._release_watcher()
                self._process.wait()
                raise OSError(int(error_number), os.strerror(int(error_number)))

        def wait(self) -> int:
            """Waits until the process itself has ended, ends what it left, returns its exit code; call it once.

            The code is minus the number of the signal where one ended it.
            """
            if sys.platform == "linux":
                with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored: nothing remains to be waited for
                    # It stays a zombie for now, which keeps others from getting its number.
                    os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            else:
                self._process.wait()
            parent_death.kill_session(self.pid)
            self._release_watcher()
            with self._lock:
                self._ended = True
                return self._process.wait()

        def terminate(self) -> None:
            """Asks all processes to end (SIGTERM)."""
            with self._lock:
                if not self._ended:
                    parent_death.signal_session(self.pid, signal.SIGTERM)

        def kill(self) -> None:
            """Ends all processes, whether they like it or not."""
            with self._lock:
                if not self._ended:
                    parent_death.kill_session(self.pid)

        def _release_watcher(self) -> None:
            """Lets the watcher go without killing anybody."""
            with contextlib.suppress(BrokenPipeError):  # somebody ended it
                os.write(self._lifeline, b".")
            _lifelines.discard(self._lifeline)
            os.close(self._lifeline)

    def _after_fork_in_child() -> None:
        """A fork of the trainer (multiprocessing) must not keep players alive, nor start any in a thread it lacks."""
        global _spawning_thread
        _spawning_thread = _SpawningThread()
        for lifeline in _lifelines:
            os.close(lifeline)
        _lifelines.clear()

    os.register_at_fork(after_in_child=_after_fork_in_child)
