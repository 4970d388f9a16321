"""How the server logs in to NATS, by flags and files, and what becomes of it when NATS refuses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.operations.monitoring_session import ask
from tests.support.certificates import Authority
from tests.support.nats_servers import NatsServer
from tests.support.nkey_files import new_user, operator_mode
from tests.support.raw_client import NatsClient, StanClient, unique
from tests.support.servers import Ended, ServerProcess, free_port, run_to_end

Start = Callable[..., ServerProcess]
Configure = Callable[..., tuple[str, ...]]

TWO_USERS = "authorization { users [ {user: a, password: pa}, {user: b, password: pb} ] }\n"


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Writes a configuration file; returns the arguments that name it."""

    def write(nats: str = "", streaming: str = "") -> tuple[str, ...]:
        path = tmp_path / "server.conf"
        path.write_text(f"{nats}\nstreaming {{\n{streaming}\n}}\n")
        return ("-c", str(path))

    return write


@pytest.fixture
def nats() -> Iterator[Callable[..., NatsServer]]:
    """Starts nats-servers of their own."""
    servers: list[NatsServer] = []

    def start(config: str = "", *arguments: str) -> NatsServer:
        server = NatsServer(config, *arguments)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()


def fails(*arguments: str) -> Ended:
    """How a start ends that must not succeed."""
    ended = run_to_end("-p", str(free_port()), "-a", "127.0.0.1", *arguments)
    assert ended.status == 1
    assert "is ready\n" not in ended.err.replace("[INF] Server is ready\n", "")
    return ended


def failure(*arguments: str) -> str:
    """The text of the fatal line."""
    found = re.search(r"\[FTL\] STREAM: Failed to start: (.*)", fails(*arguments).err)
    assert found
    return found[1]


async def works(server: ServerProcess, **login: str) -> None:
    client = await StanClient.connect(await NatsClient.connect(server.port, **login), unique("client-"))
    await client.publish("foo")
    await client.close()
    await client.nats.close()


async def refusal(port: int, **login: str) -> bytes:
    """What NATS answers to a client that it does not let in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        assert (await reader.readline()).startswith(b"INFO ")
        writer.write(b"CONNECT " + json.dumps({"verbose": False, **login}).encode() + b"\r\nPING\r\n")
        return await reader.readline()
    finally:
        writer.close()


# Users and tokens


@pytest.mark.operations(78)
@pytest.mark.parametrize(
    ("arguments", "login"),
    [
        (("-user", "u", "-pass", "p"), {"user": "u", "pass": "p"}),
        (("-user", "u"), {"user": "u", "pass": ""}),
        (("-auth", "t"), {"auth_token": "t"}),
    ],
    ids=["user and password", "user alone", "token"],
)
async def test_flags_are_asked_of_clients_and_used_by_us(
    start: Start, arguments: tuple[str, ...], login: dict[str, str]
) -> None:
    server = start(*arguments)
    await works(server, **login)
    assert await refusal(server.port) == b"-ERR 'Authorization Violation'\r\n"


@pytest.mark.operations(78)
async def test_user_and_password_come_from_wherever_each_is_set(start: Start, configure: Configure) -> None:
    server = start(*configure(TWO_USERS, "username: b, password: pa"), "-user", "a")
    await works(server, user="b", **{"pass": "pb"})


@pytest.mark.operations(23, 78)
def test_an_external_nats(start: Start, nats: Callable[..., NatsServer], configure: Configure) -> None:
    """By flags, by streaming keys, in the URL; members of a list that are down are passed over."""
    server = nats(TWO_USERS)
    address = f"127.0.0.1:{server.port}"
    down = f"127.0.0.1:{free_port()}"
    for arguments in (
        ("-ns", f"nats://{address}", "-user", "a", "-pass", "pa"),
        ("-ns", f"nats://{address}", *configure("", "username: a, password: pa")),
        ("-ns", f"nats://a:pa@{address}"),
        ("-ns", f"nats://{down}, a:pa@{address}"),
    ):
        start(*arguments, external=True).stop()
    assert failure("-ns", f"nats://{address}") == "nats: Authorization Violation"


# NKeys and credentials files


@pytest.mark.operations(79)
def test_an_nkey(start: Start, nats: Callable[..., NatsServer], configure: Configure, tmp_path: Path) -> None:
    user, stranger = new_user(), new_user()
    server = nats(f"authorization {{ users [ {{ nkey: {user.public} }} ] }}")
    seed = tmp_path / "seed.nk"
    seed.write_text(f"# ours\n{user.seed}\n")
    arguments = (*configure("", f'nkey_seed_file: "{seed}"'), "-ns", server.url)
    running = start(*arguments, external=True)
    seed.write_text(stranger.seed)
    server.kill()
    server.start()
    running.wait_for_log(r"cannot reconnect to NATS Server at .*: nats: Authorization Violation")
    seed.write_text(user.seed)
    running.wait_for_log(r'connection "_NSS-test-cluster-general" reconnected to NATS Server')


@pytest.mark.operations(79)
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "nats: open {path}: no such file or directory"),
        ("", "nkeys: no nkey seed found in {path}"),
        ("hello\n", "nkeys: no nkey seed found in {path}"),
        ("SU" + "A" * 56, "nkeys: invalid checksum of the nkey seed in {path}"),
    ],
)
def test_a_bad_seed_file(configure: Configure, tmp_path: Path, content: str | None, text: str) -> None:
    path = tmp_path / "seed.nk"
    if content is not None:
        path.write_text(content)
    assert failure(*configure("", f'nkey_seed_file: "{path}"')) == text.format(path=path)


@pytest.mark.operations(79)
def test_a_credentials_file(
    start: Start, nats: Callable[..., NatsServer], configure: Configure, tmp_path: Path
) -> None:
    path = tmp_path / "user.creds"
    config = operator_mode(path)
    start(*configure(config, f'credentials: "{path}"')).stop()
    server = nats(config)
    start("-ns", server.url, *configure("", f'credentials: "{path}"'), external=True).stop()
    assert failure("-ns", server.url) == "nats: Authorization Violation"
    path.write_text("hello")
    arguments = ("-ns", server.url, *configure("", f'credentials: "{path}"'))
    assert failure(*arguments) == f"nats: no user JWT found in {path}"
    path.unlink()
    assert failure(*arguments) == f"nats: open {path}: no such file or directory"


@pytest.mark.operations(79)
def test_a_credentials_file_is_read_when_it_is_asked_for(start: Start, configure: Configure) -> None:
    """As in the original: a server that sends no nonce wants none."""
    start(*configure("", "credentials: /nonexistent/user.creds"))


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server_tls(authority: Authority) -> str:
    """TLS of a nats-server, its block still open."""
    certificate, key = authority.issue("server", "nats.test", "127.0.0.1")
    return f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.path}"'


@pytest.mark.operations(80)
def test_an_authority_of_our_own(start: Start, configure: Configure, server_tls: str, authority: Authority) -> None:
    start(*configure(f"{server_tls} }}", f'tls {{ client_ca: "{authority.path}" }}'))


@pytest.mark.operations(80)
def test_a_server_that_wants_tls_gets_it_unasked_and_is_verified(configure: Configure, server_tls: str) -> None:
    text = r"tls: failed to verify certificate: "
    assert failure(*configure(f"{server_tls} }}")).startswith(text)
    assert failure(*configure(f"{server_tls} }}", "secure: true")).startswith(text)


@pytest.mark.operations(80)
def test_system_roots_are_trusted(start: Start, configure: Configure, server_tls: str, authority: Authority) -> None:
    """OpenSSL takes the place of the system's roots from its environment variable."""
    start(*configure(f"{server_tls} }}", "secure: true"), environment={"SSL_CERT_FILE": str(authority.path)})


