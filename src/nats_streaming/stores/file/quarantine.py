"""Damaged bytes are kept aside, never thrown away: `<file>.corrupt-<n>`, which no server reads.

    kept := one line of text "bytes <start> to <stop> of <file>", then those bytes

The name ends so that the Go server takes such a file for none of its own.
"""

from __future__ import annotations

import os

from nats_streaming.stores.file.file_io import Files

_CHUNK_BYTES = 1 << 20


def keep_aside(files: Files, path: str, start: int, stop: int) -> str:
    """Copy the bytes from `start` to `stop` of a file, and make the copy lasting.

    Returns:
        The path of the copy.
    """
    number = 1
    while files.exists(f"{path}.corrupt-{number}"):
        number += 1
    kept = f"{path}.corrupt-{number}"
    copy = files.open_new(kept)
    try:
        copy.write(f"bytes {start} to {stop} of {os.path.basename(path)}\n".encode("utf-8", "surrogateescape"))
        source = files.open_read(path)
        try:
            while start < stop:
                piece = source.pread(start, min(_CHUNK_BYTES, stop - start))
                if not piece:
                    break
                copy.write(piece)
                start += len(piece)
        finally:
            source.close()
        copy.sync()
    finally:
        copy.close()
    files.sync_directory(os.path.dirname(kept))
    return kept
