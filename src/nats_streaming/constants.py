"""Limits and defaults: value, unit, reason, source.

Times are integer nanoseconds unless a name's last word says otherwise. "Original" means
nats-streaming-server 0.25.6; sections are those of its protocol-and-delivery specification.
"""

from __future__ import annotations

from typing import Final

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_SECOND: Final = 1_000_000_000

# Identity.

COMPATIBLE_VERSION: Final = "0.25.6"
"""Version of the original whose behaviour we keep; monitoring clients read it."""

STAN_PROTOCOL: Final = 1
"""ConnectResponse field 10, sent to every client, also to those of protocol 0 (section 2.2)."""

NUID_LENGTH: Final = 22
"""Characters of a NUID: server ID, ack inboxes, connection IDs of the libraries (section 1.3)."""

# Defaults of options (section 10).

DEFAULT_CLUSTER_ID: Final = "test-cluster"
DEFAULT_DISCOVER_PREFIX: Final = "_STAN.discover"
DEFAULT_STORE_TYPE: Final = "MEMORY"

DEFAULT_MAX_CHANNELS: Final = 100
"""Channels of a server; 0 is unlimited."""

DEFAULT_MAX_SUBSCRIPTIONS: Final = 1_000
"""Subscriptions of a channel, offline durables included (section 5.9); 0 is unlimited."""

DEFAULT_MAX_MESSAGES: Final = 1_000_000
"""Messages kept in a channel; 0 is unlimited."""

DEFAULT_MAX_BYTES: Final = 1_024_000_000
"""Bytes kept in a channel, encoded size; 0 is unlimited. Decimal in the original: shown as 976.56 MB."""

DEFAULT_MAX_AGE_NS: Final = 0
"""Age at which a message is removed; 0 is unlimited."""

DEFAULT_MAX_INACTIVITY_NS: Final = 0
"""Time without subscription and publish after which a channel is deleted; 0 is never."""

DEFAULT_HEARTBEAT_INTERVAL_NS: Final = 30 * NS_PER_SECOND
"""From the end of one heartbeat to the start of the next, per client (section 3.1)."""

DEFAULT_HEARTBEAT_TIMEOUT_NS: Final = 10 * NS_PER_SECOND
"""Wait for a heartbeat's reply."""

DEFAULT_HEARTBEAT_FAIL_COUNT: Final = 10
"""Failures in a row a client survives: number N+1 closes it."""

DEFAULT_IO_BATCH_SIZE: Final = 1_024
"""Messages of one batch, so of one commit; 0 and 1 mean single messages (section 4.4)."""

DEFAULT_IO_SLEEP_TIME_US: Final = 0
"""Microseconds to wait for more messages before a batch is committed."""

DEFAULT_METRICS_CHANNELS: Final = 1_000
"""Channels with metrics of their own: their names come from clients, and each costs Prometheus three series."""

DEFAULT_METRICS_SUBSCRIPTIONS: Final = 1_000
"""The same for subscriptions, whose inboxes are new with every client."""

DEFAULT_NATS_HOST: Final = "0.0.0.0"
DEFAULT_NATS_PORT: Final = 4222

# Fixed values, not configurable in the original.

DUPLICATE_PROBE_TIMEOUT_NS: Final = 500 * NS_PER_MS
"""Wait for the owner of a client ID to answer before a newcomer takes it over (section 2.3)."""

STANDALONE_PROBE_TIMEOUT_NS: Final = 250 * NS_PER_MS
"""Wait at start for another server with our cluster ID to answer (section 1.3)."""

REDELIVERY_SLACK_NS: Final = 15 * NS_PER_MS
"""Deadlines this close ahead are handled in the same redelivery pass (section 7.1)."""

HAND_OVER_DELAY_NS: Final = 100 * NS_PER_MS
"""From a queue member's leaving to the redelivery of what it had unacked (section 5.8)."""

PING_HEARTBEAT_DELAY_NS: Final = 1 * NS_PER_MS
"""From the ping of a client with failed heartbeats to the heartbeat it triggers (section 3.2)."""

PARTITION_CLIENT_WAIT_NS: Final = 1 * NS_PER_SECOND
"""Wait for a connect racing with a request, partitioned servers only (section 4.6)."""

PARTITION_INVALID_CLIENTS_MAX: Final = 256
"""Known-invalid client IDs a partitioned server remembers (section 4.6)."""

PARTITION_EARLY_BYTES_MAX: Final = 16 << 20
"""Requests of clients that are not known yet which a partitioned server holds for that wait; more is refused."""

PARTITION_CHECK_WAIT_NS: Final = 1 * NS_PER_SECOND
"""Silence after which nobody else has our channels (operations, section 7)."""

PARTITION_NEW_SERVER_DELAY_NS: Final = 500 * NS_PER_MS
"""From the news of another NATS server to asking again, so that its routes are up (operations, section 7)."""

FT_HEARTBEAT_INTERVAL_NS: Final = 1 * NS_PER_SECOND
"""Between two heartbeats of an active server (operations, section 5)."""

FT_MISSED_HEARTBEAT_NS: Final = 1_250 * NS_PER_MS
"""Silence after which a standby tries to become active (operations, section 5)."""

FT_JITTER: Final = 0.1
"""Both are changed by up to this part, once per process, so that standbys do not try at the same instant."""

FT_LOCK_FAILURES_MAX: Final = 3
"""Checks of its own lock that may fail in a row before an active server gives up (operations, section 3.6)."""

LOG_BACK_OFF_MAX_NS: Final = 60 * NS_PER_SECOND
"""A line that would repeat every second comes at 1, 2, 4 ... seconds' distance, at most this."""

PUBLISH_QUEUE_MAX: Final = 65_536
"""Staged publishes before reading from NATS pauses (section 4.4)."""

START_QUEUE_MAX: Final = 2_048
"""Subscriptions waiting for their first delivery (section 5.4)."""

NATS_RECONNECT_WAIT_NS: Final = 250 * NS_PER_MS
"""Between attempts to reach a lost NATS server; attempts are unlimited (section 1.3)."""

NATS_START_TIMEOUT_NS: Final = 10 * NS_PER_SECOND
"""The embedded nats-server must accept connections within this time (operations, section 3.4)."""

# Bounds.

INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)

# Logging.

TRACE: Final = 5
"""Log level below DEBUG: what clients send and get, line by line."""