@pytest.mark.operations(80)
def test_both_sides_show_certificates(
    start: Start, configure: Configure, server_tls: str, authority: Authority
) -> None:
    certificate, key = authority.issue("client")
    ours = f'client_cert: "{certificate}", client_key: "{key}"'
    ca = f'client_ca: "{authority.path}"'
    start(*configure(f"{server_tls}, verify: true }}", f"tls {{ {ca}, {ours} }}")).stop()
    assert re.search(
        "tls|certificate|reset|closed|broken", failure(*configure(f"{server_tls}, verify: true }}", f"tls {{ {ca} }}"))
    )


@pytest.mark.operations(80)
def test_the_name_in_the_certificate(
    start: Start, nats: Callable[..., NatsServer], configure: Configure, server_tls: str, authority: Authority
) -> None:
    ca = f'client_ca: "{authority.path}"'
    text = failure(*configure(f"{server_tls} }}", f"tls {{ {ca}, server_name: other.test }}"))
    assert text.startswith("tls: failed to verify certificate: ")
    assert "other.test" in text
    certificate, key = authority.issue("named", "nats.test")
    named = nats(f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}')
    assert failure(*configure("", f"tls {{ {ca} }}"), "-ns", named.url).startswith(
        "tls: failed to verify certificate: "
    )
    start(*configure("", f"tls {{ {ca}, server_name: nats.test }}"), "-ns", named.url, external=True)


@pytest.mark.operations(80)
def test_verification_can_be_left_out_loudly(start: Start, configure: Configure, server_tls: str) -> None:
    server = start(*configure(f"{server_tls} }}", "tls { insecure: true }"))
    warning = "[WRN] STREAM: TLS certificate chain and hostname will not be verified. DO NOT USE IN PRODUCTION!\n"
    assert warning in server.log()


@pytest.mark.operations(80)
@pytest.mark.parametrize("streaming", ["secure: true", 'tls {{ client_ca: "{ca}" }}', "tls {{ insecure: true }}"])
def test_a_server_without_tls_is_refused_by_who_wants_it(
    configure: Configure, authority: Authority, streaming: str
) -> None:
    text = failure(*configure("", streaming.format(ca=authority.path)))
    assert text == "nats: secure connection not available"


@pytest.mark.operations(80)
def test_a_server_that_begins_with_tls(
    start: Start, configure: Configure, server_tls: str, authority: Authority
) -> None:
    start(
        *configure(
            f"{server_tls}, handshake_first: true }}",
            f'tls {{ client_ca: "{authority.path}", handshake_first: true }}',
        )
    )


