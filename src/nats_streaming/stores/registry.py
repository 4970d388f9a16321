"""Store names to stores, by entry point: ours and those of third parties in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nats_streaming.errors import ConfigError
from nats_streaming.stores.api import API_VERSION, Store

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "nats_streaming.stores"


def open_store(name: str, options: dict[str, Any]) -> Store:
    """Make the store that is registered under `name`.

    Args:
        name: in any case, as `-store` gives it.
        options: for the store alone; it refuses what it does not know.

    Raises:
        ConfigError: no such store, or one that was written for another API version.
    """
    wanted = name.upper()
    # Ours are not looked up: importlib.metadata costs a tenth of the whole start.
    if wanted == "MEMORY" and not options:
        from nats_streaming.stores.memory import MemoryStore

        return MemoryStore()
    if wanted == "FILE":
        from nats_streaming.stores.file.store import FileStore

        return FileStore(options)
    if wanted == "SQL":
        from nats_streaming.stores.sql.store import SqlStore

        return SqlStore(options)
    found = _found()
    entry = found.get(wanted)
    if entry is None:
        raise ConfigError(f"unsupported store type: {wanted} (installed: {', '.join(sorted(found)) or 'none'})")
    store: Store = entry.load()(options)
    if store.capabilities.api_version != API_VERSION:
        raise ConfigError(
            f"store {wanted} was written for store API {store.capabilities.api_version}, this server has {API_VERSION}"
        )
    return store


def installed_stores() -> frozenset[str]:
    """Names of all registered stores, upper case. Slow: for errors and for names that are not ours."""
    return frozenset(_found())


def _found() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name.upper(): entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
