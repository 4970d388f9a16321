"""Error texts of the STAN protocol: part of the wire contract, kept here apart from the server's own table."""

INVALID_CONNECT = "stan: invalid connection request"
INVALID_CLIENT_ID = "stan: invalid clientID: only alphanumeric and `-` or `_` characters allowed"
DUPLICATE_CLIENT = "stan: clientID already registered"
INVALID_CLOSE = "stan: invalid close request"
UNKNOWN_CLIENT = "stan: unknown clientID"
NOT_REGISTERED = "client has been replaced or is no longer registered"
INVALID_PUBLISH = "stan: invalid publish request"
INVALID_SUBSCRIBE = "stan: invalid subscription request"
CLIENT_MISSING = "stan: clientID missing"
INVALID_ACK_WAIT = "stan: invalid ack wait time, should be >= 1s"
INVALID_MAX_IN_FLIGHT = "stan: invalid MaxInflight, should be >= 1"
INVALID_START = "stan: invalid start position"
INVALID_SUBJECT = "stan: invalid subject"
QUEUE_DURABLE_COLON = "stan: durable name of a durable queue subscriber can't contain the character ':'"
DUPLICATE_DURABLE = "stan: duplicate durable registration"
TOO_MANY_CHANNELS = "too many channels"
TOO_MANY_SUBSCRIPTIONS = "too many subscriptions per channel"
INVALID_UNSUBSCRIBE = "stan: invalid unsubscribe request"
UNKNOWN_CHANNEL = "stan: unknown channel"
INVALID_SUBSCRIPTION = "stan: invalid subscription"


def case_clash(refused: str, existing: str) -> str:
    """The misspelling is the original's and stays."""
    return f'rejecting channel "{refused}" because channel "{existing}" alreay exists (different cases not allowed)'
