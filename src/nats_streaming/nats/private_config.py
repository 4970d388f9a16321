"""Hands a configuration text with secrets to a child process so that nobody else can read it.

On Linux the text is a file in memory without a name, inherited by the child and opened by it as
`/proc/self/fd/N`: nothing is on a disk, nothing is left behind even by SIGKILL, and the child can read it
again to reload. Standard input would serve once only. Elsewhere it is a file of mode 0600 in a new directory
of mode 0700, removed by `close`.
"""

from __future__ import annotations

import os


class PrivateConfig:
    """One configuration text, readable by us and by children that get `inherited`."""

    def __init__(self, text: str) -> None:
        self._memory = -1
        self._directory = ""
        if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
            self._memory = os.memfd_create("nats-server.conf")
            self.path = f"/proc/self/fd/{self._memory}"
        else:
            from tempfile import mkdtemp

            self._directory = mkdtemp(prefix="nats-streaming-")
            self.path = os.path.join(self._directory, "nats-server.conf")
        self.write(text)

    @property
    def inherited(self) -> tuple[int, ...]:
        """File descriptors that the child must get under their own numbers."""
        return () if self._memory < 0 else (self._memory,)

    def write(self, text: str) -> None:
        """Replace the text; a child sees it when it reads `path` again."""
        data = text.encode("utf-8", "surrogateescape")
        if self._memory >= 0:
            os.ftruncate(self._memory, 0)
            os.lseek(self._memory, 0, os.SEEK_SET)
            os.write(self._memory, data)
            return
        # Beside the old file and in one step: a reload must not read half of it.
        fresh = self.path + ".new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        os.replace(fresh, self.path)

    def close(self) -> None:
        """Drop the text. May be called more than once."""
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        if self._directory:
            for name in (self.path, self.path + ".new"):
                if os.path.exists(name):
                    os.remove(name)
            os.rmdir(self._directory)
            self._directory = ""
