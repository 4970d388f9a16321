"""The tables of the SQL store, outside a running server: `--sql_init` and `--sql_script`."""

from __future__ import annotations

import asyncio
from dataclasses import fields

from nats_streaming.server.settings.options import Options


def create_sql_tables(options: Options) -> list[str]:
    """Create what is missing and bring what is there up to date.

    Returns:
        What was done, for people.

    Raises:
        ConfigError, StoreError: it cannot be done.
    """
    from nats_streaming.stores.sql.create import create_tables

    given = {field.name: getattr(options.sql, field.name) for field in fields(options.sql)}
    return asyncio.run(create_tables(given)) or ["every table is there and up to date"]


def sql_script(options: Options) -> str:
    """The statements that create the tables, for the configured driver.

    Raises:
        ConfigError: there is none.
    """
    from nats_streaming.stores.sql.create import script

    return script(options.sql.driver)
