"""How many files and sockets this process may have open: as many as it is allowed to ask for, as a Go program does.

A client that comes through our listener takes two sockets, and the soft limit is 1,024 on most systems, for the sake of
programs that use `select`.
"""

from __future__ import annotations

import sys


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return  # macOS tells no limit and has one: what there is must do
