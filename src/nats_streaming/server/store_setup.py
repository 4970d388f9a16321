"""From the operator's options to the store: which one, what it is told, and the encryption round it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from nats_streaming.errors import StoreError
from nats_streaming.server.settings.options import Options
from nats_streaming.stores.api import Store
from nats_streaming.stores.registry import open_store


def open_configured_store(options: Options) -> Store:
    """Make the store; the encryption key in the options is spent by this.

    Raises:
        ConfigError, StoreError: the options do not do.
    """
    store = open_store(options.store_type, _store_options(options))
    encryption = options.encryption
    if not (encryption.enabled or encryption.key):
        return store
    # Not everybody encrypts: the library costs as much to load as the whole engine.
    from nats_streaming.stores.encrypted import EncryptedStore, cipher_name, master_key

    key = bytearray(encryption.key, "utf-8", "surrogateescape")
    encryption.key = ""
    encryption.enabled = True
    return EncryptedStore(store, master_key(key), cipher_name(encryption.cipher))


def _store_options(options: Options) -> dict[str, Any]:
    if options.store_type == "MEMORY":
        return {}
    if options.store_type == "FILE":
        given = {field.name: getattr(options.file, field.name) for field in fields(options.file)}
        return {**given, "limits": options.limits.build().for_channel}
    if options.store_type == "SQL":
        given = {field.name: getattr(options.sql, field.name) for field in fields(options.sql)}
        return {**given, "limits": options.limits.build().for_channel, "fault_tolerant": bool(options.ft_group)}
    return {"directory": options.store_dir} if options.store_dir else {}


async def take_lock(store: Store, options: Options) -> None:
    """Keep a second server out of the same directory: the original does so in FT mode only.

    Raises:
        StoreError: another server is there.
    """
    if store.capabilities.exclusive_lock and not await store.try_lock():
        where = f"in {options.store_dir}" if options.store_type == "FILE" else "that is configured here"
        raise StoreError(f"another server uses the {store.name} store {where}: stop it first")
