"""What SIGHUP asks for: the embedded nats-server reads its configuration again. Streaming options stay as they are.

Source: operations specification, section 3.5.
"""

from __future__ import annotations

import logging

from nats_streaming.errors import ConfigError, NatsServerError
from nats_streaming.server.logs.lines import NATS_SERVER_LOGGER
from nats_streaming.server.nats_side import NatsSide
from nats_streaming.server.process.openssl import why_no_tls
from nats_streaming.server.settings.options import Options

_log = logging.getLogger("nats_streaming")


def reload_nats(options: Options, nats: NatsSide) -> None:
    """Let it have what the file says now, or say in the log why not; its own lines tell the outcome."""
    if nats.child is None:
        _log.warning("Reload supported only for embedded NATS Server's configuration")
        return
    if not options.nats.config_name:
        _log.error("Reload: can only reload config when a file is provided using -c or --config")
        return
    from nats_streaming.server.settings.config import reread_nats_text

    try:
        reread = reread_nats_text(options)
        for warning in reread.warnings:
            _log.warning("%s", warning)
        refused = nats.prepare_reload(reread.host, reread.port)
        if refused:
            logging.getLogger(NATS_SERVER_LOGGER).error("Failed to reload server configuration: %s", refused)
            return
        reason = why_no_tls()
        if reason and "tls" in options.nats.config_keys:
            _log.warning("Our own connections to the nats-server cannot be made anew with TLS: %s", reason)
        nats.child.reload(options.nats.config_text, options.nats.config_places)
    except (ConfigError, NatsServerError) as error:
        _log.error("Reload: %s", error)
