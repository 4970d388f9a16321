"""The overlay: whatever is done to it, the directory below stays, and what was done can be told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.overlay import Change, ChangeKind, OverlayFiles


@pytest.fixture
def overlay() -> Iterator[OverlayFiles]:
    files = OverlayFiles()
    yield files
    files.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "foo").mkdir()
    (tmp_path / "foo" / "a").write_bytes(b"0123456789")
    (tmp_path / "b").write_bytes(b"bbb")
    return tmp_path


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_write_is_seen_by_everybody_who_has_the_file_open(overlay: OverlayFiles, root: Path) -> None:
    path = str(root / "foo" / "a")
    reader, writer = overlay.open_read(path), overlay.open_rw(path)
    writer.pwrite(2, b"xx")
    assert reader.pread(0, 100) == b"01xx456789"
    writer.truncate(4)
    assert (reader.pread(0, 100), reader.size()) == (b"01xx", 4)
    reader.close()
    writer.close()
    assert content(root) == {"foo/a": b"0123456789", "b": b"bbb"}
    assert overlay.changes() == [Change(path, ChangeKind.CHANGED, 10, 4)]


def test_appending_goes_behind_the_end(overlay: OverlayFiles, root: Path) -> None:
    path = str(root / "b")
    for piece in (b"1", b"2"):
        file = overlay.open_append(path)
        file.write(piece)
        file.sync()
        file.close()
    assert overlay.read_whole(path) == b"bbb12"
    assert content(root)["b"] == b"bbb"


def test_new_renamed_and_removed_files(overlay: OverlayFiles, root: Path) -> None:
    fresh, target, gone = (str(root / "foo" / name) for name in ("a.new", "a", "a.bak"))
    file = overlay.open_new(fresh)
    file.write(b"anew")
    file.close()
    assert overlay.listdir(str(root / "foo")) == ["a", "a.new"]
    overlay.rename(target, gone)
    overlay.rename(fresh, target)
    assert (overlay.read_whole(target), overlay.read_whole(gone)) == (b"anew", b"0123456789")
    overlay.unlink(str(root / "b"))
    assert not overlay.exists(str(root / "b"))
    assert overlay.listdir(str(root)) == ["foo"]
    assert content(root) == {"foo/a": b"0123456789", "b": b"bbb"}
    assert overlay.changes() == [
        Change(str(root / "b"), ChangeKind.REMOVED, 3, 0),
        Change(target, ChangeKind.CHANGED, 10, 4),
        Change(gone, ChangeKind.CREATED, 0, 10),
    ]


def test_a_removed_tree_can_be_made_again_and_is_empty(overlay: OverlayFiles, root: Path) -> None:
    directory = str(root / "foo")
    overlay.remove_tree(directory)
    assert not overlay.is_directory(directory)
    with pytest.raises(StoreError, match="listdir"):
        overlay.listdir(directory)
    overlay.mkdir(directory)
    assert overlay.listdir(directory) == []
    assert not overlay.exists(os.path.join(directory, "a"))
    assert content(root) == {"foo/a": b"0123456789", "b": b"bbb"}


def test_what_is_not_there_cannot_be_read(overlay: OverlayFiles, root: Path) -> None:
    with pytest.raises(StoreError, match=r"open .*nothing: No such file"):
        overlay.open_read(str(root / "nothing"))
    with pytest.raises(StoreError, match=r"rename .*nothing"):
        overlay.rename(str(root / "nothing"), str(root / "b"))


def test_the_same_bytes_again_are_no_change(overlay: OverlayFiles, root: Path) -> None:
    file = overlay.open_new(str(root / "b"))
    file.write(b"bbb")
    file.close()
    assert overlay.changes() == []
