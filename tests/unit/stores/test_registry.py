"""Store names to stores. What is installed is made up: entry points of a plain checkout do not exist."""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from nats_streaming.errors import ConfigError, StoreError
from nats_streaming.stores.api import API_VERSION, Capabilities
from nats_streaming.stores.memory import MemoryStore
from nats_streaming.stores.registry import ENTRY_POINT_GROUP, open_store


class ForeignStore:
    """As far as the registry looks at a store."""

    name = "FOREIGN"

    def __init__(self, options: dict[str, Any]) -> None:
        if "bad" in options:
            raise StoreError("no such option")
        self.options = options
        self.capabilities = Capabilities(api_version=options.get("api_version", API_VERSION))


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        EntryPoint("MEMORY", "nats_streaming.stores.memory:MemoryStore", ENTRY_POINT_GROUP),
        EntryPoint("Foreign", f"{__name__}:ForeignStore", ENTRY_POINT_GROUP),
    ]

    def entry_points(*, group: str) -> list[EntryPoint]:
        return found if group == ENTRY_POINT_GROUP else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


@pytest.mark.parametrize("name", ["MEMORY", "memory", "Memory"])
def test_memory_in_any_case(name: str) -> None:
    assert isinstance(open_store(name, {}), MemoryStore)


def test_the_default_store_needs_no_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise AssertionError("looking entry points up costs a tenth of the whole start")

    monkeypatch.setattr(importlib.metadata, "entry_points", fail)
    assert isinstance(open_store("MEMORY", {}), MemoryStore)


@pytest.mark.parametrize("name", ["foreign", "FOREIGN", "Foreign"])
def test_a_third_party_s_store_gets_its_options(name: str) -> None:
    options = {"address": "x"}
    store: Any = open_store(name, options)
    assert type(store).__name__ == "ForeignStore"
    assert store.options is options


@pytest.mark.parametrize("name", ["", "nosuch", "MEMORY2", "FOREIGN "])
def test_an_unknown_store_and_what_there_is(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(name, {})
    assert str(caught.value) == f"unsupported store type: {name.upper()} (installed: FOREIGN, MEMORY)"


def test_when_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    with pytest.raises(ConfigError, match=r"\(installed: none\)$"):
        open_store("NOSUCH", {})


@pytest.mark.parametrize("version", [0, API_VERSION + 1])
def test_a_store_for_another_api(version: int) -> None:
    with pytest.raises(ConfigError, match=f"written for store API {version}, this server has {API_VERSION}"):
        open_store("foreign", {"api_version": version})


@pytest.mark.parametrize(("name", "options"), [("memory", {"speed": "high"}), ("foreign", {"bad": 1})])
def test_a_store_refuses_what_it_does_not_know(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        open_store(name, options)
