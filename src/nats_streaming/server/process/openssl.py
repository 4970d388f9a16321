"""Keeps OpenSSL out of a process that encrypts no connection: it is 4 MB, a tenth of what a server occupies.

asyncio and uvloop import `ssl` whether or not they will use it. While they are imported it is therefore missing for
asyncio, which takes us for a Python without OpenSSL, and hollow for uvloop, which only picks names from it. Whoever
imports `ssl` later gets the real one; but no event loop of this process can encrypt a connection any more.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final, NoReturn

from nats_streaming.server.direct_clients import why_not_plain
from nats_streaming.server.monitoring_port import is_monitoring_on
from nats_streaming.server.settings.options import Options

_UNENCRYPTED_STORES: Final = frozenset({"MEMORY", "FILE"})  # others may have a connection to a database
_LEFT_OUT: Final = "this server was started with a configuration without TLS, and has to be started again for it"

_is_left_out = False


def may_encrypt(options: Options) -> bool:
    """Whether a connection of this process might come to be encrypted; when in doubt it might."""
    return bool(
        options.store_type not in _UNENCRYPTED_STORES
        or options.nats_server_url
        or why_not_plain(options.nats)
        or options.link.wants_tls
        or is_monitoring_on(options)
    )


def leave_out_openssl() -> None:
    """Import asyncio and uvloop without it. Does nothing where somebody else has imported one of the three."""
    global _is_left_out
    if sys.platform == "win32" or not {"asyncio", "uvloop", "ssl"}.isdisjoint(sys.modules):
        return
    modules: dict[str, Any] = sys.modules
    modules["ssl"] = None  # makes an import fail
    try:
        import asyncio  # noqa: F401 - what it loads

        modules["ssl"] = _Hollow("ssl")
        import uvloop  # noqa: F401 - what it loads
    finally:
        del modules["ssl"]
    _is_left_out = True


def why_no_tls() -> str:
    """Why no connection of this process can be encrypted; "" if it can be."""
    return _LEFT_OUT if _is_left_out else ""


class _Hollow(ModuleType):
    """Has any name: a number for one in capitals, else a class that may stand behind `except` and in `isinstance`."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0 if name.isupper() else type(name, (_Missing,), {})


class _Missing(OSError):
    """Cannot be made."""

    def __new__(cls, *_arguments: object, **_options: object) -> NoReturn:
        raise RuntimeError(f"no TLS: {_LEFT_OUT}")
