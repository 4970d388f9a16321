"""The tables: those of the original, version 1, for three databases.

A Go server opens what we create and we open what its scripts have created. Where we create, columns are wider
where the original's were too narrow: on MySQL a message may have more than 64 KiB, and names that differ by case
or accent are different. Importing this loads SQLAlchemy.

Source: stores specification, section 4.1.
"""

from __future__ import annotations

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
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

SCHEMA_VERSION: Final = 1
NAME_BYTES_MAX: Final = 1024
"""Length of Clients.id, Channels.name and ServerInfo.id."""


def _unsigned() -> Any:
    return BigInteger().with_variant(mysql.BIGINT(unsigned=True), "mysql", "mariadb")


def _name(charset: str) -> Any:
    """Compared byte by byte: PostgreSQL and SQLite do, MySQL must be told."""
    exact = mysql.VARCHAR(NAME_BYTES_MAX, charset=charset, collation=f"{charset}_bin")
    return String(NAME_BYTES_MAX).with_variant(exact, "mysql", "mariadb")


class Tables:
    """The tables under the names that one database knows them by.

    Attributes:
        server, clients, channels, messages, subscriptions, pending, lock: one each.
        totals: ours alone: how many messages, of what size, lie in a stretch of sequences, so that a start need not
            count them all; a database of a Go server may be without.
        has_totals: whether the database has that one; to be set by whoever has looked.
    """

    def __init__(self, *, lower_case: bool, time_index: bool, key_names: bool = True) -> None:
        """
        Args:
            lower_case: the original's scripts do not quote names, which PostgreSQL turns to lower case.
            time_index: create the original's index on timestamps. We do not use it, the Go server does.
            key_names: name the primary keys as the original does; MySQL warns that it ignores such names.
        """
        self.metadata = MetaData()
        self.has_totals = False

        def table(name: str, *columns: Any) -> Table:
            return Table(name.lower() if lower_case else name, self.metadata, *columns, mysql_engine="InnoDB")

        def key(name: str, *columns: str) -> PrimaryKeyConstraint:
            name = name.lower() if lower_case else name
            return PrimaryKeyConstraint(*columns, name=name if key_names else None)

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
            Column("id", _name("ascii"), primary_key=True),
            Column("hbinbox", Text),
            Column("proto", LargeBinary),
        )
        self.channels = table(
            "Channels",
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("name", _name("utf8mb4"), nullable=False),
            Column("maxseq", _unsigned(), server_default=zero),
            Column("maxmsgs", Integer, server_default=zero),
            Column("maxbytes", BigInteger, server_default=zero),
            Column("maxage", BigInteger, server_default=zero),
            Column("deleted", Boolean, server_default=false()),
        )
        # A Go server inserts by position: the order of these columns must stay.
        self.messages = table(
            "Messages",
            Column("id", Integer, nullable=False),
            Column("seq", _unsigned(), nullable=False),
            Column("timestamp", BigInteger),
            Column("size", Integer),
            Column("data", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")),
            key("PK_MsgKey", "id", "seq"),
        )
        if time_index:
            name = "Idx_MsgsTimestamp"
            Index(name.lower() if lower_case else name, self.messages.c.timestamp)
        self.subscriptions = table(
            "Subscriptions",
            Column("id", Integer, nullable=False),
            Column("subid", _unsigned(), nullable=False),
            Column("lastsent", _unsigned(), server_default=zero),
            Column("proto", LargeBinary),
            Column("deleted", Boolean, server_default=false()),
            key("PK_SubKey", "id", "subid"),
        )
        self.pending = table(
            "SubsPending",
            Column("subid", _unsigned(), nullable=False),
            Column("row", _unsigned(), nullable=False),
            Column("seq", _unsigned(), server_default=zero),
            Column("lastsent", _unsigned(), server_default=zero),
            Column("pending", LargeBinary),
            Column("acks", LargeBinary),
            key("PK_MsgPendingKey", "subid", "row"),
        )
        name = "Idx_SubsPendingSeq"
        Index(name.lower() if lower_case else name, self.pending.c.seq)
        self.lock = table(
            "StoreLock",
            Column("id", String(30)),
            Column("tick", _unsigned(), server_default=zero),
        )
        self.totals = table(
            "MessageTotals",
            Column("id", Integer, nullable=False),
            Column("first", _unsigned(), nullable=False),
            Column("last", _unsigned(), nullable=False),
            Column("messages", BigInteger, nullable=False),
            Column("size", BigInteger, nullable=False),
            # Of the last one. A Go server may have begun a channel anew: then its row has another time, or is gone.
            Column("timestamp", BigInteger, nullable=False),
            PrimaryKeyConstraint("id", "first", name="PK_TotalsKey".lower() if lower_case else "PK_TotalsKey"),
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
