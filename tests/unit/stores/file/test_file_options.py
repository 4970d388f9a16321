"""Every option and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.errors import ConfigError, StoreError
from nats_streaming.stores.file.options import FileOptions
from nats_streaming.stores.file.slices import UNLIMITED, SliceLimits
from nats_streaming.stores.limits import ChannelLimits

from .directory import QuickFiles, open_root


def test_the_defaults_are_the_originals() -> None:
    options = FileOptions(directory="d")
    options.check()
    assert (options.compact_enabled, options.compact_frag, options.compact_interval_seconds) == (True, 50, 300)
    assert (options.compact_min_size, options.buffer_size, options.read_buffer_size) == (1_048_576, 2 << 20, 2 << 20)
    assert (options.crc, options.crc_poly, options.sync) == (True, 3_988_292_384, True)
    assert options.auto_sync_ns == 60 * NS_PER_SECOND
    assert (options.slice_max_msgs, options.slice_max_bytes, options.slice_max_age_ns) == (0, 67_108_864, 0)
    assert (options.slice_archive_script, options.fds_limit, options.parallel_recovery) == ("", 0, 1)
    assert (options.truncate_bad_eof, options.strict) == (False, False)


@pytest.mark.store_spec(58)
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"directory": ""}, "for FILE stores, root directory must be specified"),
        ({"compact_frag": 0}, "compact fragmentation value must at least be 1"),
        ({"compact_frag": -1}, "compact fragmentation value must at least be 1"),
        ({"compact_interval_seconds": 0}, "compact interval value must at least be 1 seconds"),
        ({"compact_min_size": -1}, "compact minimum file size value must be a positive number"),
        ({"buffer_size": -1}, "buffer size value must be a positive number"),
        ({"read_buffer_size": -1}, "read buffer size value must be a positive number"),
        ({"crc_poly": 0}, "crc polynomial should be between 1 and 4294967295"),
        ({"crc_poly": -1}, "crc polynomial should be between 1 and 4294967295"),
        ({"crc_poly": 1 << 32}, "crc polynomial should be between 1 and 4294967295"),
        ({"slice_max_msgs": -1}, "slice max values must be positive numbers"),
        ({"slice_max_bytes": -1}, "slice max values must be positive numbers"),
        ({"slice_max_age_ns": -1}, "slice max values must be positive numbers"),
        ({"fds_limit": -1}, "file descriptor limit must be a positive number"),
        ({"parallel_recovery": 0}, "parallel recovery value must be at least 1"),
    ],
)
def test_what_is_refused(change: dict[str, object], text: str) -> None:
    options = FileOptions(**{"directory": "d", **change})  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        options.check()
    assert str(caught.value) == text


@pytest.mark.store_spec(58)
@pytest.mark.parametrize(
    "allowed",
    [{"compact_min_size": 0, "buffer_size": 0, "read_buffer_size": 0, "auto_sync_ns": -1, "fds_limit": 0}],
)
def test_zero_is_allowed_where_it_means_off(allowed: dict[str, int]) -> None:
    FileOptions(directory="d", **allowed).check()  # type: ignore[arg-type]


@pytest.mark.store_spec(36)
@pytest.mark.parametrize(
    ("own", "channel", "wanted"),
    [
        ((5, 0, 0), ChannelLimits(100, 100, 100), (5, UNLIMITED, UNLIMITED)),
        ((0, 64, 0), None, (UNLIMITED, 64, UNLIMITED)),
        ((0, 0, 0), ChannelLimits(3, 3, 3 * NS_PER_SECOND), (1, 1, NS_PER_SECOND)),
        ((0, 0, 0), ChannelLimits(100, 100, 20 * NS_PER_SECOND), (25, 25, 5 * NS_PER_SECOND)),
        ((0, 0, 0), ChannelLimits(100, 0, 0), (25, UNLIMITED, UNLIMITED)),
        ((0, 0, 0), ChannelLimits(), (UNLIMITED, UNLIMITED, UNLIMITED)),
        ((0, 0, 0), None, (UNLIMITED, UNLIMITED, UNLIMITED)),
    ],
)
def test_when_a_slice_is_full(
    own: tuple[int, int, int], channel: ChannelLimits | None, wanted: tuple[int, int, int]
) -> None:
    options = FileOptions(slice_max_msgs=own[0], slice_max_bytes=own[1], slice_max_age_ns=own[2])
    assert SliceLimits.of(options, channel) == SliceLimits(*wanted)


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"unable to create the root directory \[.*file/below\]: "):
        open_root(tmp_path / "file" / "below")


@pytest.mark.store_spec(44)
def test_truncating_bad_ends_twice_in_a_row_is_refused(tmp_path: Path) -> None:
    text = "file store should not be opened consecutively with the TruncateUnexpectedEOF option set to true"

    def start(*, truncate_bad_eof: bool = False) -> None:
        root = open_root(tmp_path, truncate_bad_eof=truncate_bad_eof)
        try:
            root.witness.open()
        finally:
            root.close()

    start(truncate_bad_eof=True)
    assert (tmp_path / ".truncate.lck").exists()
    with pytest.raises(StoreError, match=text):
        start(truncate_bad_eof=True)
    start()
    assert not (tmp_path / ".truncate.lck").exists()
    start(truncate_bad_eof=True)
    open_root(tmp_path).close()
    assert (tmp_path / ".truncate.lck").exists(), "a standby touches nothing"


def test_names_of_channels_that_would_leave_the_directory(tmp_path: Path) -> None:
    root = open_root(tmp_path / "root", QuickFiles())
    for name in (b"", b".", b"..", b"a/b", b"a\0b"):
        with pytest.raises(StoreError, match="cannot be the name of a directory"):
            root.create_channel(name)
    root.close()
