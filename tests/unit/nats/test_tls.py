"""Upgrading the link to TLS, against a scripted server with a certificate made for the test."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from nats_streaming.errors import NatsLinkError
from nats_streaming.nats.urls import ServerUrl
from tests.unit.nats.conftest import Run
from tests.unit.nats.fake_nats import FakeNats, RecordingLink, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


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
def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def client_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


def test_a_server_that_requires_tls(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        server = FakeNats(tls_required=True)
        server.tls = server_context
        async with serving(server):
            link = RecordingLink(server.url, ssl_context=client_context)
            link.connection.subscribe(b"a", 1)
            await link.connection.connect()
            peer = await server.peer()
            assert peer.connect["tls_required"] is True
            assert peer.writer.get_extra_info("ssl_object") is not None
            await peer.line(b"SUB")
            peer.send(b"MSG a 1 300000\r\n" + b"x" * 300_000 + b"\r\n")
            while not link.sink.messages:
                await link.seen("chunk", link.count("chunk") + 1)
            link.connection.write(b"PUB a 2\r\nhi\r\n")
            await link.connection.flush()
            await peer.line(b"PUB")
            peer.drop()  # and again after a loss
            await server.peer()
            await link.seen("connected", 2)
            await link.connection.close()

    run(main())


def test_back_pressure_and_pausing_work_through_tls(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        server = FakeNats(tls_required=True)
        server.tls = server_context
        async with serving(server):
            link = RecordingLink(server.url, ssl_context=client_context, write_high_bytes=1000, write_low_bytes=100)
            await link.connection.connect()
            peer = await server.peer()
            link.connection.pause_reading()
            peer.send(b"MSG a 1 1\r\nx\r\n")
            link.connection.resume_reading()
            await link.seen("chunk")
            link.connection.write((b"x" * 998 + b"\r\n") * 4000)
            await link.seen("writable", 2)
            assert [value for name, value in link.events if name == "writable"][:2] == [False, True]
            await link.connection.close()

    run(main())


@pytest.mark.parametrize("available", [True, False])
def test_a_tls_url(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, available: bool) -> None:
    async def main() -> None:
        server = FakeNats(tls_available=available)
        server.tls = server_context if available else None
        async with serving(server):
            link = RecordingLink(ServerUrl("127.0.0.1", server.port, "tls"), ssl_context=client_context)
            if available:
                await link.connection.connect()
            else:
                with pytest.raises(NatsLinkError, match="^nats: secure connection not available$"):
                    await link.connection.connect()
            await link.connection.close()

    run(main())


def test_an_unknown_certificate(run: Run, server_context: ssl.SSLContext) -> None:
    async def main() -> None:
        server = FakeNats(tls_required=True)
        server.tls = server_context
        async with serving(server):
            link = RecordingLink(server.url, password="secret")
            with pytest.raises(NatsLinkError, match="^tls: failed to verify certificate: "):
                await link.connection.connect()

    run(main())


def test_the_name_to_verify(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        server = FakeNats(tls_required=True)
        server.tls = server_context
        async with serving(server):
            good = RecordingLink(server.url, ssl_context=client_context, tls_hostname="nats.test")
            await good.connection.connect()
            await good.connection.close()
            bad = RecordingLink(server.url, ssl_context=client_context, tls_hostname="other.test")
            with pytest.raises(NatsLinkError, match="^tls: failed to verify certificate: "):
                await bad.connection.connect()

    run(main())


def test_handshake_first(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        server = FakeNats(tls_required=True)
        server.tls, server.tls_first = server_context, True
        async with serving(server):
            link = RecordingLink(
                server.url, ssl_context=client_context, tls_required=True, tls_handshake_first=True
            )
            await link.connection.connect()
            assert (await server.peer()).connect["tls_required"] is True
            await link.connection.close()

    run(main())


def test_nothing_sent_before_the_upgrade_counts(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        server = FakeNats(tls_required=True)
        server.tls = server_context
        # A half frame injected behind INFO must not swallow the beginning of what is encrypted.
        server.raw_info = b'INFO {"tls_required":true}\r\nMSG a 1 100\r\nxx'
        async with serving(server):
            link = RecordingLink(server.url, ssl_context=client_context)
            try:
                await link.connection.connect()
            except NatsLinkError:
                pass  # the injected bytes may also have broken the handshake itself
            else:
                await link.connection.flush()
            assert link.sink.messages == []
            await link.connection.close()

    run(main())
