"""Starts a child process that cannot outlive us, not even when we are killed by SIGKILL.

- Linux: the kernel kills the child when the thread that started it ends (parent death signal). So the
  child is started on a thread that lives as long as the server: the event loop's.
- Other POSIX systems, and files whose privileges make Linux drop that signal: a shell started together
  with the child reads a pipe that only we hold open, and kills the child at its end.
- Windows: a job object that ends its processes when its last handle is closed.

The child gets a session of its own, so that Ctrl-C in a terminal reaches us and not it: we decide when it stops.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

_PR_SET_PDEATHSIG = 1

# The shell becomes the child by `exec`, so the process ID is the child's and the watchdog exists before it does.
# A line in the pipe means that the child has ended in our sight: then there is nothing left to kill.
_WATCHDOG = 'exec 3<&0 </dev/null; (read -r line <&3 || kill -9 $$) >/dev/null 2>&1 & exec "$@" 3<&-'


class ChildProcess:
    """A running child; its standard error is a pipe to us.

    Attributes:
        pid: process ID of the program itself.
        stderr: file descriptor to read its standard error from, non-blocking on POSIX.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        inherited: Sequence[int] = (),
        *,
        environment: Mapping[str, str],
        watchdog: bool | None = None,
    ) -> None:
        """Start it; returns when the program has been executed.

        Args:
            arguments: path of the executable, then its arguments.
            inherited: file descriptors for the child, under the same numbers (POSIX).
            environment: all of the child's variables.
            watchdog: on POSIX, whether a shell guards the child; None chooses as said above.

        Raises:
            OSError: it cannot be executed.
        """
        self._watchdog_pipe = -1
        self._job: object = None
        if sys.platform == "win32":
            self._process, self._job = _start_windows(arguments, environment)
        else:
            if watchdog is None:
                watchdog = sys.platform != "linux" or _loses_death_signal(arguments[0])
            if watchdog:
                self._process, self._watchdog_pipe = _start_with_watchdog(arguments, inherited, environment)
            else:
                self._process = _start_posix(arguments, inherited, environment, subprocess.DEVNULL, _death_signal())
        assert self._process.stderr is not None
        self.pid = self._process.pid
        self.stderr = self._process.stderr.fileno()

    def poll(self) -> int | None:
        """Its exit status if it has ended (negative: by that signal), else None."""
        status = self._process.poll()
        if status is not None:
            self._release()
        return status

    def terminate(self) -> None:
        """Ask it to stop; no error if it has ended."""
        if sys.platform == "win32":
            self._process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            self._process.terminate()

    def kill(self) -> None:
        """Stop it at once; no error if it has ended."""
        self._process.kill()

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end, blocking: for a child that was killed."""
        status = self._process.wait()
        self._release()
        return status

    def close_stderr(self) -> None:
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _release(self) -> None:
        if self._watchdog_pipe >= 0:
            with suppress(OSError):  # someone else has ended the watchdog
                os.write(self._watchdog_pipe, b"\n")
            os.close(self._watchdog_pipe)
            self._watchdog_pipe = -1


if sys.platform == "win32":
    from nats_streaming.nats.windows_job import KillOnCloseJob

    def _start_windows(
        arguments: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], KillOnCloseJob]:
        job = KillOnCloseJob()  # its handle is closed by our end, whatever ends us
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )
        try:
            job.assign(process)
        except OSError:
            process.kill()
            raise
        return process, job

else:

    def _start_posix(
        arguments: Sequence[str],
        inherited: Sequence[int],
        environment: Mapping[str, str],
        stdin: int,
        before_exec: Callable[[], None] | None,
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            list(arguments),
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            pass_fds=tuple(inherited),
            start_new_session=True,
            preexec_fn=before_exec,
        )
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        _enlarge_pipe(process.stderr.fileno())
        return process

    def _start_with_watchdog(
        arguments: Sequence[str], inherited: Sequence[int], environment: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], int]:
        """Returns the process and the end of the pipe that is to be kept open."""
        read_end, kept_end = os.pipe()
        try:
            shell = ["/bin/sh", "-c", _WATCHDOG, "sh", *arguments]
            return _start_posix(shell, inherited, environment, read_end, None), kept_end
        except BaseException:
            os.close(kept_end)
            raise
        finally:
            os.close(read_end)

    def _death_signal() -> Callable[[], None]:
        """What a child on Linux does before it executes its program."""
        import ctypes

        prctl = ctypes.PyDLL(None).prctl  # PyDLL: the lone thread of a forked child keeps the GIL
        parent = os.getpid()

        def die_with_parent() -> None:
            if prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0 or os.getppid() != parent:
                os._exit(1)  # without guard, or the parent was gone before the signal was set

        return die_with_parent

    def _loses_death_signal(path: str) -> bool:
        """Whether Linux clears the parent death signal when it executes `path`: it raises privileges."""
        try:
            if os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID):
                return True
            return sys.platform == "linux" and "security.capability" in os.listxattr(path)
        except OSError:
            return False

    def _enlarge_pipe(descriptor: int) -> None:
        """Let a talkative child (traces) go on while we are busy; its writes block when the pipe is full."""
        if sys.platform == "linux":
            import fcntl

            with suppress(OSError):  # above the user's limit: the default must do
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
