"""The options of the SQL store: names and defaults.

Source: operations specification, section 1.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nats_streaming.errors import ConfigError


@dataclass(slots=True)
class SqlOptions:
    """One attribute per flag `--sql_…`, without that prefix.

    Attributes:
        driver: `postgres`, `mysql` or `sqlite`.
        source: how to reach the database, in the driver's own notation; it may hold a password.
        no_caching: keep what is sent and not acked in one row per message, as the original's mode of that name
            does. Messages are committed in groups either way.
        max_open_conns: connections at a time; 0 is our choice.
        bulk_insert_limit: messages per INSERT statement; 0 is our choice.
    """

    driver: str = ""
    source: str = field(default="", repr=False)
    no_caching: bool = False
    max_open_conns: int = 0
    bulk_insert_limit: int = 0

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: it names the option.
        """
        from nats_streaming.stores.sql.source import DRIVERS, parse_source

        if not self.driver:
            raise ConfigError(
                f"for SQL stores, the driver must be specified: -sql_driver {', '.join(DRIVERS)}", option="sql_driver"
            )
        if not self.source:
            raise ConfigError("for SQL stores, the source must be specified: -sql_source", option="sql_source")
        if self.bulk_insert_limit < 0:
            raise ConfigError("sql_bulk_insert_limit must not be negative", option="sql_bulk_insert_limit")
        parse_source(self.driver, self.source)
