"""Which entries of the stores specification's checklist the public store suite holds, and for which stores a test runs.

The suite is the authors' of other stores, too, whose pytest knows no mark of ours; so its entries stand here.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import pytest

from nats_streaming.testing.store_suite import StoreSuite

SUITE_ENTRIES: Final[dict[str, tuple[int, ...]]] = {
    "test_nothing_to_recover": (1, 23),
    "test_nothing_to_read_behind_the_last_or_in_an_unknown_channel": (1,),
    "test_gives_back_what_was_committed": (2,),
    "test_recovers_messages_and_their_totals": (2,),
    "test_a_batch_applied_twice_changes_nothing": (3, 18),
    "test_find_time": (12,),
    "test_find_time_never_goes_behind_what_was_trimmed": (12,),
    "test_a_channel_that_was_trimmed_empty_goes_on_counting": (11, 12),
    "test_removed_and_created_again_in_one_batch": (13, 14),
    "test_a_removed_channel_is_gone": (14,),
    "test_the_last_sequence_outlives_the_messages": (11, 68),
    "test_recovers_subscriptions_and_what_is_pending": (18, 19, 21),
    "test_the_last_sent_is_the_highest_whatever_was_acked": (19,),
    "test_a_changed_subscription_keeps_what_is_pending": (20,),
    "test_recovers_the_server_and_its_clients": (22, 23),
    "test_close_may_be_called_again": (24,),
    "test_close_without_recover": (24,),
    "test_a_removed_subscription_is_gone_with_its_pending": (18,),
    "test_the_lock_keeps_a_second_server_out": (73,),
}
CHECKLIST_LENGTH: Final = 82
DATABASES: Final = ("sqlite", "postgres", "mysql")
_NO_STORE = "any"


def entries_of(item: pytest.Item) -> list[int]:
    """What a test holds: the arguments of its marks `store_spec`, and what the suite holds by it."""
    found = [entry for mark in item.iter_markers("store_spec") for entry in mark.args]
    if isinstance(item, pytest.Function) and item.cls is not None and issubclass(item.cls, StoreSuite):
        found += SUITE_ENTRIES.get(item.originalname, ())
    return found


def store_of(item: pytest.Item) -> str:
    """The store that a test runs on: a database, FILE, MEMORY, or `any` where there is none."""
    given = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    for name in ("driver", "database"):
        if given.get(name) in DATABASES:
            return f"SQL:{given[name]}"
    driver = getattr(getattr(item, "cls", None), "driver", "")
    if driver:
        return f"SQL:{driver}"
    for store in ("file", "memory", "encrypted"):
        if store in item.path.relative_to(item.config.rootpath).as_posix():
            return store.upper()
    return _NO_STORE


def report_stores(terminal: Any) -> None:
    """Print for each entry and store the tests of this run that hold it.

    Args:
        terminal: pytest's terminal reporter.
    """
    session: pytest.Session = terminal._session
    holders: dict[tuple[int, str], dict[str, None]] = defaultdict(dict)
    for item in session.items:
        for entry in entries_of(item):
            name = f"{item.path.name}::{getattr(item, 'originalname', item.name)}"
            holders[entry, store_of(item)][name] = None
    terminal.section("entry, store, tests")
    for (entry, store), names in sorted(holders.items()):
        terminal.write_line(f"{entry:4}  {store:12}  {', '.join(names)}")
    missing = set(range(1, CHECKLIST_LENGTH + 1)) - {entry for entry, _ in holders}
    terminal.section("entries without a test")
    terminal.write_line(", ".join(map(str, sorted(missing))) or "none")
