"""Why no streaming server answers: whether NATS is there, and which streaming servers are.

Asked when something has failed already, so it takes its time: up to a few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nats_streaming.constants import DEFAULT_DISCOVER_PREFIX
from nats_streaming.errors import ConfigError, MonitoringError
from nats_streaming.toolbox.monitoring import MonitoringReader

if TYPE_CHECKING:
    from nats_streaming.client.nats_options import NatsOptions

CONNECT_SECONDS = 5.0
LISTEN_SECONDS = 1.0
_CONNECTION_PREFIX = "_NSS-"  # NATS connections of streaming servers: prefix, cluster ID, one of the next
_CONNECTION_SUFFIXES = ("-general", "-acks", "-send", "-ft", "-raft", "-streaming")
_SUBJECTS = (f"{DEFAULT_DISCOVER_PREFIX}.", "_STAN.pub.", "_STAN.ft.")


@dataclass(slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        nats_error: why NATS cannot be used, "" if it can.
        cluster_ids: of the streaming servers that showed up.
        source: how they did, for a sentence that begins "according to".
    """

    nats_error: str = ""
    cluster_ids: list[str] = field(default_factory=list)
    source: str = ""


async def diagnose(servers: Sequence[str], options: NatsOptions, monitor_urls: Sequence[str]) -> Diagnosis:
    """Look for NATS, then for streaming servers.

    Args:
        servers: of NATS.
        options: to connect to it.
        monitor_urls: monitoring ports to ask, in this order; none need be there.
    """
    import nats
    import nats.errors

    heard: set[str] = set()
    try:
        # Without a number of attempts nats-py never gives up, whatever allow_reconnect says.
        attempts = {"allow_reconnect": False, "connect_timeout": 2, "max_reconnect_attempts": 1}
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await nats.connect(list(servers), **{**options, **attempts, "error_cb": _ignore})
    except TimeoutError:
        return Diagnosis(nats_error=f"no connection within {CONNECT_SECONDS:g} s")
    except (nats.errors.Error, OSError, ValueError) as error:
        return Diagnosis(nats_error=str(error) or type(error).__name__)
    try:
        for url in monitor_urls:
            found = await asyncio.to_thread(_ask, url)
            if found:
                return Diagnosis("", found, f"its monitoring port {url}")

        async def on_message(message: object) -> None:
            cluster_id = cluster_id_in(str(getattr(message, "subject", "")))
            if cluster_id:
                heard.add(cluster_id)

        await connection.subscribe("_STAN.>", cb=on_message)
        await connection.flush()
        await asyncio.sleep(LISTEN_SECONDS)
    except nats.errors.Error as error:
        return Diagnosis(nats_error=str(error) or type(error).__name__)
    finally:
        await connection.close()
    return Diagnosis("", sorted(heard), "what others send there" if heard else "")


async def _ignore(_: Exception) -> None:
    """The error is raised as well."""


def _ask(url: str) -> list[str]:
    """The cluster IDs that a monitoring port knows of, its own or those of connections to its NATS server."""
    try:
        reader = MonitoringReader(url, timeout_s=1.0)
        cluster_id = reader.server().get("cluster_id")
        return [cluster_id] if isinstance(cluster_id, str) and cluster_id else []
    except ConfigError:
        return []
    except MonitoringError:
        pass
    try:
        names = [str(each.get("name", "")) for each in reader.nats_connections()]
    except MonitoringError:
        return []
    return sorted({found for name in names if (found := cluster_id_of_connection(name))})


def cluster_id_of_connection(name: str) -> str:
    """Of the streaming server that has a NATS connection of this name, "" if none has."""
    if not name.startswith(_CONNECTION_PREFIX):
        return ""
    for suffix in _CONNECTION_SUFFIXES:
        if name.endswith(suffix):
            return name[len(_CONNECTION_PREFIX) : -len(suffix)]
    return ""


def cluster_id_in(subject: str) -> str:
    """The first token of the cluster ID that a subject is about, "" if it is about none."""
    for prefix in _SUBJECTS:
        if subject.startswith(prefix):
            return subject[len(prefix) :].split(".")[0]
    return ""
