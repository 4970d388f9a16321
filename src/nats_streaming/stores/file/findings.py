"""What recovery or reading found to be wrong, for the log and for people who look into it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nats_streaming.errors import CorruptionError


class Severity(Enum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing that was not as it should be.

    Attributes:
        severity: ERROR when something that was stored cannot be given back.
        text: the whole log line; the original's where it has one.
        file: path of the file, "" if it is about none.
        offset: where in it, in bytes.
        stop: end of the bytes concerned; equal to `offset` when unknown.
        kept: path of the copy of those bytes, "" when none was made.
        channel: whose file it is, None for files of the root.
    """

    severity: Severity
    text: str
    file: str = ""
    offset: int = 0
    stop: int = 0
    kept: str = ""
    channel: bytes | None = None


class CorruptMessageError(CorruptionError):
    """A stored message is damaged; the text names file and offset.

    Attributes:
        file: path of the data file.
        offset: where its record begins, in bytes.
        sequence: of the message, as the index has it.
    """

    def __init__(self, text: str, file: str, offset: int, sequence: int) -> None:
        super().__init__(text)
        self.file = file
        self.offset = offset
        self.sequence = sequence
