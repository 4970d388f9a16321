"""What happens to the files of a slice whose messages are all gone: removed, or handed to the archive script.

The script is started with three arguments: channel, data file, index file, both renamed to end in `.bak`.
It runs beside everything else and must remove the files; closing waits for it.

Source: stores specification, section 2.6 (archive script).
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading

from nats_streaming.errors import bare, quoted
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.slices import BACKUP_SUFFIX, Slice

_logger = logging.getLogger("nats_streaming")


class Archive:
    """Thread-safe; one per store directory."""

    def __init__(self, files: Files, script: str) -> None:
        """
        Args:
            files: what reaches the file system.
            script: what is run; "" removes the files.
        """
        self._files = files
        self._script = script
        self._lock = threading.Lock()
        self._running: set[threading.Thread] = set()

    def slice_gone(self, channel: bytes, which: Slice) -> None:
        """Remove or archive the files of a slice."""
        # An index without its data file is what the Go server cannot read: so it goes first, and comes last.
        if not self._script:
            self._files.unlink(which.index_path)
            self._files.unlink(which.data_path)
            return
        data, index = which.data_path + BACKUP_SUFFIX, which.index_path + BACKUP_SUFFIX
        if self._files.exists(which.index_path):
            self._files.rename(which.index_path, index)
        if self._files.exists(which.data_path):
            self._files.rename(which.data_path, data)
        thread = threading.Thread(target=self._run, args=(channel, data, index), name="archive script")
        with self._lock:
            self._running.add(thread)
        thread.start()

    def _run(self, channel: bytes, data: str, index: str) -> None:
        try:
            done = subprocess.run(
                [self._script, os.fsdecode(channel), data, index],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output = done.stdout.decode("utf-8", "replace")
            failure = f"exit status {done.returncode}" if done.returncode else ""
        except OSError as error:
            failure, output = str(error), ""
        if failure:
            _logger.info("Error invoking archive script %s: %s (output=%s)", quoted(self._script), failure, output)
        else:
            _logger.info("Output of archive script for %s (%s and %s): %s", bare(channel), data, index, output)
        with self._lock:
            self._running.discard(threading.current_thread())

    def wait(self) -> None:
        """Return when no script runs any more."""
        with self._lock:
            running = list(self._running)
        for thread in running:
            thread.join()
