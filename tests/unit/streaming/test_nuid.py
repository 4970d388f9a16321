"""IDs that nobody else has."""

from __future__ import annotations

from nats_streaming.constants import NUID_LENGTH
from nats_streaming.protocol.nats_writer import is_subject
from nats_streaming.streaming.nuid import new_nuid


def test_22_characters_of_base_62_and_every_one_new() -> None:
    made = {new_nuid() for _ in range(2_000)}
    assert len(made) == 2_000
    assert {len(nuid) for nuid in made} == {NUID_LENGTH}
    assert all(nuid.isalnum() and nuid.isascii() and is_subject(b"_INBOX." + nuid) for nuid in made)
    assert all(len({nuid[place] for nuid in made}) > 25 for place in range(NUID_LENGTH)), "every place varies"
