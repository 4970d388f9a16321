"""The TLS context of our own link: what we trust, and the certificate we show.

Source: operations specification, section 8.1, for the error texts.
"""

from __future__ import annotations

import ssl

from nats_streaming.errors import NatsLinkError, quoted


def client_context(ca_path: str, certificate_path: str, key_path: str, *, verify: bool) -> ssl.SSLContext:
    """A context for connecting to a nats-server.

    Args:
        ca_path: authorities to trust; "" is the system's.
        certificate_path: our certificate with its chain; "" shows none.
        key_path: its key, without pass phrase.
        verify: whether the server must prove who it is.

    Raises:
        NatsLinkError: a file cannot be used; the text says which and why.
    """
    if ca_path:
        try:
            context = ssl.create_default_context(cafile=ca_path)
        except ssl.SSLError:
            raise NatsLinkError(f"nats: failed to parse root certificate from {quoted(ca_path)}") from None
        except OSError as error:
            reason = f"open {ca_path}: {_text(error)}"
            raise NatsLinkError(f"nats: error loading or parsing rootCA file: {reason}") from None
    else:
        context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate_path or key_path:
        _load_certificate(context, certificate_path, key_path)
    return context


def _load_certificate(context: ssl.SSLContext, certificate_path: str, key_path: str) -> None:
    for path in (certificate_path, key_path):
        try:
            open(path, "rb").close()  # the error of load_cert_chain does not name the file
        except OSError as error:
            raise NatsLinkError(f"nats: error loading client certificate: open {path}: {_text(error)}") from None
    try:
        context.load_cert_chain(certificate_path, key_path, password=_no_pass_phrase)
    except _PassPhraseError:
        reason = f"tls: the key in {key_path} has a pass phrase; give one without"
        raise NatsLinkError(f"nats: error loading client certificate: {reason}") from None
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        reason = (
            "private key does not match public key" if mismatch else f"no usable certificate and key: {error.reason}"
        )
        raise NatsLinkError(f"nats: error loading client certificate: tls: {reason}") from None


class _PassPhraseError(Exception):
    pass


def _no_pass_phrase() -> str:
    raise _PassPhraseError  # otherwise OpenSSL asks on the terminal, and the server waits for an answer


def _text(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
