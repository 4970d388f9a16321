"""Work that waits for a disk between moments that need a lock."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager

from nats_streaming.errors import StoreError


def run_steps(steps: Generator[Callable[[], None]], lock: AbstractContextManager[object]) -> None:
    """Take every step, holding the lock between them and not during them."""
    with lock:
        step = next(steps, None)
    while step is not None:
        try:
            step()
        except StoreError as error:
            with lock:
                steps.throw(error)
            raise
        with lock:
            step = next(steps, None)
