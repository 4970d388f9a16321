"""Who may write: one server at a time.

Without a fault-tolerance group: a lock of the writing session, which ends with it. A connection that is made anew
must get it again, so nothing is ever written without it, and nothing is left behind by a crash.

In a group: the original's row in StoreLock, so that Go servers and ours can stand in for each other. The holder
renews its tick; whoever sees the same tick for long enough takes over. Every transaction checks the row under a
row lock, which the one who takes over must wait for: a server that has lost it writes nothing more. Ours hold the
session's lock, too: where that is free, its owner is dead, and taking over need not wait for long.

Source: stores specification, section 4.6.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Final

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from nats_streaming.errors import StoreError
from nats_streaming.stores.sql.database import Database

STEAL_S: Final = 4.5
"""A tick that stands for so long belongs to a dead server: the original polls thrice in 1.5 s each."""

STEAL_DEAD_S: Final = 1.0
"""The same where the owner's session has ended, too; a connection that was cut has come back by then."""

IDLE_S: Final = 3
"""The database ends the holder's session when it hears nothing for so long, which renews every second: one that hangs
in the middle of a transaction would keep the row from everybody else."""

OWN_SESSION_S: Final = 2.0
"""So long a database may take to notice that a connection of ours is gone, before the lock is another server's."""

_POLL_S = 0.05
_OURS = "py"  # begins our IDs; the original's are 22 letters and digits and may begin so, too, at no harm
LOST: Final = "lost store lock: another server has taken over"


@dataclass(slots=True)
class _Seen:
    """The row of another server, and since when it has not changed."""

    owner: str
    tick: int
    since_s: float


class StoreLock:
    """One per store."""

    def __init__(self, database: Database, *, uses_row: bool) -> None:
        """
        Args:
            uses_row: the server is one of a fault-tolerance group.
        """
        self._database = database
        self._uses_row = uses_row
        self._me = _OURS + os.urandom(13).hex()
        self._row = database.dialect.tables.lock
        self._seen: _Seen | None = None
        self._has_session = False
        self._asked = False
        self.held = False
        database.on_writer = self._on_writer

    @property
    def asks_database(self) -> bool:
        """Whether `check` reads and locks a row, so that it must be inside the transaction that it protects."""
        return self._asked and self._uses_row

    async def try_lock(self) -> bool:
        """See `stores.api.Store.try_lock`. From the first call on nothing is written without the lock."""
        self._asked = True
        was_held = self.held
        dialect = self._database.dialect
        async with self._database.transaction() as connection:
            if self._uses_row:
                for statement in dialect.lock_row_table:
                    await connection.exec_driver_sql(statement)
                self.held = await self._try_row(connection)
                if self.held and not was_held:
                    await dialect.end_when_idle(connection, IDLE_S)
            else:
                self.held = await self._take_session(connection)
        return self.held

    async def _take_session(self, connection: AsyncConnection) -> bool:
        if not self._has_session:
            self._has_session = await self._database.dialect.take_session_lock(connection)
        return self._has_session

    async def _try_row(self, connection: AsyncConnection) -> bool:
        row = (await connection.execute(select(self._row.c.id, self._row.c.tick).with_for_update())).first()
        if row is None:
            await connection.execute(insert(self._row), {"id": self._me, "tick": 1})
        elif row.id in ("", None, self._me):
            await connection.execute(update(self._row).values(id=self._me, tick=row.tick + 1))
        elif self.held or not await self._is_abandoned(connection, row.id, int(row.tick)):
            return False
        else:
            await connection.execute(update(self._row).values(id=self._me, tick=1))
        await self._take_session(connection)
        self._seen = None
        return True

    async def _is_abandoned(self, connection: AsyncConnection, owner: str, tick: int) -> bool:
        now_s = asyncio.get_running_loop().time()
        seen = self._seen
        if seen is None or (seen.owner, seen.tick) != (owner, tick):
            self._seen = _Seen(owner, tick, now_s)
            return False
        if now_s - seen.since_s >= STEAL_S:
            return True
        if now_s - seen.since_s < STEAL_DEAD_S or not owner.startswith(_OURS):
            return False
        return await self._take_session(connection)

    async def _on_writer(self, connection: AsyncConnection) -> None:
        """A new connection that is to write."""
        self._has_session = False
        if self.held and self._uses_row:
            await self._database.dialect.end_when_idle(connection, IDLE_S)
        if self.held and not await self._take_session(connection) and not self._uses_row:
            await self._wait_for_session(connection)

    async def _wait_for_session(self, connection: AsyncConnection) -> None:
        """The lock is most likely still that of our own session before this one, which was cut."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + OWN_SESSION_S
        while not await self._take_session(connection):
            if loop.time() >= deadline_s:
                raise StoreError(LOST)
            await asyncio.sleep(_POLL_S)

    async def check(self, connection: AsyncConnection) -> None:
        """Inside a transaction: nothing may be written unless this returns.

        Raises:
            StoreError: another server is the one.
        """
        if not self._asked:
            return
        if not self.held:
            raise StoreError(LOST)
        if not self._uses_row:
            return  # the lock is this connection's
        owner = await connection.scalar(select(self._row.c.id).with_for_update())
        if owner != self._me:
            raise StoreError(LOST)

    async def release(self) -> None:
        """Let another server take over at once.

        Raises:
            StoreError: the row could not be written; it is taken over later.
        """
        held, self.held = self.held, False
        try:
            if held and self._uses_row:
                async with self._database.transaction() as connection:
                    await connection.execute(update(self._row).where(self._row.c.id == self._me).values(id="", tick=0))
        finally:
            self._database.dialect.release_session_lock()
