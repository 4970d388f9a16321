"""The start-up lines. The tables were taken from the original."""

from __future__ import annotations

import pytest

from nats_streaming import __version__
from nats_streaming.constants import NS_PER_SECOND
from nats_streaming.server.banner import limits_lines, recovered_line, starting_lines, store_lines
from nats_streaming.server.settings.options import Options
from nats_streaming.stores.limits import UNLIMITED, ChannelLimits, StoreLimits

DEFAULTS = """\
---------- Store Limits ----------
Channels:                  100 *
--------- Channels Limits --------
  Subscriptions:          1000 *
  Messages     :       1000000 *
  Bytes        :     976.56 MB *
  Age          :     unlimited *
  Inactivity   :     unlimited *
----------------------------------"""

PER_CHANNEL = """\
---------- Store Limits ----------
Channels:                  100 *
--------- Channels Limits --------
  Subscriptions:            14
  Messages     :            11
  Bytes        :          12 B
  Age          :       13h0m0s
  Inactivity   :     unlimited *
------------------- List of Channels --------------------
*.*
 |-> Bytes                          1.40 GB
 foo.>
  |-> Messages                          400
 foo.bar.>
  |-> Bytes                         5.00 MB
  |-> Age                            2h0m0s
  foo.bar.very.long.channel.name.that.is.wider.than.title
   |-> Subscriptions                      3
   |-> Messages                   unlimited
   |-> Inactivity                     1m30s
---------------------------------------------------------"""


@pytest.mark.store_spec(33)
def test_default_limits() -> None:
    assert "\n".join(limits_lines(StoreLimits())) == DEFAULTS


@pytest.mark.store_spec(33)
def test_limits_per_channel() -> None:
    hour_ns = 3600 * NS_PER_SECOND
    limits = StoreLimits(
        max_messages=11,
        max_bytes=12,
        max_subscriptions=14,
        max_age_ns=13 * hour_ns,
        per_channel={
            b"foo.>": ChannelLimits(max_messages=400),
            b"foo.bar.>": ChannelLimits(max_age_ns=2 * hour_ns, max_bytes=5 << 20),
            b"foo.bar.very.long.channel.name.that.is.wider.than.title": ChannelLimits(
                max_subscriptions=3, max_inactivity_ns=90 * NS_PER_SECOND, max_messages=UNLIMITED
            ),
            b"*.*": ChannelLimits(max_bytes=1_500_000_000),
        },
    )
    assert "\n".join(limits_lines(limits)) == PER_CHANNEL


def test_store_and_its_location() -> None:
    assert store_lines(Options(), "MEMORY")[:2] == ["Message store is MEMORY", DEFAULTS.splitlines()[0]]
    assert store_lines(Options(store_dir="data"), "FILE")[:2] == ["Message store is FILE", "Store location: data"]


def test_first_lines() -> None:
    lines = starting_lines(Options(cluster_id="c"), "abc")
    assert lines[0].startswith("Starting nats-streaming-server[c] version ")
    assert lines[0].endswith(f" version {__version__}")
    assert lines[2].endswith(" 0.25.6")
    assert lines[1] == "ServerID: abc"
    assert lines[3].startswith("Python version: 3.")


def test_recovery() -> None:
    assert recovered_line(None) == "No recovered state"
    assert recovered_line(3) == "Recovered 3 channel(s)"