@pytest.mark.operations(80)
def test_a_certificate_that_cannot_be_used(configure: Configure, authority: Authority) -> None:
    (certificate, _), (_, key) = authority.issue("client"), authority.issue("other")
    text = failure(*configure("", f'tls {{ client_cert: "{certificate}", client_key: "{key}" }}'))
    assert text == "nats: error loading client certificate: tls: private key does not match public key"


@pytest.mark.operations(81)
def test_the_trap_of_the_tls_flags_is_explained(authority: Authority) -> None:
    ended = run_to_end("-tls_client_cacert", str(authority.path))
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("TLS Server certificate must be present and valid")


# Permissions


def example_permissions() -> str:
    """The configuration that the guide shows, so that what it shows works."""
    guide = Path(__file__).resolve().parents[2] / "docs" / "guide" / "security.md"
    found = re.search(r"^    (authorization \{.*?)^\S", guide.read_text(), re.DOTALL | re.MULTILINE)
    assert found, "no example in docs/guide/security.md"
    return found[1]


@pytest.mark.operations(82)
async def test_the_permissions_of_the_guide(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "server.conf"
    path.write_text(example_permissions())
    server = start("-c", str(path), "-SD")
    nats = await NatsClient.connect(server.port, user="shop", **{"pass": "shop-secret"})
    client = await StanClient.connect(nats, "shop")
    durable = await client.subscribe("orders", durable="d", queue="q")
    other = await client.subscribe("orders")
    await client.publish("orders", b"one")
    for subscription in (durable, other):
        delivery = await subscription.next()
        assert delivery.data == b"one"
        subscription.ack(delivery)
    await other.unsubscribe()
    await durable.close()
    await client.ping()
    assert nats.errors == []
    client.publish_nowait("secrets", b"x")
    await nats.flush()
    assert nats.errors == [b"-ERR 'Permissions Violation for Publish to \"_STAN.pub.test-cluster.secrets\"'"]
    await client.close()
    await nats.close()
    assert "Permissions Violation" not in server.log()


@pytest.mark.operations(82)
async def test_a_subscription_that_nats_refuses_us_is_named(start: Start, configure: Configure) -> None:
    """As the original we go on, but nobody can take the server for sound."""
    users = (
        "authorization { users [ {user: a, password: pa},"
        ' {user: s, password: ps, permissions { subscribe: { deny: ["_STAN.sub.test-cluster"] } } } ] }'
    )
    port = free_port()
    server = start(*configure(users, "username: s, password: ps"), "-m", str(port))
    log = server.log()
    ready = await asyncio.to_thread(ask, port, "/healthz/ready")
    assert ready.status == 503
    assert "not allow us to subscribe to _STAN.sub.test-cluster" in ready.text
    assert (
        "[ERR] STREAM: Asynchronous error on connection _NSS-test-cluster-general:"
        ' nats: Permissions Violation for Subscription to "_STAN.sub.test-cluster"\n'
    ) in log
    assert '[ERR] STREAM: NATS does not allow us to subscribe to "_STAN.sub.test-cluster"' in log
    assert log.index("does not allow us") < log.index("Streaming Server is ready")
    client = await StanClient.connect(await NatsClient.connect(server.port, user="a", **{"pass": "pa"}), "c")
    await client.publish("foo")
    await client.close()
    await client.nats.close()


# Secrets and logs


@pytest.mark.operations(33)
@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_no_secret_gets_into_a_log(start: Start, configure: Configure, tmp_path: Path, log_format: str) -> None:
    """With everything traced: flags, file, URL, wrong ones, a reload, and what clients send."""
    path = tmp_path / "log"
    common = ("-SDV", "-DV", "-log_format", log_format, "-l", str(path))
    seed = tmp_path / "seed.nk"
    seed.write_text(new_user().seed)
    secrets = {"s3cret-one", "s3cret-two", "s3cret-three", seed.read_text()}
    server = start("-user", "u", "-pass", "s3cret-one", *common, log_path=path)
    await works(server, user="u", **{"pass": "s3cret-one"})
    assert await refusal(server.port, user="u", **{"pass": "s3cret-two"}) == b"-ERR 'Authorization Violation'\r\n"
    url = f"nats://u:s3cret-one@127.0.0.1:{server.port}"
    other = start("-ns", url, "-cid", "other", *common, external=True, log_path=path)
    other.stop()
    fails("-ns", url.replace("one", "two"), *common)
    fails("-ns", f"ftp://u:s3cret-two@127.0.0.1:{server.port}", *common)
    fails(*configure(TWO_USERS.replace("pa}", "s3cret-two}"), "username: a, password: s3cret-three"), *common)
    fails(
        *configure("", f'nkey_seed_file: "{seed}"'),
        "-auth",
        "s3cret-three",
        "-encryption_key",
        "s3cret-one",
        "-st",
        "X",
        *common,
    )
    server.stop()
    log = path.read_text()
    assert len(log) > 10_000
    assert not [secret for secret in secrets if secret in log]
