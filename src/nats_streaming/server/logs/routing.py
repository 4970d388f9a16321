"""Log lines of one server to a logger of its own, although all of them come from the same modules.

A context variable says whose work is going on. Callbacks and tasks inherit it from what started them, so everything
that a server's `start` and `stop` set in motion carries it along; threads that write files log nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from nats_streaming.server.logs.lines import NATS_SERVER_LOGGER, STREAMING_LOGGER

_logger: ContextVar[logging.Logger | None] = ContextVar("nats_streaming.logger", default=None)


@contextmanager
def logging_to(logger: logging.Logger | None) -> Iterator[None]:
    """Have what begins inside, and all that follows from it, logged to `logger`; None changes nothing."""
    if logger is None:
        yield
        return
    _install(logger)
    token = _logger.set(logger)
    try:
        yield
    finally:
        _logger.reset(token)


def _install(logger: logging.Logger) -> None:
    """Let records reach the filter that hands them on: the level of our own loggers must not be above the wanted."""
    for name in (STREAMING_LOGGER, NATS_SERVER_LOGGER):
        ours = logging.getLogger(name)
        if _hand_on not in ours.filters:
            ours.addFilter(_hand_on)
        wanted = logger.getEffectiveLevel() or 1  # 0 would mean that of the root logger
        if ours.getEffectiveLevel() > wanted:
            ours.setLevel(wanted)


def _hand_on(record: logging.LogRecord) -> bool:
    logger = _logger.get()
    if logger is None:
        return True
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
    return False
