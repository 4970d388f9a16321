"""Random scripts of several connections, played through our listener and past it: every connection gets the same.

pytest tests/operations/test_direct_clients_random.py --first-seed 5188 --scripts 1
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from tests.support.nats_scripts import make_script
from tests.support.script_player import Player, play_on_both
from tests.support.servers import ServerProcess, running_server

ARGUMENTS = ("-hbi", "3600s", "-mc", "0", "-m", "-1")
_names = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("first_seed")
        metafunc.parametrize("seed", range(first, first + metafunc.config.getoption("scripts")))


def player(server: ServerProcess) -> Player:
    return Player(server.port, int(server.wait_for_log(r"Starting http monitor on \S+:(\d+)")[1]))


@pytest.fixture(scope="module")
def players() -> Iterator[tuple[Player, Player]]:
    """Where clients connect to the nats-server itself, and where they connect to us."""
    with running_server(*ARGUMENTS, "-direct_clients=false") as plain, running_server(*ARGUMENTS) as direct:
        yield player(plain), player(direct)


async def test_clients_cannot_tell_us_from_a_nats_server(players: tuple[Player, Player], seed: int) -> None:
    # The servers have seen the names of other scripts, and of this one if it is played again.
    script = make_script(seed, b"t%dx%d" % (seed, next(_names)))
    found = await play_on_both(script, players)
    assert not found, "\n".join([f"seed {seed}: what nats-server does, and what we do", *found])


def test_a_script_is_made_by_its_seed_alone() -> None:
    assert make_script(5, b"a") == make_script(5, b"a")
    assert make_script(5, b"a") != make_script(6, b"a")


def test_scripts_say_much() -> None:
    """Of everything that they are for there is something in the first hundred."""
    said = b"".join(
        piece
        for seed in range(100)
        for step in make_script(seed, b"a").steps
        for move in step.moves
        for piece in move.pieces
        if isinstance(piece, bytes)
    )
    for wanted in (
        rb"SUB > ", rb"SUB _STAN\.>", rb"SUB a\.a a-q1 a-q1=", rb"UNSUB 1 2\r", rb"HPUB _STAN\.pub", rb"HPUB a\.b",
        rb"PUB _STAN\.discover", rb"PUB _STAN\.pub", rb"PUB _STAN\.sub", rb"PUB _STAN\.close", rb'"echo":false',
        rb'"no_responders":true', rb'"pedantic":true', rb'"verbose":true', rb"\r\nsub\t", rb"PUB a 2000000\r",
    ):  # fmt: skip
        assert re.search(wanted, said), wanted
