"""The options of the SQL store: names and defaults.

Source: operations specification, section 1.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class SqlOptions:
    """One attribute per flag `--sql_…`, without that prefix.

    Attributes:
        driver: `postgres`, `mysql` or `sqlite`.
        source: how to reach the database, in the driver's own notation; it may hold a password.
        no_caching: write every message by itself.
        max_open_conns: connections at a time; 0 is unlimited.
        bulk_insert_limit: messages per INSERT statement; 0 is the store's choice.
    """

    driver: str = ""
    source: str = field(default="", repr=False)
    no_caching: bool = False
    max_open_conns: int = 0
    bulk_insert_limit: int = 0
