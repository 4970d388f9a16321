"""What an installed distribution promises: its version, its executable, its public names."""

from __future__ import annotations

import importlib
import re
import tomllib
from importlib import metadata

import pytest

import nats_streaming
from nats_streaming.stores.registry import ENTRY_POINT_GROUP

from .checkout import ROOT

DISTRIBUTION = "nats-streaming-server"

PUBLIC_NAMES = {
    "nats_streaming": ["__version__"],
    "nats_streaming.stores.api": ["API_VERSION", "Capabilities", "Store", "StoreFactory"],
    "nats_streaming.stores.batch": [
        "Acked", "ChannelCreated", "ChannelRemoved", "ClientPut", "ClientRemoved", "Deleted", "Messages", "Record",
        "Sent", "ServerPut", "SubscriptionPut", "SubscriptionRemoved", "Trimmed", "decode_batch", "encode_batch",
    ],
    "nats_streaming.stores.segment": ["Segment"],
    "nats_streaming.stores.state": ["StoreState"],
    "nats_streaming.errors": ["ConfigError", "CorruptionError", "StoreError", "StreamingError"],
    "nats_streaming.server": [
        "Options", "ServerState", "ServerThread", "StreamingServer", "default_options", "options_from_arguments",
        "options_from_file", "run_in_thread",
    ],
    "nats_streaming.testing.fake_clock": ["FakeClock"],
    "nats_streaming.testing.pytest_plugin": ["stan_server", "stan_server_factory"],
    "nats_streaming.testing.server_process": ["StanServer", "StanServerError"],
}  # fmt: skip
"""What others may build on. Removing one breaks them: it takes a new API version and a line in CHANGELOG.md."""


def test_versions_agree() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert metadata.version(DISTRIBUTION) == nats_streaming.__version__ == newest[1]


def test_the_readme_says_what_each_dependency_is_for() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*settings["build-system"]["requires"], *settings["project"]["dependencies"]]
    for group in (*settings["dependency-groups"].values(), *settings["project"]["optional-dependencies"].values()):
        wanted += group
    names = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in wanted}
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    told = {name.strip().lower() for row in rows for name in row.split(",")}
    assert not names - told


def test_the_executable_is_the_one_clients_spawn() -> None:
    (script,) = (
        entry
        for entry in metadata.distribution(DISTRIBUTION).entry_points
        if entry.group == "console_scripts" and entry.name == "nats-streaming-server"
    )
    assert callable(script.load())


def test_every_registered_store_can_be_loaded() -> None:
    ours = [entry for entry in metadata.distribution(DISTRIBUTION).entry_points if entry.group == ENTRY_POINT_GROUP]
    assert "MEMORY" in {entry.name for entry in ours}
    assert all(callable(entry.load()) for entry in ours)


@pytest.mark.parametrize("module", PUBLIC_NAMES)
def test_public_names_are_there(module: str) -> None:
    found = importlib.import_module(module)
    assert not [name for name in PUBLIC_NAMES[module] if not hasattr(found, name)]
