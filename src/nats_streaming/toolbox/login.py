"""How a command logs in to NATS, as values that can go to another process, and as the client's options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nats_streaming.errors import ConfigError

if TYPE_CHECKING:
    import ssl

    from nats_streaming.client.nats_options import NatsOptions


@dataclass(slots=True, frozen=True, kw_only=True)
class Login:
    """Credentials, and what is asked of NATS in turn; "" is none.

    Attributes:
        creds, nkey: paths of a NATS 2 credentials file and of a file with an NKey seed.
        tls_ca: path of the authority that signed the server's certificate; asks for TLS.
        tls_cert, tls_key: paths of our certificate and its key.
        tls_insecure: take any certificate.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    creds: str = ""
    nkey: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_insecure: bool = False

    def nats_options(self) -> NatsOptions:
        """
        Raises:
            ConfigError: a file cannot be read.
        """
        found: NatsOptions = {}
        if self.user:
            found["user"] = self.user
            found["password"] = self.password
        if self.token:
            found["token"] = self.token
        if self.creds:
            found["user_credentials"] = _readable("--creds", self.creds)
        if self.nkey:
            found["nkeys_seed"] = _readable("--nkey", self.nkey)
        if self.tls_ca or self.tls_cert or self.tls_key or self.tls_insecure:
            found["tls"] = self._tls()
        return found

    def _tls(self) -> ssl.SSLContext:
        import ssl

        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigError("--tls-cert and --tls-key belong together: give both")
        try:
            context = ssl.create_default_context(cafile=self.tls_ca or None)
            if self.tls_cert:
                context.load_cert_chain(self.tls_cert, self.tls_key)
        except OSError as error:
            files = ", ".join(each for each in (self.tls_ca, self.tls_cert, self.tls_key) if each)
            raise ConfigError(f"TLS files {files}: {error.strerror or error}") from error
        if self.tls_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _readable(option: str, path: str) -> str:
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror}") from error
