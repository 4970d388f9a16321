"""OpenSSL is left out of a process that encrypts nothing, and of no other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nats_streaming.errors import NatsLinkError
from nats_streaming.nats.connection import NatsConnection
from nats_streaming.nats.handshake import LinkOptions
from nats_streaming.nats.urls import parse_server_urls
from nats_streaming.protocol.nats_reader import MessageSink
from nats_streaming.server.process.openssl import may_encrypt, why_no_tls
from nats_streaming.server.settings.library_options import options_from_arguments
from tests.support.servers import running_nats

uvloop_only = pytest.mark.skipif(sys.platform == "win32", reason="there OpenSSL stays")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-st", "FILE", "-dir", "d"],
        ["-st", "FILE", "-dir", "d", "-encrypt", "-encryption_key", "k"],
        ["-p", "4333", "-a", "127.0.0.1", "-SDV", "-user", "u", "-pass", "p", "-l", "log"],
        ["-st", "FILE", "-dir", "d", "-ft_group", "g"],
        ["-direct_clients=false"],
    ],
)
def test_what_encrypts_no_connection(arguments: list[str]) -> None:
    assert not may_encrypt(options_from_arguments(arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ["-ns", "nats://127.0.0.1:4222"],
        ["-secure"],
        ["-st", "SQL", "-sql_driver", "postgres", "-sql_source", "dbname=d"],
        ["-st", "THEIRS"],
        ["-m", "8222"],
        ["-tls", "-tlscert", "c", "-tlskey", "k"],
        ["-tls_client_cacert", "ca", "-tls", "-tlscert", "c", "-tlskey", "k"],
        ["-cluster", "nats://127.0.0.1:6222"],
    ],
)
def test_what_might_encrypt_one(arguments: list[str]) -> None:
    assert may_encrypt(options_from_arguments(arguments))


@pytest.mark.parametrize(
    ("config", "might"),
    [
        ("max_payload: 1MB", False),
        ("authorization { user: u, password: p }", False),
        ("tls { cert_file: c, key_file: k }", True),
        ("authorization { users: [{ user: u, password: p }] }", True),
        ("streaming { tls { client_ca: ca } }", True),
        ("websocket { port: -1, no_tls: true }", True),
    ],
)
def test_configuration_files(tmp_path: Path, config: str, might: bool) -> None:
    file = tmp_path / "server.conf"
    file.write_text(config)
    assert may_encrypt(options_from_arguments(["-c", str(file)])) is might


def ran(code: str) -> str:
    """What Python code prints, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@uvloop_only
def test_loops_work_without_it_and_others_may_have_it() -> None:
    code = """
        import sys
        from nats_streaming.server.process.openssl import leave_out_openssl, why_no_tls
        leave_out_openssl()
        import asyncio, uvloop
        from nats_streaming.server.process.event_loop import loop_factory

        async def handle(reader, writer):
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"echo\\n")
            print(await reader.readline(), isinstance(asyncio.get_running_loop(), uvloop.Loop))
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            print({"ssl", "_ssl"} & set(sys.modules), why_no_tls() != "")
            import ssl
            context = ssl.create_default_context()
            try:
                await asyncio.open_connection(*address, ssl=context)
            except RuntimeError as error:
                print(error)

        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(main())
        """
    assert ran(code) == "b'echo\\n' True\nset() True\n" + (
        "no TLS: this server was started with a configuration without TLS, and has to be started again for it\n"
    )


@uvloop_only
@pytest.mark.parametrize("module", ["ssl", "asyncio", "uvloop"])
def test_where_it_is_already_it_stays(module: str) -> None:
    code = f"""
        import {module}
        from nats_streaming.server.process.openssl import leave_out_openssl, why_no_tls
        leave_out_openssl()
        import asyncio, asyncio.sslproto, ssl
        print(why_no_tls() == "", asyncio.sslproto.ssl is ssl, "_ssl" in __import__("sys").modules)
        """
    assert ran(code) == "True True True\n"


def test_nothing_is_left_out_of_who_did_not_ask() -> None:
    assert why_no_tls() == ""


def test_a_link_says_why_it_cannot_encrypt(tmp_path: Path) -> None:
    options = LinkOptions("me", tls_impossible="because", tls_handshake_first=True)

    async def connect(port: int) -> None:
        await NatsConnection(parse_server_urls(f"tls://127.0.0.1:{port}"), MessageSink(), options).connect()

    with running_nats(tmp_path) as port, pytest.raises(NatsLinkError, match=r"secure connection required: because$"):
        asyncio.run(connect(port))
