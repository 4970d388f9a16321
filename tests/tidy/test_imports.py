"""Imports point toward the small rooms, never back: a protocol that knows the server cannot be tested without it."""

from __future__ import annotations

import sys

from .checkout import PACKAGE, Import, imports, module_name, sources

ERRORS, CONSTANTS, CLOCK = "errors", "constants", "clock"
LITERALS = "literals"
LEAVES = frozenset({ERRORS, CONSTANTS, CLOCK, LITERALS, "byte_buffer"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    ERRORS: frozenset(),
    CONSTANTS: frozenset(),
    CLOCK: frozenset({CONSTANTS}),
    LITERALS: frozenset({CONSTANTS}),
    "byte_buffer": frozenset(),
    "protocol": frozenset({ERRORS, CONSTANTS, "byte_buffer"}),
    "stores": LEAVES | {"protocol"},
    "streaming": LEAVES | {"protocol", "stores"},
    "nats": LEAVES | {"protocol"},
    "listener": LEAVES | {"protocol", "nats"},
    "client": LEAVES | {"protocol", "nats"},
    "monitor": LEAVES,
    "server": LEAVES | {"protocol", "stores", "streaming", "nats", "listener", "monitor"},
    "toolbox": LEAVES | {"protocol", "client"},
    "cli": LEAVES | {"stores", "server", "client", "toolbox"},
    "testing": LEAVES | {"protocol", "stores", "streaming", "nats", "client", "monitor", "server"},
    "__main__": frozenset({"cli"}),
}
"""Room to the rooms it may import; every room may import itself and the package's own version."""

ENGINE_STORES = frozenset({"api", "batch", "limits", "segment", "state"})
"""What the engine may know of stores: the seam and its values, no store and no way to find one."""

SANS_IO = ("byte_buffer", "protocol", "streaming")
IO_MODULES = frozenset({"asyncio", "os", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading"})

OTHER_DISTRIBUTIONS = {
    "nats": frozenset({"client", "toolbox"}),
    "uvloop": frozenset({"cli", "server", "toolbox"}),
    "aiohttp": frozenset({"monitor"}),
    "cryptography": frozenset({"stores"}),
    "nkeys": frozenset({"nats"}),
    "prometheus_client": frozenset({"monitor"}),
    "yarl": frozenset({"monitor"}),
    "sqlalchemy": frozenset({"stores"}),
    "asyncpg": frozenset({"stores"}),
    "asyncmy": frozenset({"stores"}),
    "aiosqlite": frozenset({"stores"}),
    "pytest": frozenset({"testing"}),
    "rich": frozenset({"cli"}),
    "typer": frozenset({"cli"}),
}
"""Modules that are neither ours nor Python's, with the rooms that may import them."""


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_room_has_a_rule() -> None:
    assert {room(module_name(path)) for path in sources()} - {""} <= MAY_IMPORT.keys()


def test_imports_point_toward_the_small_rooms() -> None:
    assert not [str(item) for item in imports() if not allowed(item)]


def allowed(item: Import) -> bool:
    if item.target.split(".")[0] != PACKAGE:
        return True
    here, there = room(item.module), room(item.target)
    return there in ("", here) or there in MAY_IMPORT[here]


def test_the_engine_knows_no_store() -> None:
    stores = [item for item in imports() if room(item.module) == "streaming" and room(item.target) == "stores"]
    assert stores
    assert not [str(item) for item in stores if item.target.removeprefix(f"{PACKAGE}.stores.") not in ENGINE_STORES]


def test_protocol_and_engine_own_no_io() -> None:
    """They get bytes and the time; sockets, tasks and files belong to the shell, or a test needs them, too."""
    owned = [item for item in imports() if room(item.module) in SANS_IO and item.target.split(".")[0] in IO_MODULES]
    # Random bytes: `secrets` would give them, too, and costs milliseconds of every start.
    assert not [str(item) for item in owned if (item.module, item.target) != (f"{PACKAGE}.streaming.nuid", "os")]


def test_only_the_clock_reads_the_clock() -> None:
    # server/logs/lines converts a record's time to text, which reads none.
    exempt = (f"{PACKAGE}.clock", f"{PACKAGE}.server.logs.lines")
    assert not [str(item) for item in imports() if item.target == "time" and item.module not in exempt]


def test_other_distributions_are_known_dependencies() -> None:
    strange = [item for item in imports() if item.target.split(".")[0] not in {PACKAGE, *sys.stdlib_module_names}]
    assert not [
        str(item) for item in strange if room(item.module) not in OTHER_DISTRIBUTIONS.get(item.target.split(".")[0], ())
    ]
