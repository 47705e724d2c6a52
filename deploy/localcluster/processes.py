"""Child processes that never outlive us, with their output in a file and their last words in the error message.

Each child leads a session of its own: Ctrl-C in the terminal reaches us and not them, so that we can stop them in
order, and a signal to its group reaches what it started itself. The kernel kills a child when we die, however we die
(PR_SET_PDEATHSIG). That signal is tied to the *thread* that forked, so all forks happen in one thread that lives as
long as this process.
"""

import contextlib
import ctypes
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from deploy.localcluster.errors import LocalClusterError

_PR_SET_PDEATHSIG: Final = 1
_LAST_LINES: Final = 12
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Component:
    """One running child process.

    Attributes:
        name: what messages call it.
        log: the file with its stdout and stderr.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start `command`; its log is `<folder>/<name>.log`, appended to if it is there already."""
        self.name = name
        self.log = folder / f"{name}.log"
        self._process = _in_spawner(lambda: _spawn([str(word) for word in command], self.log, environment))

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group's."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """Its exit status, None if it still runs after that time."""
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def ensure_running(self) -> None:
        """Do nothing while it runs.

        Raises:
            LocalClusterError: it ended; with its exit status and last log lines.
        """
        if not self.running():
            message = f"{self.name} ended with status {self._process.returncode}; its last log lines:"
            raise LocalClusterError(f"{message}\n{self.last_lines()}")

    def last_lines(self) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        except OSError:
            return "(no log)"

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal to it and all that it started; nothing happens if it has ended."""
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal_number)

    def pause(self, timeout_s: float = 5.0) -> None:
        """Let it hang; returns when none of its threads runs any more.

        Raises:
            LocalClusterError: it ended, or it still runs after that time.
        """
        # A signal is only sent at once: on a busy machine its threads run on for a while and still answer.
        self.send(signal.SIGSTOP)
        wait_until(lambda: _hangs(self.pid), what=f"stopping {self.name}", watching=[self], timeout_s=timeout_s)

    def resume(self) -> None:
        """End a `pause()`."""
        self.send(signal.SIGCONT)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask it to end, then make it; returns when it is gone. May be called twice."""
        # A stopped (paused) process does not see SIGTERM until it is continued.
        for polite in (signal.SIGTERM, signal.SIGCONT):
            self.send(polite)
        if self.wait(timeout_s) is None:
            self.kill()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.send(signal.SIGKILL)
        self._process.wait()


def wait_until(
    ready: Callable[[], bool], *, what: str, watching: Sequence[Component], timeout_s: float, pause_s: float = 0.1
) -> None:
    """Poll until `ready()`.

    Raises:
        LocalClusterError: a watched component ended meanwhile, or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        for component in watching:
            component.ensure_running()
        if time.monotonic() > deadline:
            logs = "\n".join(f"{component.name}: {component.last_lines()}" for component in watching[-1:])
            raise LocalClusterError(f"{what} took longer than {timeout_s:.0f} s; the end of the log:\n{logs}")
        time.sleep(pause_s)


def _hangs(pid: int) -> bool:
    """Whether every thread of a process is stopped, by the state letter behind the name in `/proc/PID/task/*/stat`."""
    try:
        stats = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # A thread ended while we read.
        return False
    return all(stat.rpartition(")")[2].split()[0] in "Tt" for stat in stats)


def unwind_on_sigterm() -> bool:
    """Let SIGTERM unwind the stack as Ctrl-C does; False where somebody else handles it or this thread may not."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        return False
    signal.signal(signal.SIGTERM, _exit_on_signal)
    return True


def interrupt_once() -> None:
    """Let the first Ctrl-C or SIGTERM unwind the stack, and no later one cut short what it began to put away."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _exit_on_signal)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    _ignore_from_now_on()
    raise KeyboardInterrupt


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    _ignore_from_now_on()
    raise SystemExit(128 + number)


def _ignore_from_now_on() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now; another process may take one before we do."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [int(bound.getsockname()[1]) for bound in sockets]


def _spawn(command: Sequence[str], log: Path, environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # We may have died between the fork and the line above.
        if os.getppid() != parent:
            os._exit(1)

    with log.open("ab") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=log.parent,
            env=environment,
            start_new_session=True,
            # Safe beside other threads as far as it goes: it takes no lock and imports nothing.
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )


_Job = tuple[Callable[[], subprocess.Popen[bytes]], "Future[subprocess.Popen[bytes]]"]
_jobs: "queue.SimpleQueue[_Job]" = queue.SimpleQueue()
_start_spawner = threading.Lock()
_spawner: threading.Thread | None = None


def _in_spawner(fork: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    global _spawner  # noqa: PLW0603 one thread for the whole process is the point
    with _start_spawner:
        if _spawner is None or not _spawner.is_alive():
            _spawner = threading.Thread(target=_serve_forks, name="localcluster-spawner", daemon=True)
            _spawner.start()
    result: Future[subprocess.Popen[bytes]] = Future()
    _jobs.put((fork, result))
    return result.result()


def _serve_forks() -> None:
    while True:
        fork, result = _jobs.get()
        try:
            result.set_result(fork())
        except BaseException as error:
            # It is raised again in the caller's thread.
            result.set_exception(error)
