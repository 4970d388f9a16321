"""Creating the tables: what `--sql_init` does, and the script it would be for people who do it by hand."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect
from sqlalchemy.engine import make_url

from nats_streaming.stores.sql.database import Database
from nats_streaming.stores.sql.dialects.base import make_dialect
from nats_streaming.stores.sql.options import SqlOptions
from nats_streaming.stores.sql.source import Source, check_driver_name, parse_source


async def create_tables(options: dict[str, Any]) -> list[str]:
    """Create what is missing and bring what is there up to date; what is there keeps its rows.

    Args:
        options: attributes of `SqlOptions`.

    Returns:
        What was done, for people; nothing when all was well.

    Raises:
        ConfigError, StoreError: it cannot be done.
    """
    given = SqlOptions(**options)
    given.check()
    dialect = make_dialect(parse_source(given.driver, given.source), 0)
    database = Database(dialect, 1)
    metadata = dialect.tables.metadata
    try:
        async with database.transaction() as connection:
            present = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
            missing = [table.name for table in metadata.sorted_tables if table.name not in present]
            done = [f"table {name} created" for name in missing]
            await connection.run_sync(metadata.create_all)
            done += await dialect.migrate(connection)
    finally:
        await database.close()
    return done


def script(driver: str) -> str:
    """The statements that create the tables of a driver.

    Raises:
        ConfigError: it is none of ours, or not installed.
    """
    check_driver_name(driver)
    dialect = make_dialect(Source(driver, database="-"), 0)
    return dialect.tables.script(make_url(dialect.url).get_dialect()())
