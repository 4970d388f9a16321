"""Which build is loaded, and one seed for everything that is random: both stand in the header of the run."""

from __future__ import annotations

import random
from zlib import crc32

import pytest
from hypothesis import settings

from nats_streaming.server.version import build_kind

settings.register_profile("unit", max_examples=50, deadline=None, print_blob=True, derandomize=False)

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="repeat the random choices of the unit tests")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("unit")
    seed = config.getoption("--seed", None)
    if seed is None:
        given = config.getoption("--hypothesis-seed", None)
        seed = int(given) if given is not None and str(given).isdigit() else random.SystemRandom().randrange(2**32)
    config.stash[_SEED] = seed
    # Hypothesis would take a seed of its own and name it only on a failure.
    config.option.hypothesis_seed = seed


def pytest_report_header(config: pytest.Config) -> str:
    return f"unit tests: {build_kind()} build, seed: {config.stash[_SEED]} (--seed N repeats one)"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random choices of one test, the same again under the same seed whichever tests run beside it."""
    return random.Random(request.config.stash[_SEED] ^ crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="session")
def is_compiled() -> bool:
    """Whether the data plane runs as machine code."""
    return build_kind() == "compiled"
