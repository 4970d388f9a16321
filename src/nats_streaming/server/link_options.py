"""From the operator's options to how a connection of ours logs in to NATS.

NATS-level values go before the streaming ones, each by itself: user, password, token.

Source: operations specification, section 8.1.
"""

from __future__ import annotations

import logging

from nats_streaming.nats.handshake import Authenticator, LinkOptions
from nats_streaming.server.process.openssl import why_no_tls
from nats_streaming.server.settings.options import LinkSecurity, Options
from nats_streaming.server.version import version_text

_log = logging.getLogger("nats_streaming")


def link_options(options: Options, suffix: str) -> LinkOptions:
    """How a connection of ours logs in to NATS.

    Args:
        options: of the streaming server.
        suffix: what the connection is for.

    Raises:
        NatsLinkError: a certificate, key or seed cannot be used.
    """
    nats, link = options.nats, options.link
    made = LinkOptions(
        name=f"_NSS-{options.cluster_id}-{suffix}",
        user=nats.user or link.user or None,
        password=nats.password or link.password or None,
        token=nats.token or link.token or None,
        authenticator=_authenticator(link),
        version=version_text(),
        follow_discovered=bool(options.nats_server_url),
        tls_handshake_first=link.handshake_first,
        tls_required=link.wants_tls,
        tls_hostname=link.server_name or None,
        tls_impossible=why_no_tls(),
    )
    if made.tls_required:
        from nats_streaming.nats.client_tls import client_context

        made.ssl_context = client_context(link.client_ca, link.client_cert, link.client_key, verify=not link.insecure)
        if link.insecure:
            _log.warning("TLS certificate chain and hostname will not be verified. DO NOT USE IN PRODUCTION!")
    return made


def _authenticator(link: LinkSecurity) -> Authenticator | None:
    if link.credentials:
        from nats_streaming.nats.credentials import CredentialsFile

        return CredentialsFile(link.credentials)
    if link.nkey_seed_file:
        from nats_streaming.nats.credentials import NkeySeedFile

        return NkeySeedFile(link.nkey_seed_file)
    return None
