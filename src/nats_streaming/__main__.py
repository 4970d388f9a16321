"""`python -m nats_streaming` is the same as the executable `nats-streaming-server`."""

from __future__ import annotations

import sys

from nats_streaming.cli.server_main import main

if __name__ == "__main__":
    sys.exit(main())
