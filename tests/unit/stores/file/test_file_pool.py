"""The open files of a store, and the lock on its directory."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nats_streaming.errors import StoreError
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.file_pool import FilePool, system_limit

from .directory import QuickFiles, open_root


class Counting(QuickFiles):
    """Notes what is opened, synced and closed."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.failing = ""

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if operation in ("open", "sync", "close"):
            self.log.append((operation, os.path.basename(path)))
        if operation == self.failing:
            error = OSError(errno.EIO, "Input/output error")
            raise StoreError(f"{operation} {path}: {error.strerror}") from error
        return super().system(operation, path, call, *arguments)


def paths(directory: Path) -> list[str]:
    found = []
    for name in ("a", "b", "c"):
        (directory / name).write_bytes(name.encode())
        found.append(str(directory / name))
    return found


def test_a_file_is_opened_once_and_the_longest_unused_goes(tmp_path: Path) -> None:
    files = Counting()
    a, b, c = paths(tmp_path)
    pool = FilePool(files, 2, sync=False)
    for path in (a, b, a, c, a, b):
        with pool.using(path) as file:
            assert file.pread(0, 10) == os.path.basename(path).encode()
        assert len(pool) <= 2
    assert files.log == [("open", "a"), ("open", "b"), ("close", "b"), ("open", "c"), ("close", "c"), ("open", "b")]
    pool.close()
    pool.close()
    assert sorted(files.log[-2:]) == [("close", "a"), ("close", "b")]


def test_a_file_in_use_stays_and_the_limit_gives_way(tmp_path: Path) -> None:
    a, b, _ = paths(tmp_path)
    pool = FilePool(Counting(), 1, sync=False)
    with pool.using(a) as first, pool.using(b) as second:
        assert (first.pread(0, 1), second.pread(0, 1)) == (b"a", b"b")
        assert len(pool) == 2
        pool.discard(a)
        assert first.pread(0, 1) == b"a"
        assert not first.closed
    assert first.closed
    pool.close()


def test_what_was_written_is_synced_before_a_file_goes(tmp_path: Path) -> None:
    files = Counting()
    a, b, c = paths(tmp_path)
    pool = FilePool(files, 2, sync=True)
    with pool.using(a, write=True) as file:
        file.write(b"!")
    with pool.using(b):
        pass
    with pool.using(c):
        pass
    assert files.log[-2:] == [("close", "b"), ("open", "c")]  # the clean one went first
    with pool.using(c), pool.using(b):
        pass
    assert files.log[-3:] == [("sync", "a"), ("close", "a"), ("open", "b")]
    pool.close()


def test_a_file_whose_sync_fails_stays_for_its_owner_to_hear_of_it(tmp_path: Path) -> None:
    files = Counting()
    a, b, _ = paths(tmp_path)
    pool = FilePool(files, 1, sync=True)
    with pool.using(a, write=True) as file:
        file.write(b"!")
    files.failing = "sync"
    with pool.using(b):
        assert len(pool) == 2
    assert not file.closed
    assert file.unsynced
    pool.close()


def test_a_file_open_for_writing_serves_readers(tmp_path: Path) -> None:
    files = Counting()
    a, _, _ = paths(tmp_path)
    pool = FilePool(files, 5, sync=False)
    with pool.using(a, write=True) as writer, pool.using(a) as reader:
        assert reader is writer
    with pytest.raises(StoreError, match=r"open .*missing: No such file"), pool.using(str(tmp_path / "missing")):
        pass
    assert len(pool) == 1
    pool.discard_below(str(tmp_path))
    assert len(pool) == 0
    pool.close()


def test_the_system_has_a_limit() -> None:
    assert system_limit() >= 128


LOCK = """
import sys
from nats_streaming.stores.file.file_io import Files
from nats_streaming.stores.file.root_lock import RootLock
print(RootLock(Files(), sys.argv[1]).acquire())
"""


def locked_by_another(directory: Path) -> str:
    """What another process gets when it wants the lock."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", LOCK, str(directory)], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


@pytest.mark.store_spec(56)
def test_one_server_at_a_time(tmp_path: Path) -> None:
    root = open_root(tmp_path)
    assert root.try_lock()
    assert root.try_lock()
    assert locked_by_another(tmp_path) == "False"
    assert (tmp_path / ".rootdir.lck").read_bytes() == b""
    root.close()
    assert locked_by_another(tmp_path) == "True"
    assert (tmp_path / ".rootdir.lck").exists()


@pytest.mark.store_spec(56)
@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to the superuser")
def test_a_lock_that_may_not_be_taken(tmp_path: Path) -> None:
    (tmp_path / ".rootdir.lck").touch(mode=0o000)
    with pytest.raises(StoreError, match="Permission denied"):
        open_root(tmp_path).try_lock()


class Denied(Files):
    def __init__(self, code: int) -> None:
        self.code = code

    def system(self, operation: str, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if path.endswith(".rootdir.lck"):
            error = OSError(self.code, os.strerror(self.code))
            raise StoreError(f"{operation} {path}: {error.strerror}") from error
        return super().system(operation, path, call, *arguments)


@pytest.mark.store_spec(56)
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOENT])
def test_a_lock_that_can_never_be_taken_is_an_error(tmp_path: Path, code: int) -> None:
    with pytest.raises(StoreError, match=os.strerror(code)):
        open_root(tmp_path, Denied(code)).try_lock()


def test_a_lock_that_cannot_be_taken_now_is_busy(tmp_path: Path) -> None:
    assert not open_root(tmp_path, Denied(errno.EMFILE)).try_lock()


def test_a_holder_notices_that_its_lock_file_was_removed(tmp_path: Path) -> None:
    """It takes the lock again in a new file, unless another process was faster."""
    root = open_root(tmp_path)
    assert root.try_lock()
    lock_file = tmp_path / ".rootdir.lck"
    lock_file.unlink()
    assert root.try_lock()
    assert lock_file.exists()
    assert locked_by_another(tmp_path) == "False"

    lock_file.unlink()
    script = f"{LOCK}sys.stdout.flush(); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert not root.try_lock()
        assert not root.try_lock()
        other.communicate()
    root.close()
