"""The tables: those of the original, version 1, for three databases.

A Go server opens what we create and we open what its scripts have created. Where we create, columns are wider
where the original's were too narrow: on MySQL a message may have more than 64 KiB, and names that differ by case
or accent are different. Importing this loads SQLAlchemy.

Source: stores specification, section 4.1.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

SCHEMA_VERSION: Final = 1
NAME_BYTES_MAX: Final = 1024
"""Length of Clients.id, Channels.name and ServerInfo.id."""


class _Types:
    """Types of columns; MySQL, whose module takes long to load, has some of its own.

    Attributes:
        unsigned: a sequence or another number that counts.
        content: a message.
    """

    def __init__(self, *, mysql: bool) -> None:
        own: Any = importlib.import_module("sqlalchemy.dialects.mysql") if mysql else None
        self._mysql = own
        self.unsigned: Any = own.BIGINT(unsigned=True) if mysql else BigInteger()
        self.content: Any = own.LONGBLOB() if mysql else LargeBinary()

    def name(self, charset: str) -> Any:
        """Compared byte by byte: PostgreSQL and SQLite do, MySQL must be told."""
        if self._mysql is None:
            return String(NAME_BYTES_MAX)
        return self._mysql.VARCHAR(NAME_BYTES_MAX, charset=charset, collation=f"{charset}_bin")


class Tables:
    """The tables under the names that one database knows them by.

    Attributes:
        server, clients, channels, messages, subscriptions, pending, lock: one each.
        totals: ours alone: how many messages, of what size, lie in a stretch of sequences, so that a start need not
            count them all; a database of a Go server may be without.
        has_totals: whether the database has that one; to be set by whoever has looked.
    """

    def __init__(self, *, lower_case: bool, time_index: bool, mysql: bool = False) -> None:
        """
        Args:
            lower_case: the original's scripts do not quote names, which PostgreSQL turns to lower case.
            time_index: create the original's index on timestamps. We do not use it, the Go server does.
            mysql: of MySQL or MariaDB, which has types of its own and names no primary key.
        """
        self.metadata = MetaData()
        self.has_totals = False

        def table(name: str, *columns: Any) -> Table:
            return Table(name.lower() if lower_case else name, self.metadata, *columns, mysql_engine="InnoDB")

        def key(name: str, *columns: str) -> PrimaryKeyConstraint:
            name = name.lower() if lower_case else name
            return PrimaryKeyConstraint(*columns, name=None if mysql else name)

        types = _Types(mysql=mysql)
        zero = text("0")
        self.server = table(
            "ServerInfo",
            Column("uniquerow", Integer, primary_key=True, autoincrement=False, server_default=text("1")),
            Column("id", String(NAME_BYTES_MAX)),
            Column("proto", LargeBinary),
            Column("version", Integer),
        )
        self.clients = table(
            "Clients",
            # A client ID is ASCII; so the whole of it fits into a key of InnoDB.
            Column("id", types.name("ascii"), primary_key=True),
            Column("hbinbox", Text),
            Column("proto", LargeBinary),
        )
        self.channels = table(
            "Channels",
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("name", types.name("utf8mb4"), nullable=False),
            Column("maxseq", types.unsigned, server_default=zero),
            Column("maxmsgs", Integer, server_default=zero),
            Column("maxbytes", BigInteger, server_default=zero),
            Column("maxage", BigInteger, server_default=zero),
            Column("deleted", Boolean, server_default=false()),
        )
        # A Go server inserts by position: the order of these columns must stay.
        self.messages = table(
            "Messages",
            Column("id", Integer, nullable=False),
            Column("seq", types.unsigned, nullable=False),
            Column("timestamp", BigInteger),
            Column("size", Integer),
            Column("data", types.content),
            key("PK_MsgKey", "id", "seq"),
        )
        if time_index:
            name = "Idx_MsgsTimestamp"
            Index(name.lower() if lower_case else name, self.messages.c.timestamp)
        self.subscriptions = table(
            "Subscriptions",
            Column("id", Integer, nullable=False),
            Column("subid", types.unsigned, nullable=False),
            Column("lastsent", types.unsigned, server_default=zero),
            Column("proto", LargeBinary),
            Column("deleted", Boolean, server_default=false()),
            key("PK_SubKey", "id", "subid"),
        )
        self.pending = table(
            "SubsPending",
            Column("subid", types.unsigned, nullable=False),
            Column("row", types.unsigned, nullable=False),
            Column("seq", types.unsigned, server_default=zero),
            Column("lastsent", types.unsigned, server_default=zero),
            Column("pending", LargeBinary),
            Column("acks", LargeBinary),
            key("PK_MsgPendingKey", "subid", "row"),
        )
        name = "Idx_SubsPendingSeq"
        Index(name.lower() if lower_case else name, self.pending.c.seq)
        self.lock = table(
            "StoreLock",
            Column("id", String(30)),
            Column("tick", types.unsigned, server_default=zero),
        )
        self.totals = table(
            "MessageTotals",
            Column("id", Integer, nullable=False),
            Column("first", types.unsigned, nullable=False),
            Column("last", types.unsigned, nullable=False),
            Column("messages", BigInteger, nullable=False),
            Column("size", BigInteger, nullable=False),
            # Of the last one. A Go server may have begun a channel anew: then its row has another time, or is gone.
            Column("timestamp", BigInteger, nullable=False),
            key("PK_TotalsKey", "id", "first"),
        )

    def needed(self) -> list[Table]:
        """The tables that nothing works without."""
        return [table for table in self.metadata.sorted_tables if table is not self.totals]

    def script(self, dialect: Dialect) -> str:
        """The statements that create everything, for review or for whoever may not let a server create tables."""
        statements: list[str] = []
        for created in self.metadata.sorted_tables:
            statements.append(str(CreateTable(created, if_not_exists=True).compile(dialect=dialect)).strip())
            statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in created.indexes]
        return "\n\n".join(f"{line};" for line in statements).replace("\t", "    ").replace(" \n", "\n") + "\n"
