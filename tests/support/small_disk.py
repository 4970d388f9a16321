"""A real file system of a few kilobytes or megabytes for a server, to be filled and freed by a test."""

from __future__ import annotations

import pwd
import subprocess
from pathlib import Path

from tests.support.servers import executable

_HOLD = 'mount -t tmpfs -o "size=$0" none "$1" && echo mounted && exec sleep 100000'
_WRAPPER = '#!/bin/sh\nexec nsenter --target {pid} --user --mount --preserve-credentials --wd="$PWD" "{program}" "$@"\n'


class SmallDisk:
    """Mounted in a mount namespace of its own, so that no privilege is needed and nothing stays behind.

    It lasts, restarts of the server included, until `close`.

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
        unshare = ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", _HOLD, str(size)]
        self._holder = subprocess.Popen([*unshare, str(self.inside)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"mounted\n", "no mount namespaces for users on this machine"
        self.wrapper = directory / "on-small-disk"
        self.wrapper.write_text(_WRAPPER.format(pid=self._holder.pid, program=executable()))
        self.wrapper.chmod(0o755)

    def enter(self, user: str) -> list[str]:
        """What to put before a command that is to see the disk, as a user that is not root and owns all of it."""
        known = pwd.getpwnam(user)
        inside = ["nsenter", "--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials"]
        return [*inside, "unshare", f"--map-user={known.pw_uid}", f"--map-group={known.pw_gid}"]

    def outside(self, path: Path) -> Path:
        """Where the test finds a file of the server."""
        return Path(f"/proc/{self._holder.pid}/root") / path.relative_to("/")

    def fill(self) -> None:
        """Take all the room there is."""
        with self.outside(self.inside / "filler").open("ab", buffering=0) as file:
            block = 1 << 16
            while block:
                try:
                    written = file.write(bytes(block))
                except OSError:
                    written = 0
                if written < block:
                    block >>= 1

    def free(self) -> None:
        """Give the room back."""
        self.outside(self.inside / "filler").unlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()
