"""The grammar as nats-server reads it: the same texts are accepted and refused, and re-emitted ones mean the same.

`nats-server -t` tells what is wrong with a text as a whole: a complaint about a field it does not know means that the
grammar was in order.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nats_streaming.errors import ConfigError
from nats_streaming.nats.binary import find_nats_server
from nats_streaming.nats.config.parser import parse_config, read_config_file
from nats_streaming.nats.config.writer import quote_value, write_config

ACCEPTED = [
    "",
    "# nothing",
    "// nothing\n\n \t",
    "port: 1",
    "port=1",
    "port 1",
    "port\n1",
    "port : 1;host= h, debug true",
    "port: 1 # c",
    "port: 1 // c",
    '"port": 1',
    "'port' = 1\r\n",
    '{"port": 1, "host": "h"}',
    "{\n port: 1\n}\n",
    "{\n port: 1\n} # c\n",
    "port: 1\n}",
    "port: 1 }",
    "a: }\n",
    "a: ,b: 1",
    "a =",
    "m {a: 1}",
    "m: {a: 1; b 2, c = 3\n d: \n 4}",
    "m {\n # c\n a: 1 # d\n // e\n}",
    "m {}",
    "m { n { o { p: 1 } } }",
    "m { 'a b': 1, \"c d\": 2 }",
    "m { a: [ ] }",
    "a: []",
    "a: [1, 2 ]",
    "a: [1\n2\n]",
    'a: ["x", "y",]',
    "a: [x,y]",
    "a: [true, {b: 1}, [c]]",
    "a: [ # c\n x // d\n # e\n y ]",
    "a: [1.5]",
    "a: [-5]",
    "a: #b",
    "a: b#c",
    "a: z//x",
    "a: b=c",
    "a: b{c",
    "a: b:c",
    "a: b'",
    'a: b"c',
    r"a: b\tc\x41",
    "a: 'b\\c'",
    "a: 'b\nc'",
    'a: "b\nc"',
    r'a: "\x41\t\n\r\"\\"',
    "a: (\n b\n)\n",
    "a: (b\nc)\n)",
    "a: 1k",
    "a: 1KB",
    "a: 1Ki, b: 1kib, c: 2mB, d: 3G, e: 1t, f: 1Pb, g: 1e",
    "a: -5k",
    "a: -1.5",
    "a: 1.5",
    "a: 1.2.3.4:5-6",
    "a: -1.2.3",
    "a: 2026-01-31T23:59:59Z",
    "a: 12abc",
    "a: 0x10",
    "a: 1_000",
    "a: 10s",
    "a: 500ms",
    "a: 1kfoo",
    "a: 1m30s",
    "a: 5e7bcd",
    "a: -1kfoo",
    "a: 1]x",
    "a: [1k]",
    "a: 9223372036854775807",
    "a: -9223372036854775808",
    "a: 000000000000000000000000000000001",
    "a: T, b: YES, c: oFF",
    "a: $2a$11$abcdef",
    "b: 1\na: $b",
    "m { b: 1; n { a: $b } }",
    "b: 1\nm { a: $b }",
    "a: $SOME_NUMBER",
    "a: $SOME_MAP",
    "a: $SOME_STRING",
    "a: $EMPTY",
    "a: [$SOME_NUMBER, $SOME_MAP]",
    "include: 1",
    "include=1",
    "'include' 1",
    "include 'other.conf'",
    "include ./other.conf",
    'include "/other.conf"; port: 1',
    "Include other.conf",
    "m { include other.conf }",
    "include 'other.conf'\na: $from_other",
    "a: \xe9",
    "a: \u20ac, \u20ac: 1",
    "a\xa0 1",
]

REFUSED = [
    ": 1",
    "= 1",
    "port",
    "port: 1 host: 2",
    "port:\n1",
    "a: b c",
    "a: 'b",
    'a: "b',
    "'a: 1",
    r'a: "\q"',
    r"a: C:\foo",
    r'a: "\x4"',
    r'a: "\xzz"',
    "a: (b)",
    "a: (\nb\n)x\n",
    "a: (\r\nb\r\n)\r\n",
    "a: [1,2]",
    "a: [1 2]",
    "a: [,]",
    "a: [x,,y]",
    "a: [x",
    "a: [x\n, y]",
    "a: [/b]",
    "m {",
    "m { a: 1",
    "m{ a: 1 }",
    "m { a: b c }",
    "m { : 1 }",
    "m { ] }",
    "m { a: ,}",
    "/a: 1",
    "a: ./b",
    "a: .5",
    "a: -x",
    "a: -",
    "a: -.5",
    "a: 1.",
    "a: 1.x",
    "a: 1.5h",
    "a: -5x",
    "a: 12-34",
    "a: 1234-abc",
    "a: 2026-01-31",
    "a: 2026-13-01T00:00:00Z",
    "a: 9223372036854775808",
    "a: -9223372036854775809",
    "a: 99999999999999999999999999",
    "a: $NOT_THERE",
    "a: $",
    "a: $HOME/x",
    "a: $WITH_SPACES",
    "a: $CYCLE",
    "a: $b\nb: 1",
    "m { b: 1 }\na: $b",
    "include none.conf",
    "include [x]",
    "include 1.conf",
    "include -x",
    "include",
    "include \n",
    "include 'other.conf",
    "include broken.conf",
    "\u0663: \u0663",
]

# What nats-server accepts and we do not, each with what it makes of it.
STRICTER = {
    "a: 1kbb": "it drops the value without a word, and gives the key the next one",
    "a: 8EB": "it wraps round to a negative number",
    "m { a: }": "it gives the value of the whole map to the key inside",
    "m { a }": "the same",
    "m { /a: 1 }": "it drops the slash",
    "m { a { b: 1 }\n , \n }": "the comma becomes a key, whose value is that of the map round it",
    "a: 1\n}\nb": "the brace becomes a key",
    "a: 1\n'": "it takes an open quote at the end for nothing",
    "a: 1 /\n": "it drops a lone slash after a value",
    "\ufeffport: 1": "the mark becomes part of the first key, which it then does not know",
    "a: 0000-01-01T00:00:00Z": "Python has no year 0",
}

# What nats-server refuses and we do not.
MORE_LENIENT = {
    "{ port: 1": "the original let the braces round a whole file open; newer versions of nats-server want them closed",
}

ENVIRONMENT = {
    "SOME_NUMBER": "8222",
    "SOME_MAP": "{ x: 1 }",
    "SOME_STRING": '"a b"',
    "EMPTY": "",
    "WITH_SPACES": "a b",
    "CYCLE": "$CYCLE",
    "HOME": "/",
}

pytestmark = pytest.mark.operations(15)

_GRAMMAR_ERRORS = re.compile(
    r"Parse error|config is invalid|out of the range|variable reference|include file|expected "
)


def nats_server_says(path: Path) -> str:
    done = subprocess.run(
        [find_nats_server(), "-t", "-c", str(path)], capture_output=True, env=ENVIRONMENT, check=False, timeout=20
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "other.conf").write_text("from_other: 1\n")
    (tmp_path / "broken.conf").write_text("a: [\n")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "nats.conf"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("text", [*ACCEPTED, *STRICTER])
def test_nats_server_accepts(folder: Path, text: str) -> None:
    assert not _GRAMMAR_ERRORS.search(nats_server_says(write(folder, text)))


@pytest.mark.parametrize("text", [*ACCEPTED, *MORE_LENIENT])
def test_we_accept(folder: Path, text: str) -> None:
    read_config_file(str(write(folder, text)), ENVIRONMENT)


@pytest.mark.parametrize("text", [*REFUSED, *MORE_LENIENT])
def test_nats_server_refuses(folder: Path, text: str) -> None:
    assert _GRAMMAR_ERRORS.search(nats_server_says(write(folder, text)))


@pytest.mark.parametrize("text", [*REFUSED, *STRICTER])
def test_we_refuse_and_say_where(folder: Path, text: str) -> None:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_config_file(str(path), ENVIRONMENT)
    assert re.match(rf"{re.escape(str(folder))}/\w+\.conf:\d+:\d+: \S", str(caught.value))


COMPLETE = r"""
# Values of every kind that a nats-server takes.
listen: 127.0.0.1:4333   // comment
server_name = "a_\"quoted\"_name"
max_payload 1MB; max_connections: 64K
write_deadline: "10s"
server_tags: ['t:1', x:y, "z\x41\t"
  last ]
