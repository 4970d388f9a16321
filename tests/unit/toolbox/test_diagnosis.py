"""What gives a streaming server away."""

from __future__ import annotations

import pytest

from nats_streaming.toolbox.diagnosis import cluster_id_in, cluster_id_of_connection


@pytest.mark.parametrize(
    ("subject", "cluster_id"),
    [
        ("_STAN.discover.orders", "orders"),
        ("_STAN.pub.orders.some.channel", "orders"),
        ("_STAN.ft.orders.group", "orders"),
        ("_STAN.acks.xyz", ""),
        ("orders", ""),
    ],
)
def test_subjects(subject: str, cluster_id: str) -> None:
    assert cluster_id_in(subject) == cluster_id


@pytest.mark.parametrize(
    ("name", "cluster_id"),
    [("_NSS-test-cluster-general", "test-cluster"), ("_NSS-a-acks", "a"), ("_NSS-a", ""), ("other-general", "")],
)
def test_connection_names(name: str, cluster_id: str) -> None:
    assert cluster_id_of_connection(name) == cluster_id
