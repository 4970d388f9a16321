"""Every client library plays every scenario."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..support.servers import ServerProcess
from .prepare import LANGUAGES, Program
from .scenarios import SCENARIOS, stage

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_scenario(language: str, scenario: str, prepared: Callable[[str], Program], server: ServerProcess) -> None:
    with stage(prepared(language), server, f"{language}-{scenario}") as own:
        SCENARIOS[scenario](own)
