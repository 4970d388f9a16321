"""The options of the FILE store: names, defaults, and what is refused.

Source: stores specification, section 2.7.
"""

from __future__ import annotations

from dataclasses import dataclass

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ConfigError

CRC_POLYNOMIAL_DEFAULT = 0xEDB88320  # CRC-32 of IEEE 802.3, reflected: what zlib computes
UINT32_MAX = 0xFFFFFFFF


@dataclass(slots=True)
class FileOptions:
    """One attribute per flag `--file_…`, without that prefix.

    Attributes:
        directory: the root, flag `--dir`.
        compact_enabled: rewrite clients and subscription files once enough of them is void.
        compact_frag: percentage of void records that starts it.
        compact_interval_seconds: seconds between two of one file.
        compact_min_size: bytes below which a file is left alone.
        buffer_size: bytes gathered before a write; 0 writes each record at once.
        read_buffer_size: bytes read ahead; 0 reads single messages.
        crc: check what is read (it is always written).
        crc_poly: the reflected polynomial; nothing on disk remembers it.
        sync: whether commits, flushes and full slices are fsynced.
        auto_sync_ns: nanoseconds between fsyncs of what is not; 0 or less is never.
        slice_max_msgs, slice_max_bytes, slice_max_age_ns: a new slice begins when any of them is reached; all 0:
            a quarter of the channel's limits.
        slice_archive_script: what is run for a slice that goes.
        fds_limit: files open at a time, 0 is what the system allows.
        parallel_recovery: channels recovered at a time.
        truncate_bad_eof: cut a partial record at the end of a file off, once.
        strict: ours: refuse to start on corruption as the original does, instead of setting the damaged
            bytes aside.
    """

    directory: str = ""
    compact_enabled: bool = True
    compact_frag: int = 50
    compact_interval_seconds: int = 300
    compact_min_size: int = 1 << 20
    buffer_size: int = 2 << 20
    read_buffer_size: int = 2 << 20
    crc: bool = True
    crc_poly: int = CRC_POLYNOMIAL_DEFAULT
    sync: bool = True
    auto_sync_ns: int = 60 * NS_PER_SECOND
    slice_max_msgs: int = 0
    slice_max_bytes: int = 64 << 20
    slice_max_age_ns: int = 0
    slice_archive_script: str = ""
    fds_limit: int = 0
    parallel_recovery: int = 1
    truncate_bad_eof: bool = False
    strict: bool = False

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: with the original's text.
        """
        if not self.directory:
            raise ConfigError("for FILE stores, root directory must be specified", option="dir")
        for refused, option, text in (
            (self.compact_frag <= 0, "compact_frag", "compact fragmentation value must at least be 1"),
            (
                self.compact_interval_seconds <= 0,
                "compact_interval",
                "compact interval value must at least be 1 seconds",
            ),
            (
                self.compact_min_size < 0,
                "compact_min_size",
                "compact minimum file size value must be a positive number",
            ),
            (self.buffer_size < 0, "buffer_size", "buffer size value must be a positive number"),
            (self.read_buffer_size < 0, "read_buffer_size", "read buffer size value must be a positive number"),
            (
                not 1 <= self.crc_poly <= UINT32_MAX,
                "crc_poly",
                "crc polynomial should be between 1 and 4294967295",
            ),
            (
                self.slice_max_msgs < 0 or self.slice_max_bytes < 0 or self.slice_max_age_ns < 0,
                "slice_max",
                "slice max values must be positive numbers",
            ),
            (self.fds_limit < 0, "fds_limit", "file descriptor limit must be a positive number"),
            (self.parallel_recovery <= 0, "parallel_recovery", "parallel recovery value must be at least 1"),
        ):
            if refused:
                raise ConfigError(text, option=f"file_{option}")
