"""What a server is doing, as monitoring shows it, and why one has failed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

EXIT_FAILED: Final = 1
EXIT_ABORTED: Final = 2


class ServerState(StrEnum):
    """The values are those of `state` in the original's monitoring.

    A server has its first state from its making on: STANDALONE, or FT_STANDBY as a member of a
    fault-tolerance group. SHUTDOWN and FAILED are final.
    """

    STANDALONE = "STANDALONE"
    FT_STANDBY = "FT_STANDBY"
    FT_ACTIVE = "FT_ACTIVE"
    SHUTDOWN = "SHUTDOWN"
    FAILED = "FAILED"


class Failure(NamedTuple):
    """Why a server that had started cannot go on.

    Attributes:
        text: for the log's FTL line.
        exit_status: `EXIT_FAILED`, or `EXIT_ABORTED` for what the original panics at.
        fenced: another server may own the store: nothing may be written to it and no ack may leave any more.
    """

    text: str
    exit_status: int = EXIT_FAILED
    fenced: bool = False
