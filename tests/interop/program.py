"""Drive one scenario program: a real client library in its own process, obeying the line protocol of README.md."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import IO

from .prepare import Program

ANSWER_SECONDS = 30.0
MESSAGE_SECONDS = 30.0

# How long a subscription must stay silent for a test to believe that nothing more comes: long against a delivery on
# loopback.
QUIET_SECONDS = 0.25


Option = str | int | bool


class Refused(Exception):
    """The client library reported an error for a command; the text is the library's."""


class ClientProgram:
    """One client of the streaming server.

    A message is shown as `sequence payload`, or `sequenceR payload` when it is redelivered.
    """

    def __init__(self, program: Program) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process; see end()
        self.process = subprocess.Popen(
            program.command,
            env={**os.environ, **program.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )
        self._changed = threading.Condition()
        self._answers: deque[str] = deque()
        self._messages: dict[str, deque[str]] = defaultdict(deque)
        self._lost: str | None = None
        self._ended = False
        self._history: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # Commands.

    def connect(self, url: str, cluster: str, client_id: str, ping_seconds: int = 5, ping_max_out: int = 3) -> None:
        self.command("connect", url, cluster, client_id, str(ping_seconds), str(ping_max_out))

    def publish(self, channel: str, payload: str | bytes) -> None:
        """Publish and wait for the server's ack."""
        self.command("publish", channel, _hex(payload))

    def publish_async(self, channel: str, count: int, prefix: str) -> None:
        """Publish `prefix`1 to `prefix`count without waiting between them, then wait for all acks."""
        self.command("publish_async", channel, str(count), _hex(prefix))

    def subscribe(self, name: str, channel: str, **options: Option) -> None:
        """Subscribe; options are queue, durable, start, max_in_flight, ack_wait (seconds) and manual."""
        words = [key if value is True else f"{key}={value}" for key, value in options.items() if value is not False]
        self.command("subscribe", name, channel, *words)

    def ack(self, name: str, *sequences: int) -> None:
        for sequence in sequences:
            self.command("ack", name, str(sequence))

    def unsubscribe(self, name: str) -> None:
        self.command("unsubscribe", name)

    def close_subscription(self, name: str) -> None:
        self.command("close_subscription", name)

    def close(self) -> None:
        """Close the streaming connection; the program stays and may connect again."""
        self.command("close")

    def command(self, *words: str) -> None:
        """Send one command and wait for its answer. Raises Refused with the library's error text."""
        line = " ".join(words)
        assert self.process.stdin is not None
        with self._changed:
            self._history.append("> " + line[:200])
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        with self._changed:
            if not self._changed.wait_for(lambda: self._answers or self._ended, ANSWER_SECONDS):
                raise self._failure(f"no answer to `{words[0]}`")
            if not self._answers:
                raise self._failure(f"ended during `{words[0]}`")
            kind, _, text = self._answers.popleft().partition(" ")
        if kind == "error":
            raise Refused(text)

    # Expectations.

    def expect(self, name: str, *wanted: str) -> None:
        """The next messages of this subscription are these, in this order."""
        got = self.take(name, len(wanted))
        if got != list(wanted):
            raise self._failure(f"subscription {name}: wanted {list(wanted)}, got {got}")

    def expect_all(self, name: str, wanted: Iterable[str]) -> None:
        """Each of these messages comes, in any order, with others between: for what may legitimately be sent twice."""
        missing = set(wanted)
        while missing:
            missing.discard(self.take(name, 1, missing)[0])

    def expect_nothing(self, *names: str) -> None:
        """No message waits or comes for these subscriptions. Nothing announces absence, so this waits by the clock."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._messages[name] for name in names) or self._ended, QUIET_SECONDS)
            for name in names:
                if self._messages[name]:
                    raise self._failure(f"subscription {name}: wanted nothing, got {list(self._messages[name])}")

    def expect_lost(self, text: str) -> None:
        """The library reports that its connection is lost, and says why."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._lost is not None or self._ended, MESSAGE_SECONDS):
                raise self._failure("the connection was not reported lost")
            if text not in (self._lost or ""):
                raise self._failure(f"lost with {self._lost!r} instead of {text!r}")

    def take(self, name: str, count: int, wanted: object = "") -> list[str]:
        """The next `count` messages of this subscription."""
        with self._changed:
            waiting = self._messages[name]
            if not self._changed.wait_for(lambda: len(waiting) >= count or self._ended, MESSAGE_SECONDS):
                raise self._failure(f"subscription {name}: wanted {count} messages {wanted}, got {list(waiting)}")
            if len(waiting) < count:
                raise self._failure(f"subscription {name}: ended with {list(waiting)}")
            return [waiting.popleft() for _ in range(count)]

    def collect(self, name: str, seconds: float) -> list[str]:
        """Whatever waits for this subscription; if nothing does, what comes first within so many seconds."""
        with self._changed:
            waiting = self._messages[name]
            self._changed.wait_for(lambda: waiting or self._ended, seconds)
            got = list(waiting)
            waiting.clear()
        return got

    # The process.

    def kill(self) -> None:
        """SIGKILL: the connection is cut with nothing said to the server."""
        self.process.kill()
        self.process.wait(10)

    def end(self) -> None:
        """Let the program end by closing its input, kill it if it does not, and free what it held."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join(5)
        self.process.stdout.close()
        self.errors.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip("\r\n")
            kind, _, rest = line.partition(" ")
            with self._changed:
                self._history.append(f"< {time.monotonic():.3f} {line[:200]}")
                if kind in ("ok", "error"):
                    self._answers.append(line)
                elif kind == "lost":
                    self._lost = rest
                elif kind == "message":
                    name, sequence, redelivered, payload = rest.split(" ")
                    shown = "" if payload == "-" else bytes.fromhex(payload).decode("latin-1")
                    self._messages[name].append(f"{sequence}{'R' if redelivered == '1' else ''} {shown}")
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _failure(self, text: str) -> AssertionError:
        self.errors.seek(0)
        written = self.errors.read().decode(errors="replace")[-2000:]
        history = "\n".join(self._history[-40:])
        return AssertionError(f"{text}\nlast lines of the program:\n{history}\nits error output:\n{written}")


def _hex(payload: str | bytes) -> str:
    data = payload.encode() if isinstance(payload, str) else payload
    return data.hex() or "-"
