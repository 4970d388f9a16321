"""The shell: from options to a running server. PUBLIC for programs that run one inside themselves: the names below.

They are loaded when they are asked for: the executable reads its flags before it loads a server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nats_streaming.server.in_thread import ServerThread, run_in_thread
    from nats_streaming.server.settings.library_options import (
        default_options,
        options_from_arguments,
        options_from_file,
    )
    from nats_streaming.server.settings.options import Options
    from nats_streaming.server.state import ServerState
    from nats_streaming.server.streaming_server import StreamingServer

__all__ = [
    "Options",
    "ServerState",
    "ServerThread",
    "StreamingServer",
    "default_options",
    "options_from_arguments",
    "options_from_file",
    "run_in_thread",
]

_WHERE = {
    "Options": "settings.options",
    "ServerState": "state",
    "ServerThread": "in_thread",
    "StreamingServer": "streaming_server",
    "default_options": "settings.library_options",
    "options_from_arguments": "settings.library_options",
    "options_from_file": "settings.library_options",
    "run_in_thread": "in_thread",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
