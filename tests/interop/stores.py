"""What waits for a store that keeps messages: strict, so that the marks go when the store comes."""

from __future__ import annotations

import os

import pytest

needs_file_store = pytest.mark.xfail(
    not os.environ.get("STAN_SERVER_UNDER_TEST"), reason="starts its server with the FILE store", strict=True
)
