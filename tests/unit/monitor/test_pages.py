"""Pages over thousands of things: right, and in steps so short that others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nats_streaming.monitor import pages
from nats_streaming.monitor.metrics import MetricsPage
from nats_streaming.monitor.output import STEP_COST, Output
from nats_streaming.monitor.query import Query
from nats_streaming.testing.fake_clock import FakeClock

from .fake_source import FakeSource

LARGE = 4_000


def written(source: FakeSource, write: Callable[[Output], Awaitable[None]]) -> str:
    """A page's text, with somebody else running beside it."""
    text: list[str] = []

    async def run() -> None:
        async def send(pieces: list[str]) -> None:
            text.extend(pieces)
            pieces.clear()

        output = Output(send)
        turns = asyncio.create_task(source.count_turns())
        await asyncio.sleep(0)
        await write(output)
        text.extend(output.pieces)
        turns.cancel()

    asyncio.run(run())
    return "".join(text)


def shown(source: FakeSource, page: Any, query: Query) -> Any:
    return json.loads(written(source, lambda output: page(source, query, FakeClock(), output)))


EVERYTHING = Query(limit=10**9, subscriptions=True)


@pytest.mark.parametrize(
    ("page", "query", "channels", "first"),
    [
        (pages.serverz, Query(), LARGE, 0),
        (pages.storez, Query(), LARGE, 0),
        (pages.channelsz, Query(limit=10**9), LARGE, 0),
        (pages.channelsz, EVERYTHING, LARGE, 0),
        (pages.channelsz, EVERYTHING, 3, LARGE),
        (pages.channelsz, Query(channel=b"channel-000000", subscriptions=True), 1, LARGE),
        (pages.clientsz, EVERYTHING, LARGE, 0),
        (pages.clientsz, Query(client=b"me", subscriptions=True), 3, LARGE),
    ],
)
def test_no_step_of_a_page_is_long(page: Any, query: Query, channels: int, first: int) -> None:
    source = FakeSource(channels, 1, first_channel_subscriptions=first)
    assert shown(source, page, query)
    assert 0 < source.cost_max <= 2 * STEP_COST


def test_a_long_page_is_whole() -> None:
    found = shown(FakeSource(1000, 3), pages.channelsz, EVERYTHING)
    assert (found["count"], found["total"], found["limit"]) == (1000, 1000, 10**9)
    assert [channel["name"] for channel in found["channels"]] == [f"channel-{number:06}" for number in range(1000)]
    assert {len(channel["subscriptions"]) for channel in found["channels"]} == {3}


def test_totals_are_those_of_all_channels() -> None:
    found = shown(FakeSource(LARGE, 2), pages.serverz, Query())
    assert (found["channels"], found["subscriptions"]) == (LARGE, 2 * LARGE)
    assert (found["total_msgs"], found["total_bytes"]) == (3 * LARGE, 90 * LARGE)


def test_offset_and_limit_choose_the_page() -> None:
    found = shown(FakeSource(10, 0), pages.channelsz, Query(offset=8, limit=5))
    assert (found["names"], found["count"], found["total"]) == (["channel-000008", "channel-000009"], 2, 10)


def metrics(source: FakeSource, channels_max: int, subscriptions_max: int) -> dict[str, list[Any]]:
    """Samples by name, read by Prometheus's own parser."""
    page = MetricsPage(source, channels_max, subscriptions_max)
    text = written(source, page.write)
    samples: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    return samples


@pytest.mark.parametrize(("channels", "first"), [(LARGE, 0), (3, LARGE)])
def test_no_step_of_the_metrics_is_long(channels: int, first: int) -> None:
    source = FakeSource(channels, 1, first_channel_subscriptions=first)
    samples = metrics(source, LARGE, LARGE)
    assert source.cost_max <= 2 * STEP_COST
    assert len(samples["nss_chan_last_seq"]) == channels
    assert len(samples["nss_chan_subs_last_sent"]) == LARGE


def test_series_are_bounded_and_sums_are_not() -> None:
    samples = metrics(FakeSource(1000, 3), 10, 5)
    assert [len(samples[name]) for name in ("nss_chan_msgs_total", "nss_chan_subs_pending_count")] == [10, 5]
    values = {name: found[0].value for name, found in samples.items()}
    assert values["nss_server_pending"] == 6000
    assert values["nss_server_stalled"] == 3000
    assert values["nss_server_msgs_total"] == 3000
    assert values["nss_metrics_channels_left_out"] == 990
    assert values["nss_metrics_subscriptions_left_out"] == 2995


def test_no_series_at_all_are_none() -> None:
    samples = metrics(FakeSource(10, 3), 0, 0)
    assert not [name for name in samples if name.startswith("nss_chan_")]
    assert samples["nss_server_channels"][0].value == 10
