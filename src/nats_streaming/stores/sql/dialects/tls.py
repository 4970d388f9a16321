"""A source's TLS settings as Python's context."""

from __future__ import annotations

import ssl

from nats_streaming.errors import ConfigError
from nats_streaming.stores.sql.source import Tls


def make_context(tls: Tls) -> ssl.SSLContext:
    """
    Raises:
        ConfigError: a file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(path for path in (tls.ca, tls.certificate, tls.key) if path)
        raise ConfigError(f"sql_source: TLS files {files}: {error}", option="sql_source") from error
    context.check_hostname = tls.verify_name
    if not tls.verify:
        context.verify_mode = ssl.CERT_NONE
    return context
