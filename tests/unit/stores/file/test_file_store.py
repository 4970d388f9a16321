"""The FILE store is a store like any other, and what is behind its commits does not show."""

from __future__ import annotations

from pathlib import Path

from nats_streaming.stores.api import Store
from nats_streaming.stores.file.store import FileStore
from nats_streaming.testing.store_suite import StoreSuite


class TestFileStore(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return FileStore({"directory": str(directory)})


class TestFileStoreThatAppliesAtOnce(StoreSuite):
    def open_store(self, directory: Path) -> Store:
        return FileStore({"directory": str(directory)}, checkpoint_bytes=20_000, apply_delay_s=0.0)
