"""`/metrics` for Prometheus, with the names that prometheus-nats-exporter gave a streaming server.

Series per channel and per subscription are bounded, because their labels come from clients; sums over the whole
server always cover everything.

Source: operations specification, section 4.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiohttp import web
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UntypedMetricFamily,
)

from nats_streaming.constants import COMPATIBLE_VERSION
from nats_streaming.monitor.go_text import rfc3339_text
from nats_streaming.monitor.histogram import CommitStatistics, Histogram
from nats_streaming.monitor.output import STEP_COST, SUM_STEP, Output
from nats_streaming.monitor.pages import PYTHON_TEXT, sum_totals
from nats_streaming.monitor.snapshot import Handle, Problem, ServerSnapshot, Source, SubscriptionSnapshot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SERVER: Final = ["server_id"]
_CHANNEL: Final = ["server_id", "server_role", "channel"]
_SUBSCRIPTION: Final = [
    *_CHANNEL, "client_id", "inbox", "queue_name", "is_durable", "is_offline", "durable_name",
]  # fmt: skip
_CHANNEL_METRICS: Final = (
    ("bytes_total", "Bytes stored in the channel"),
    ("msgs_total", "Messages stored in the channel"),
    ("last_seq", "Sequence of the last message"),
)
_SUBSCRIPTION_METRICS: Final = (
    ("last_sent", "Highest sequence sent to the subscription"),
    ("pending_count", "Messages sent and not acked"),
    ("max_inflight", "Limit of messages sent and not acked"),
)

_Row = tuple[tuple[str, ...], tuple[int, ...]]
"""Values of the labels, and a value for each metric."""


@dataclass(slots=True, frozen=True)
class Counters:
    """What the server counts beside what its pages show.

    Attributes:
        redeliveries: messages sent again.
        stalls: how often a subscription reached its limit of unacked messages.
        nats_restarts: how often the embedded nats-server was restarted.
        commits: what became of the batches.
    """

    redeliveries: int = 0
    stalls: int = 0
    nats_restarts: int = 0
    commits: CommitStatistics = field(default_factory=CommitStatistics)


class Measured(Protocol):
    """What is measured, at any moment of its life."""

    def source(self) -> Source | None:
        """None while the server is starting or becoming active."""
        ...

    def problems(self) -> Sequence[Problem]: ...

    def counters(self) -> Counters: ...

    def nats_server_id(self) -> str:
        """The ID that `varz` shows."""
        ...

    def nats_pid(self) -> int | None:
        """Process ID of the embedded nats-server, None without one."""
        ...

    def disk_free_bytes(self) -> int | None:
        """Where the store keeps its files; None without such a place, or while it is not known."""
        ...


class MetricsPage:
    """Answers `/metrics`, also while the server starts: then with what is known."""

    def __init__(self, measured: Measured, channels_max: int, subscriptions_max: int) -> None:
        """
        Args:
            channels_max: channels with series of their own, in the order of names.
            subscriptions_max: subscriptions with series of their own, in the order of their channels.
        """
        self._measured = measured
        self._channels_max = channels_max
        self._subscriptions_max = subscriptions_max
        # Without a registry: what others in this process register is none of ours.
        self._processes = [
            ProcessCollector(registry=None),
            ProcessCollector("nats_server", pid=lambda: measured.nats_pid() or "none", registry=None),
        ]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """All metrics in Prometheus's text format."""
        output = Output(_keep)
        await self.write(output)
        return web.Response(headers={"Content-Type": CONTENT_TYPE}, body="".join(output.pieces).encode())

    async def close(self) -> None:
        """Nothing is open."""

    async def write(self, output: Output) -> None:
        """Write all metrics, in short steps."""
        problems = self._measured.problems()
        await _put(output, self._health(problems))
        await _put(output, self._commits(self._measured.counters()))
        source = self._measured.source()
        if source is not None:
            await self._write_server(output, source)
        for collector in self._processes:
            await _put(output, collector.collect())

    def _health(self, problems: Sequence[Problem]) -> Iterable[Metric]:
        yield GaugeMetricFamily("nss_server_ready", "1 while /healthz/ready answers 200", 0 if problems else 1)
        checks = {problem.check for problem in problems}
        for name, check, text in (
            ("nss_store_failing", "store", "1 while commits fail"),
            (
                "nss_store_files_failing",
                "channel_files",
                "1 while channel files cannot be written behind the journal",
            ),
            ("nss_nats_link_down", "nats", "1 while there is no link to NATS"),
        ):
            yield GaugeMetricFamily(name, text, 1 if check in checks else 0)
        free = self._measured.disk_free_bytes()
        if free is not None:
            yield GaugeMetricFamily("nss_store_disk_free_bytes", "Space left where the store keeps its files", free)

    def _commits(self, counters: Counters) -> Iterable[Metric]:
        commits = counters.commits
        yield CounterMetricFamily("nss_redeliveries", "Messages sent again", counters.redeliveries)
        yield CounterMetricFamily("nss_stalls", "Subscriptions that reached max in-flight", counters.stalls)
        yield CounterMetricFamily("nss_commit_failures", "Batches that did not become durable", commits.failures)
        yield CounterMetricFamily("nss_nats_server_restarts", "Restarts of nats-server", counters.nats_restarts)
        yield _histogram(
            "nss_publish_ack_seconds",
            "From reading a publish until its ack is handed to NATS; of a batch the oldest one's time",
            commits.publish_seconds,
        )
        yield _histogram("nss_commit_seconds", "Time the store takes for one batch", commits.commit_seconds)
        yield _histogram("nss_commit_messages", "Published messages per batch", commits.messages)
        yield _histogram("nss_commit_bytes", "Bytes of publishes per batch", commits.bytes)

    async def _write_server(self, output: Output, source: Source) -> None:
        channels = source.channels()
        totals = await sum_totals(source, channels)
        server = source.server()
        server_id = self._measured.nats_server_id()
        for name, text, value, make in (
            ("bytes_total", "Bytes stored", totals.bytes, GaugeMetricFamily),
            ("msgs_total", "Messages stored", totals.messages, GaugeMetricFamily),
            ("channels", "Channels", len(channels), GaugeMetricFamily),
            ("subscriptions", "Subscriptions, offline durables included", totals.subscriptions, GaugeMetricFamily),
            ("clients", "Clients", server.clients, GaugeMetricFamily),
            (
                "active",
                "1 if active in a fault-tolerance group",
                int(server.state == "FT_ACTIVE"),
                GaugeMetricFamily,
            ),
            # Counters, but a counter's name would have to end in _total.
            ("msgs_in", "Publishes received since the start", server.in_messages, UntypedMetricFamily),
            ("bytes_in", "Their bytes", server.in_bytes, UntypedMetricFamily),
            ("msgs_out", "Deliveries since the start, redeliveries included", server.out_messages, UntypedMetricFamily),
            ("bytes_out", "Their bytes", server.out_bytes, UntypedMetricFamily),
        ):
            metric = make(f"nss_server_{name}", text, labels=_SERVER)
            metric.add_metric([server_id], value)
            await _put(output, [metric])
        await _put(output, [_info(server, server_id)])
        await self._write_channels(output, source, channels, [server_id, server.role])

    async def _write_channels(
        self, output: Output, source: Source, channels: Sequence[Handle], common: list[str]
    ) -> None:
        channel_rows: list[_Row] = []
        subscription_rows: list[_Row] = []
        in_flight = stalled = all_subscriptions = 0
        for index, channel in enumerate(channels):
            handles = source.channel_subscriptions(channel)
            all_subscriptions += len(handles)
            for start in range(0, len(handles), SUM_STEP):
                unacked = source.unacked(handles[start : start + SUM_STEP])
                in_flight += unacked.in_flight
                stalled += unacked.stalled
                await output.spend(min(len(handles), SUM_STEP) * STEP_COST // SUM_STEP)
            await output.spend()
            if index >= self._channels_max:
                continue
            snapshot = source.channel_snapshot(channel)
            labels = (*common, _label(snapshot.name))
            channel_rows.append((labels, (snapshot.bytes, snapshot.messages, snapshot.last)))
            for handle in handles[: self._subscriptions_max - len(subscription_rows)]:
                subscription = source.subscription_snapshot(handle)
                values = (subscription.last_sent, subscription.in_flight, subscription.max_in_flight)
                subscription_rows.append(((*labels, *_subscription_labels(subscription)), values))
                await output.spend()
        await _put_families(output, "nss_chan", _CHANNEL, _CHANNEL_METRICS, channel_rows)
        await _put_families(output, "nss_chan_subs", _SUBSCRIPTION, _SUBSCRIPTION_METRICS, subscription_rows)
        left_out = max(len(channels) - self._channels_max, 0)
        await _put(
            output,
            (
                GaugeMetricFamily("nss_server_pending", "Messages sent and not acked, all subscriptions", in_flight),
                GaugeMetricFamily("nss_server_stalled", "Subscriptions at max in-flight", stalled),
                GaugeMetricFamily("nss_metrics_channels_left_out", "Channels without series of their own", left_out),
                GaugeMetricFamily(
                    "nss_metrics_subscriptions_left_out",
                    "Subscriptions without series of their own",
                    all_subscriptions - len(subscription_rows),
                ),
            ),
        )


def _info(server: ServerSnapshot, server_id: str) -> Metric:
    labels = {
        "server_id": server_id,
        "cluster_id": _label(server.cluster_id),
        "version": COMPATIBLE_VERSION,
        "go_version": PYTHON_TEXT,
        "state": server.state,
        "role": server.role,
        "start_time": rfc3339_text(server.start_ns),
    }
    metric = GaugeMetricFamily("nss_server_info", "What runs here", labels=list(labels))
    metric.add_metric(list(labels.values()), 1)
    return metric


def _subscription_labels(subscription: SubscriptionSnapshot) -> tuple[str, ...]:
    """As the exporter had them: a durable group's name comes apart."""
    queue_name, durable_name = subscription.queue_name, subscription.durable_name
    if subscription.is_durable and queue_name:
        durable_name, _, queue_name = queue_name.partition(b":")
    return (
        _label(subscription.client_id),
        _label(subscription.inbox),
        _label(queue_name),
        "true" if subscription.is_durable else "false",
        "true" if subscription.is_offline else "false",
        _label(durable_name),
    )


def _label(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, buckets=histogram.buckets(), sum_value=histogram.sum)


class _Family:
    """What `generate_latest` takes for a registry."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        return [self._metric]


async def _put(output: Output, metrics: Iterable[Metric]) -> None:
    """Write metrics of few samples each."""
    for metric in metrics:
        output.put(generate_latest(_Family(metric)).decode())
        await output.spend(len(metric.samples))


async def _put_families(
    output: Output, prefix: str, labels: Sequence[str], metrics: Sequence[tuple[str, str]], rows: Sequence[_Row]
) -> None:
    """Write metrics of any number of samples, a step's worth of them at a time.

    Args:
        metrics: name and description of each, in the order of the values in `rows`.
    """
    for index, (name, text) in enumerate(metrics):
        for start in range(0, len(rows), STEP_COST):
            metric = GaugeMetricFamily(f"{prefix}_{name}", text, labels=labels)
            for values, numbers in rows[start : start + STEP_COST]:
                metric.add_metric(values, numbers[index])
            written = generate_latest(_Family(metric)).decode()
            # Each begins with two lines about the metric, which may stand there only once.
            output.put(written.split("\n", 2)[2] if start else written)
            await output.spend(len(metric.samples))


async def _keep(_pieces: list[str]) -> None:
    """Nothing is sent before everything is there: a scrape that breaks off would be taken for whole."""
