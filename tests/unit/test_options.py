"""Options as a whole: what is refused before anything is opened."""

from __future__ import annotations

import pytest

from nats_streaming.errors import ConfigError
from nats_streaming.server.settings.options import Options


def test_the_defaults_are_fine() -> None:
    Options().check()


@pytest.mark.parametrize("cluster_id", ["a.b", "A-1_x", "é"])
def test_cluster_ids(cluster_id: str) -> None:
    Options(cluster_id=cluster_id).check()


@pytest.mark.parametrize("cluster_id", ["", "a b", ".a", "a.", "a..b", "a\tb", "\n"])
def test_a_cluster_id_must_be_a_subject(cluster_id: str) -> None:
    with pytest.raises(ConfigError, match=r"^could not subscribe to discover subject: nats: invalid subject"):
        Options(cluster_id=cluster_id).check()


@pytest.mark.parametrize("port", [-2, 65_536])
@pytest.mark.parametrize("name", ["port", "http_port"])
def test_ports_have_a_range(name: str, port: int) -> None:
    options = Options()
    setattr(options.nats, name, port)
    with pytest.raises(ConfigError, match=f"^-{name} must be a port up to 65535 or -1 for any free one, got {port}$"):
        options.check()


def test_limits_are_checked() -> None:
    options = Options()
    options.limits.max_messages = -1
    with pytest.raises(ConfigError, match=r"^max messages limit cannot be negative \(-1\)$"):
        options.check()


def test_passwords_are_not_shown() -> None:
    options = Options()
    options.nats.password = options.nats.token = "secret"
    assert "secret" not in repr(options)
