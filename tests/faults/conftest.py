from __future__ import annotations

import pytest

from tests.support.coroutine_tests import run_if_coroutine
from tests.unit.nats.conftest import run

__all__ = ["run"]

TEST_SECONDS = 120.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_if_coroutine(pyfuncitem, TEST_SECONDS)
