"""A real file system of a few kilobytes or megabytes for one server process, to be filled and freed by a test."""

from __future__ import annotations

from pathlib import Path

from tests.support.servers import executable

_WRAPPER = """#!/bin/sh
exec unshare --user --map-root-user --mount /bin/sh -c '
    mount -t tmpfs -o size={size} none "{inside}" && exec "$@"
' sh "{program}" "$@"
"""


class SmallDisk:
    """Mounted in a mount namespace of the server's own, so that no privilege is needed and nothing stays behind.

    Attributes:
        inside: its directory, as the server sees it.
        wrapper: what to start in place of the server.
    """

    def __init__(self, directory: Path, size: int) -> None:
        """
        Args:
            size: bytes.
        """
        self.inside = directory / "disk"
        self.inside.mkdir()
        self.wrapper = directory / "on-small-disk"
        self.wrapper.write_text(_WRAPPER.format(size=size, inside=self.inside, program=executable()))
        self.wrapper.chmod(0o755)
        self._root = Path("/")

    def attach(self, pid: int) -> None:
        """Look at it with the eyes of the running server."""
        self._root = Path(f"/proc/{pid}/root")

    def outside(self, path: Path) -> Path:
        """Where the test finds a file of the server."""
        return self._root / path.relative_to("/")

    def fill(self, leave: int = 0) -> None:
        """Take all the room there is, but for about `leave` bytes."""
        filler = self.outside(self.inside / "filler")
        with filler.open("ab", buffering=0) as file:
            block = 1 << 16
            while block:
                try:
                    if file.write(bytes(block)) < block:
                        block >>= 1
                except OSError:
                    block >>= 1
            if leave:
                file.truncate(max(0, file.tell() - leave))

    def free(self) -> None:
        """Give the room back."""
        self.outside(self.inside / "filler").unlink()
