"""Upgrading the link to TLS, against a real nats-server with a certificate made for the test."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from nats_streaming.errors import NatsLinkError
from nats_streaming.nats.embedded_options import EmbeddedOptions
from nats_streaming.nats.server_process import NatsServerProcess
from nats_streaming.nats.urls import ServerUrl
from tests.unit.nats.conftest import Run
from tests.unit.nats.fake_nats import RecordingLink, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")

Server = Callable[..., AbstractAsyncContextManager[NatsServerProcess]]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for `nats.test` and 127.0.0.1, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=nats.test", "-addext", "subjectAltName=DNS:nats.test,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
def context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


@pytest.fixture
def tls_server(certificate: tuple[Path, Path]) -> Server:
    @asynccontextmanager
    async def start(tls: str = "", text: str = "") -> AsyncIterator[NatsServerProcess]:
        config = f'{text}\ntls {{ cert_file: "{certificate[0]}", key_file: "{certificate[1]}", {tls} }}'
        server = NatsServerProcess(EmbeddedOptions(host="127.0.0.1", port=-1, config_text=config))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()

    return start


def test_a_server_that_requires_tls(run: Run, tls_server: Server, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_server() as server:
            link = RecordingLink(server.client_url, ssl_context=context)
            link.connection.subscribe(b"a", 1)
            await link.connection.connect()
            assert link.connection.info.tls_required
            payload = bytes(range(256)) * 2000
            link.connection.write(b"PUB a %d\r\n%b\r\n" % (len(payload), payload))
            while not link.sink.messages:
                await link.seen("chunk", link.count("chunk") + 1)
            assert link.sink.messages == [(1, b"a", b"", payload, 0)]
            await link.connection.close()

    run(main())


def test_it_reconnects(run: Run, tls_server: Server, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_server() as server:
            link = RecordingLink(server.client_url, ssl_context=context, reconnect_wait_s=0.02)
            await link.connection.connect()
            assert server._run is not None
            server._run.process.kill()
            await link.seen("connected", 2)
            await link.connection.flush()
            await link.connection.close()

    run(main())


def test_back_pressure_and_pausing(run: Run, tls_server: Server, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_server() as server:
            link = RecordingLink(server.client_url, ssl_context=context, write_high_bytes=100_000, write_low_bytes=1000)
            link.connection.subscribe(b"b", 1)
            await link.connection.connect()
            link.connection.pause_reading()
            while link.connection.is_writable:  # TLS counts what waits behind a full socket only
                link.connection.write((b"PUB a 998\r\n" + b"x" * 998 + b"\r\n") * 1000 + b"PUB b 0\r\n\r\n")
            assert await link.seen("writable", 1) is False
            assert await link.seen("writable", 2) is True
            assert link.sink.messages == []
            link.connection.resume_reading()
            while not link.sink.messages:
                await link.seen("chunk", link.count("chunk") + 1)
            await link.connection.close()

    run(main())


def test_a_tls_url(run: Run, tls_server: Server, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_server(text="allow_non_tls: true") as server:
            plain = RecordingLink(server.client_url)
            await plain.connection.connect()
            assert plain.connection.info.tls_available
            await plain.connection.close()
            link = RecordingLink(ServerUrl("127.0.0.1", server.port, "tls"), ssl_context=context)
            await link.connection.connect()
            await link.connection.close()
            refused = RecordingLink(ServerUrl("127.0.0.1", server.port, "tls"))
            with pytest.raises(NatsLinkError, match=r"^tls: failed to verify certificate: self"):
                await refused.connection.connect()

    run(main())


def test_tls_demanded_of_a_server_without(run: Run) -> None:
    async def main() -> None:
        async with serving() as server:
            for link in (
                RecordingLink(ServerUrl("127.0.0.1", server.port, "tls")),
                RecordingLink(server.url, tls_required=True),
            ):
                with pytest.raises(NatsLinkError, match=r"^nats: secure connection not available$"):
                    await link.connection.connect()

    run(main())


def test_an_unknown_certificate(run: Run, tls_server: Server) -> None:
    async def main() -> None:
        async with tls_server() as server:
            with pytest.raises(NatsLinkError, match=r"^tls: failed to verify certificate: "):
                await RecordingLink(server.client_url).connection.connect()

    run(main())


def test_the_name_to_verify(run: Run, tls_server: Server, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_server() as server:
            good = RecordingLink(server.client_url, ssl_context=context, tls_hostname="nats.test")
            await good.connection.connect()
            await good.connection.close()
            bad = RecordingLink(server.client_url, ssl_context=context, tls_hostname="other.test")
            with pytest.raises(NatsLinkError, match=r"^tls: failed to verify certificate: "):
                await bad.connection.connect()

    run(main())


def test_our_certificate_is_asked_for(
    run: Run, tls_server: Server, context: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    async def main() -> None:
        async with tls_server(f'ca_file: "{certificate[0]}", verify: true') as server:
            with pytest.raises(NatsLinkError):
                await RecordingLink(server.client_url, ssl_context=context).connection.connect()
            mutual = ssl.create_default_context(cafile=str(certificate[0]))
            mutual.load_cert_chain(*certificate)
            link = RecordingLink(server.client_url, ssl_context=mutual)
            await link.connection.connect()
            await link.connection.close()

    run(main())


def test_handshake_first(run: Run, tls_server: Server, context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_server("handshake_first: true") as server:
            link = RecordingLink(server.client_url, ssl_context=context, tls_required=True, tls_handshake_first=True)
            await link.connection.connect()
            await link.connection.flush()
            await link.connection.close()

    run(main())
