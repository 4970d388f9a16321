"""How a command ends: exit codes for scripts, and errors that say what to do.

Knows what each exception of ours means to somebody at a terminal; prints nothing.
"""

from __future__ import annotations

from enum import IntEnum

from nats_streaming.errors import (
    AckTimeout,
    BenchError,
    ClientError,
    ConfigError,
    ConnectionLost,
    MonitoringError,
    MonitoringNotFoundError,
    NoResponse,
    PublishError,
    StoreError,
    StreamingError,
    SubscriptionError,
    TransferError,
)


class ExitCode(IntEnum):
    """Every code `nats-streaming` ends with; the texts go into the documentation."""

    OK = 0, "done"
    USAGE = 1, "wrong arguments or settings"
    NO_CONNECTION = 2, "NATS cannot be reached, or refuses us"
    NO_ANSWER = 3, "NATS is there, but no streaming server answers for this cluster ID"
    TIMEOUT = 4, "what was waited for did not come in time"
    REFUSED = 5, "the streaming server refused the request"
    NOT_FOUND = 6, "there is no such channel or client"
    NO_MONITORING = 7, "the monitoring port cannot be reached, or is not a streaming server's"
    DAMAGED = 8, "the store is damaged: something that was stored cannot be given back"
    IN_USE = 9, "a server uses the directory"
    INCOMPLETE = 10, "not everything was sent, acked, received or imported"
    FAILED = 11, "a file cannot be read or written"
    BUG = 70, "an error in this program"
    INTERRUPTED = 130, "ended by Ctrl-C"
    READER_GONE = 141, "who read the output has closed it"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class CommandFailed(Exception):
    """A command ends here.

    Attributes:
        code: what the process exits with.
        text: what went wrong, a sentence without its full stop.
        remedy: what to do about it, "" if that is in the text.
    """

    def __init__(self, code: ExitCode, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.remedy = remedy


def failure_of(error: StreamingError | OSError) -> CommandFailed:
    """What an error of another room means for the command that met it."""
    from nats_streaming.stores.file.root_lock import DirectoryInUseError

    match error:
        case DirectoryInUseError():
            return CommandFailed(ExitCode.IN_USE, str(error), "stop that server, or look at a copy of the directory")
        case MonitoringNotFoundError():
            return CommandFailed(ExitCode.NOT_FOUND, str(error))
        case MonitoringError():
            return CommandFailed(
                ExitCode.NO_MONITORING,
                str(error),
                "start the server with -m 8222, or say with --monitor where it listens",
            )
        case AckTimeout() | NoResponse():
            return CommandFailed(ExitCode.TIMEOUT, str(error), "is the server still there? Perhaps it needs --timeout")
        case TransferError() | BenchError():
            return CommandFailed(ExitCode.INCOMPLETE, str(error))
        case PublishError() | SubscriptionError():
            return CommandFailed(ExitCode.REFUSED, str(error))
        case ConnectionLost() | ClientError():
            return CommandFailed(ExitCode.NO_CONNECTION, str(error))
        case ConfigError():
            return CommandFailed(ExitCode.USAGE, str(error))
        case StoreError():
            return CommandFailed(ExitCode.FAILED, str(error))
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            return CommandFailed(ExitCode.FAILED, f"{place}{error.strerror or error}")
    return CommandFailed(ExitCode.FAILED, str(error))
