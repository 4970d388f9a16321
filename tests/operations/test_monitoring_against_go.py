"""Our monitoring beside the original's: the same clients do the same on both, and the pages must agree.

What cannot agree is masked: IDs made up by the server, times, the version of the language, file descriptors.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.interop.prepare import prepare
from tests.operations.monitoring_session import Session, ask
from tests.support.servers import ServerProcess, executable, free_port

PAGES = ("/streaming/serverz", "/streaming/storez", "/streaming/clientsz", "/streaming/channelsz")
QUERIES = (
    "", "?subs=1", "?subs=01", "?subs=%2B1", "?subs=true", "?subs=2", "?offset=1", "?offset=2&limit=1",
    "?limit=2&subs=1", "?offset=99", "?offset=99&subs=1", "?offset=-1&limit=-1", "?limit=0", "?limit=0x10&offset=x",
    "?limit=%2B2&offset=00", "?limit=2&limit=1", "?limit=99999999999999999999", "?callback=f",
    "?callback=f&subs=1&limit=1", "?callback=",
    "?callback=a%3Cb%C3%BC", "?subs", "?%zz=1&subs=1", "?SUBS=1",
)  # fmt: skip
SINGLE = (
    "/streaming/clientsz?client=cli-a",
    "/streaming/clientsz?client=cli-a&subs=1",
    "/streaming/clientsz?client=cli-idle&subs=1",
    "/streaming/clientsz?client=cli-b&subs=1&callback=f",
    "/streaming/clientsz?client=nobody",
    "/streaming/clientsz?client=%3Cb%3E%26&callback=f",
    "/streaming/clientsz?client=",
    "/streaming/channelsz?channel=foo",
    "/streaming/channelsz?channel=foo&subs=1",
    "/streaming/channelsz?channel=odd%3C%26name&subs=1",
    "/streaming/channelsz?channel=gr%C3%BCn",
    "/streaming/channelsz?channel=quiet&subs=1&callback=f",
    "/streaming/channelsz?channel=none&callback=f",
    "/streaming/channelsz?channel=FOO",
    "/streaming/channelsz?channel=a%0Ab",
)
ELSEWHERE = (
    "/streaming/", "/streaming/serverz/", "/streaming/nope", "/streaming/Serverz", "/streaming/isFTActive",
    "/streaming/isFTActive?callback=f", "/streaming/server%7A",
)  # fmt: skip
NATS_PAGES = (
    "varz",
    "connz",
    "routez",
    "gatewayz",
    "leafz",
    "subsz",
    "accountz",
    "accstatz",
    "jsz",
    "healthz",
    "stacksz",
    "no",
)

MASKS = (
    (re.compile(r'("(?:server_id|go|now|start_time|uptime|ack_inbox)"): "[^"]*"'), r'\1: "*"'),
    (re.compile(r'("(?:open_fds|max_fds)"): \d+'), r"\1: 0"),
    (re.compile(r"_INBOX\.[0-9A-Za-z]+"), "_INBOX.*"),
)
SUBSCRIPTION = re.compile(r'\{\s+"client_id": [^{}]*\}')
SUBSCRIPTIONS = re.compile(rf"{SUBSCRIPTION.pattern}(?:,\s+{SUBSCRIPTION.pattern})*")
HEADERS = ("content-type", "access-control-allow-origin", "x-content-type-options", "server")


class Pair:
    """Ours and the original, after the same session; after a restart the original has subscriptions in any order."""

    def __init__(self, ours: int, theirs: int, *, is_ordered: bool) -> None:
        self.ours = ours
        self.theirs = theirs
        self._is_ordered = is_ordered

    def agree(self, path: str, method: str = "GET") -> None:
        """Both answer the same, masked."""
        assert self.told(self.ours, path, method) == self.told(self.theirs, path, method), path

    def told(self, port: int, path: str, method: str) -> tuple[int, dict[str, str | None], str]:
        answer = ask(port, path, method)
        text = answer.body.decode("utf-8", "backslashreplace")
        for pattern, mask in MASKS:
            text = pattern.sub(mask, text)
        if not self._is_ordered:
            text = SUBSCRIPTIONS.sub(lambda match: "".join(sorted(SUBSCRIPTION.findall(match[0]))), text)
        return answer.status, {name: answer.header(name) for name in HEADERS}, text


@pytest.fixture(scope="module", params=["MEMORY", "FILE", "FILE restarted"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    (original,) = prepare("go-server").command
    servers, ports, sessions = [], [], []
    with asyncio.Runner() as runner:
        try:
            for binary in (executable(), original):
                port = free_port()
                store, _, restarted = request.param.partition(" ")
                arguments = ["-st", store, "-m", str(port), "-mc", "7", "-ma", "1h", "-mi", "10m", "-hbi", "1h"]
                if store == "FILE":
                    arguments += ["-dir", str(tmp_path_factory.mktemp("store"))]
                server = ServerProcess(*arguments)
                servers.append(server)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv("STAN_SERVER_UNDER_TEST", binary)
                    server.start()
                    session = Session(server.port)
                    sessions.append(session)
                    runner.run(session.live())
                    if restarted:
                        runner.run(session.close())
                        server.stop()
                        server.start()
                ports.append(port)
            yield Pair(*ports, is_ordered=not restarted)
            for session in sessions:
                runner.run(session.close())
        finally:
            for server in servers:
                server.close()


@pytest.mark.operations(40, 41, 42, 43, 44, 45, 46)
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("page", PAGES)
def test_pages_agree(pair: Pair, page: str, query: str) -> None:
    pair.agree(page + query)


@pytest.mark.operations(40, 44, 45, 46)
@pytest.mark.parametrize("path", SINGLE)
def test_single_entries_agree(pair: Pair, path: str) -> None:
    pair.agree(path)


@pytest.mark.operations(40, 47)
@pytest.mark.parametrize("path", ELSEWHERE)
def test_other_paths_agree(pair: Pair, path: str) -> None:
    pair.agree(path)


@pytest.mark.operations(40)
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", [*PAGES, "/streaming/isFTActive", "/streaming/nope"])
def test_every_method_is_served_like_get(pair: Pair, path: str, method: str) -> None:
    pair.agree(path, method)


@pytest.mark.operations(40)
@pytest.mark.parametrize("name", NATS_PAGES)
def test_nats_pages_answer_alike(pair: Pair, name: str) -> None:
    """The nats-server is a newer one, so only what frames the page is compared."""
    for path in (f"/{name}", f"/{name}?callback=f"):
        ours, theirs = ask(pair.ours, path), ask(pair.theirs, path)
        assert ours.status == theirs.status, path
        for header in ("content-type", "access-control-allow-origin", "x-content-type-options"):
            assert ours.header(header) == theirs.header(header), path


@pytest.mark.operations(40)
def test_start_page(pair: Pair) -> None:
    ours, theirs = ask(pair.ours, "/streaming"), ask(pair.theirs, "/streaming")
    assert (ours.status, ours.header("content-type")) == (theirs.status, theirs.header("content-type"))
    links = re.compile(r'href="?(\./streaming/[a-z]+)')
    assert set(links.findall(theirs.text)) <= set(links.findall(ours.text))
