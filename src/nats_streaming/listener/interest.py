"""Who of the clients is subscribed to what: who gets a message?

Followed from the SUB and UNSUB operations on their way to the nats-server, which goes on delivering everything that we
do not: messages of other publishers.

Source: NATS client protocol; core NATS wildcards.
"""

from __future__ import annotations

from typing import Protocol

from nats_streaming.protocol.client_frames import Offers
from nats_streaming.protocol.frame_router import Outlet, Route, RouteTable, Target
from nats_streaming.protocol.nats_writer import is_wildcard
from nats_streaming.protocol.subjects import PatternSet, covers


class Subscriber(Protocol):
    """A client, as far as this table knows it."""

    outlet: Outlet
    subscriptions: dict[bytes, ClientSubscription]

    def change_taps(self, change: int) -> None:
        """So many more of its subscriptions hear what others publish to us."""

    def end_subscription(self, sid: bytes) -> None:
        """Tell the nats-server that a subscription has had all it wanted."""


class ClientSubscription(Target):
    """One SUB of one client.

    Attributes:
        born: when, in a count of its client's own.
    """

    def __init__(self, client: Subscriber, sid: bytes, pattern: bytes, queue: bytes) -> None:
        super().__init__(client.outlet, sid)
        self.client = client
        self.sid = sid
        self.pattern = pattern
        self.queue = queue
        self.wild = is_wildcard(pattern)
        self.is_tap = False
        self.born = 0


class Interest(RouteTable):
    """The subscriptions of all clients that come through the listener."""

    def __init__(self, offers: Offers) -> None:
        super().__init__()
        self._offers = offers
        self._offered = PatternSet(())
        self._exact: dict[bytes, list[ClientSubscription]] = {}
        self._wild: dict[bytes, list[ClientSubscription]] = {}
        self._is_open = False

    def offer(self) -> None:
        """The offers have changed: who would get what they take?"""
        self._offered = PatternSet(self._offers.patterns())
        self._is_open = True
        for group in (*self._exact.values(), *self._wild.values()):
            for subscription in group:
                self._set_tap(subscription, self._is_tap(subscription))
        self.version += 1

    def add(self, client: Subscriber, sid: bytes, pattern: bytes, queue: bytes = b"", born: int = 0) -> None:
        """A SUB; the first with an ID counts, and a nats-server refuses what is no subject."""
        if sid in client.subscriptions or not is_pattern(pattern):
            return
        subscription = client.subscriptions[sid] = ClientSubscription(client, sid, pattern, queue)
        subscription.born = born
        self._set_tap(subscription, self._is_tap(subscription))
        if subscription.wild:
            self._wild.setdefault(root_of(pattern), []).append(subscription)
            self.version += 1
            return
        self._exact.setdefault(pattern, []).append(subscription)
        if pattern not in self.routes:
            self.routes[pattern] = Route([], True, self.version)
        self.recheck(pattern, self.routes[pattern])

    def limit(self, client: Subscriber, sid: bytes, count: int) -> None:
        """An UNSUB: now if `count` is not positive, else when so many messages have come since the SUB."""
        subscription = client.subscriptions.get(sid)
        if subscription is None:
            return
        if count <= 0:
            self._remove(subscription)
            return
        subscription.limit = count
        if subscription.delivered + subscription.relayed >= count:
            self.on_limit(subscription)

    def remove_all(self, client: Subscriber) -> None:
        """The client has gone."""
        for subscription in list(client.subscriptions.values()):
            self._remove(subscription)

    def close(self) -> None:
        """Nothing goes past the nats-server any more."""
        self._is_open = False
        self.version += 1

    def _remove(self, subscription: ClientSubscription) -> None:
        del subscription.client.subscriptions[subscription.sid]
        self._set_tap(subscription, False)
        pattern = subscription.pattern
        if subscription.wild:
            self.version += 1
            root = root_of(pattern)
            self._wild[root].remove(subscription)
            if not self._wild[root]:
                del self._wild[root]
            return
        group = self._exact[pattern]
        group.remove(subscription)
        if group:
            self.recheck(pattern, self.routes[pattern])
        else:
            del self._exact[pattern], self.routes[pattern]

    def _set_tap(self, subscription: ClientSubscription, is_tap: bool) -> None:
        change = is_tap - subscription.is_tap
        subscription.is_tap = is_tap
        subscription.client.change_taps(change)
        self._offers.taps += change

    def _is_tap(self, subscription: ClientSubscription) -> bool:
        return self._offered.overlapping(subscription.pattern) is not None

    def _wild_for(self, subject: bytes) -> list[ClientSubscription]:
        """Subscriptions with wildcards that a message on `subject` would match."""
        found = []
        stop = 0
        while True:
            group = self._wild.get(subject[:stop])
            if group is not None:
                found += [subscription for subscription in group if covers(subscription.pattern, subject)]
            stop = subject.find(b".", stop) + 1
            if stop == 0:
                return found

    # What the router asks.

    def find(self, subject: bytes) -> Route:
        route = Route([], True, self.version)
        self.recheck(subject, route)
        return route

    def recheck(self, subject: bytes, route: Route) -> None:
        found = [*self._exact.get(subject, ()), *self._wild_for(subject)]
        route.version = self.version
        route.targets = [subscription for subscription in found if not subscription.queue]
        queues: dict[bytes, list[Target]] = {}
        for subscription in found:
            if subscription.queue:
                queues.setdefault(subscription.queue, []).append(subscription)
        route.queues = list(queues.values())
        # The nats-server alone brings us what we send to ourselves. What nobody wants, it need not see either.
        route.is_direct = self._is_open and self._offered.overlapping(subject) is None

    def on_limits(self, ended: list[Target]) -> None:
        """Some subscriptions have got all they wanted; the list is emptied."""
        while ended:
            self.on_limit(ended.pop())

    def on_limit(self, target: Target) -> None:
        assert isinstance(target, ClientSubscription)
        self._remove(target)
        if target.delivered:  # else the nats-server has counted them all
            target.client.end_subscription(target.sid)


def is_pattern(subject: bytes) -> bool:
    """Whether a nats-server lets clients subscribe to this: no empty token, and `>` at the end only."""
    tokens = subject.split(b".")
    return b"" not in tokens and b">" not in tokens[:-1]


def root_of(pattern: bytes) -> bytes:
    """What a pattern with wildcards begins with for certain: whole tokens, the last dot included."""
    root = []
    for token in pattern.split(b"."):
        if token in (b"*", b">"):
            break
        root.append(token)
    return b".".join([*root, b""]) if root else b""
