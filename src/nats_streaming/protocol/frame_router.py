"""Takes what we publish apart: what one client of ours alone gets, and what goes to the nats-server.

    PUB <subject> [reply] <bytes>\\r\\n<payload>\\r\\n      as the engine writes it
    MSG <subject> <sid> [reply] <bytes>\\r\\n<payload>\\r\\n   as a client wants it

Source: NATS client protocol.
"""

from __future__ import annotations

from nats_streaming.byte_buffer import ByteBuffer

_SPACE, _LF = 32, 10
_MSG = b"MSG "


class Outlet:
    """The way to one client. Its owner sends what is in `out` when `is_filled` was set.

    Attributes:
        is_held: it sends it later, and counts the messages then.
    """

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.out = ByteBuffer(256)
        self.is_filled = False
        self.is_held = False


class Target:
    """One subscription of one client.

    Attributes:
        tail: what stands between subject and size or reply, ` <sid> `.
        delivered: how many messages came past the nats-server.
        relayed: how many came from it.
        limit: after that many the subscription ends; 0 is never.
    """

    def __init__(self, outlet: Outlet, sid: bytes) -> None:
        self.outlet = outlet
        self.tail = b" " + sid + b" "
        self.delivered = 0
        self.relayed = 0
        self.limit = 0


class Route:
    """Where messages on one subject go.

    Attributes:
        targets: everybody who gets each of them.
        queues: of each of these groups one gets it.
        is_direct: past the nats-server.
        version: of the table that this was true in.
    """

    def __init__(self, targets: list[Target], is_direct: bool, version: int) -> None:
        self.targets = targets
        self.queues: list[list[Target]] = []
        self.is_direct = is_direct
        self.version = version


class RouteTable:
    """What the router asks for ways. The listener's interest derives from it.

    Attributes:
        routes: those known, by subject.
        version: changes when a route may have become wrong.
    """

    def __init__(self) -> None:
        self.routes: dict[bytes, Route] = {}
        self.version = 0

    def find(self, subject: bytes) -> Route:
        """The route of a subject that `routes` does not hold."""
        raise NotImplementedError

    def recheck(self, subject: bytes, route: Route) -> None:
        """Bring a route to this version."""
        raise NotImplementedError

    def on_limit(self, target: Target) -> None:
        """A subscription has got all it wanted."""
        raise NotImplementedError


class FrameRouter:
    """Splits runs of frames. Frames of one subject keep their order, and so do those of one client."""

    def __init__(self, table: RouteTable) -> None:
        self.table = table
        self.rest = ByteBuffer(1024)
        self.filled: list[Outlet] = []
        self._dice = 1

    def split(self, frames: bytes) -> bytes:
        """Put every frame that has a direct route into its outlet, which is added to `filled`.

        Args:
            frames: whole PUB frames, well formed.

        Returns:
            The others.
        """
        view = frames
        total = len(frames)
        table = self.table
        route: Route | None = None
        target: Target
        position = passed = 0
        subject_start = subject_stop = 0  # of the frame before
        while position < total:
            start = position + 4
            at = start
            while view[at] != _SPACE:
                at += 1
            stop = at
            while view[at] != _LF:
                at += 1
            size = 0
            factor = 1
            back = at - 2
            while view[back] != _SPACE:
                size += factor * (view[back] - 48)
                factor *= 10
                back -= 1
            end = at + 1 + size + 2
            if stop - start != subject_stop - subject_start or not equals(frames, start, subject_start, stop - start):
                route = self.route(frames[start:stop])
                subject_start, subject_stop = start, stop
            # That nobody is there to reply, only the nats-server says.
            if route is None or (back != stop and not route.targets and not route.queues):
                position = end
                continue
            if position > passed:
                self.rest.put_slice(frames, passed, position)
            position = passed = end
            for target in self.drawn(route) if route.queues else route.targets:
                outlet = target.outlet
                out = outlet.out
                if not outlet.is_filled:
                    outlet.is_filled = True
                    self.filled.append(outlet)
                out.put(_MSG)
                out.put_slice(frames, start, stop)
                out.put(target.tail)
                out.put_slice(frames, stop + 1, end)
                if outlet.is_held:
                    continue
                target.delivered += 1
                if target.delivered + target.relayed == target.limit:
                    table.on_limit(target)
                    subject_start = subject_stop = 0  # the route is another one now
        if passed == 0:
            return frames
        if total > passed:
            self.rest.put_slice(frames, passed, total)
        return self.rest.take()

    def drawn(self, route: Route) -> list[Target]:
        """Everybody who gets the next message, of each queue group a member at random, as a nats-server does it."""
        targets = list(route.targets)
        for members in route.queues:
            self._dice = (self._dice * 1103515245 + 12345) & 0x7FFFFFFF
            targets.append(members[(self._dice >> 8) % len(members)])
        return targets

    def route(self, subject: bytes) -> Route | None:
        """The direct route of a subject."""
        table = self.table
        route: Route | None = table.routes.get(subject)
        if route is None:
            route = table.find(subject)
        elif route.version != table.version and route.is_direct:
            table.recheck(subject, route)
        if route is not None and not route.is_direct:
            return None
        return route


def equals(frames: bytes, start: int, other: int, count: int) -> bool:
    """Whether the `count` bytes at `start` are those at `other`."""
    view = frames
    for index in range(count):  # noqa: SIM110 - a generator would not compile to a loop over pointers
        if view[start + index] != view[other + index]:
            return False
    return True