authorization {
  timeout: 1.5
  default_permissions { publish = ["a.>", 'b.*'], subscribe: { allow: [">"], deny: [c] } }
  users [
    { user: a, password: $2a$11$W2zko751KUvVy59mUTWmpOdWjpEm5qhcCZRd05GjI/sSOT.xtiHyG }
    { user: $SOME_NAME, password: 'p$w#{}\' , permissions: { publish: x } },
  ]
}
cluster { name: c, listen: "127.0.0.1:-1", no_advertise: yes
  routes = [ nats://127.0.0.1:6223 ] }
jetstream { store_dir: "/tmp/js", max_mem: 1GB, max_file: 2GB }
"""


def digest(path: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [find_nats_server(), "-t", "-c", str(path)],
        capture_output=True, text=True, env=environment, check=False, timeout=20,
    )  # fmt: skip
    match = re.search(r"is valid \((sha256:\w+)\)", done.stdout + done.stderr)
    assert match, done.stdout + done.stderr
    return match[1]


def test_a_re_emitted_file_means_the_same_to_nats_server(tmp_path: Path) -> None:
    environment = {"SOME_NAME": '"name of the environment"'}
    path = write(tmp_path, COMPLETE)
    original = digest(path, environment)
    path.write_text(write_config(read_config_file(str(path), environment)).text)
    assert digest(path, environment) == original
    path.write_text(COMPLETE.replace("'b.*'", "'b.c'"))
    assert digest(path, environment) != original, "the digest must tell values apart"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), max_size=30))
def test_nats_server_reads_any_string_we_quote(tmp_path: Path, strings: list[str]) -> None:
    """Single quotes take everything as it is but themselves: what we write in double quotes must be equal to that."""
    raw = [text.replace("'", "") for text in strings]
    path = write(tmp_path, "server_tags: [" + "\n".join(f"'{text}'" for text in raw) + "\n]\n")
    original = digest(path, {})
    path.write_bytes(("server_tags: [" + "\n".join(map(quote_value, raw)) + "\n]\n").encode())
    assert digest(path, {}) == original
    ours = parse_config(path.read_bytes().decode(), "x")["server_tags"].value
    assert isinstance(ours, list)
    assert [setting.value for setting in ours] == raw
