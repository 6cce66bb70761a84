"""How many connections an address may have, and how often it may shake hands (G8)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from runtime.gateway.config import is_loopback

ADDRESSES = 4096
"""Addresses remembered; beyond it the one that was quiet for longest is forgotten."""


class Throttle:
    """A token bucket per address: a second's worth may come at once, then the rate holds.

    IPv6 addresses count by their /64, which is what one subscriber has.

    Args:
        per_second: the rate, and the size of the bucket; at least one fits always.
        clock: seconds that only rise.
    """

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._rate = per_second
        self._size = max(1.0, per_second)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Count one handshake; whether it may go on."""
        key = _subscriber(address)
        now = self._clock()
        level, since = self._buckets.pop(key, (self._size, now))
        level = min(self._size, level + (now - since) * self._rate)
        allowed = level >= 1.0
        self._buckets[key] = (level - 1.0 if allowed else level, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed


class Occupancy:
    """How many connections there are, in all and per address; counted as `Throttle` counts.

    Loopback addresses have no limit of their own: behind a proxy on this machine they are everyone.

    Args:
        limit: connections in all.
        per_address: connections of one address.
    """

    def __init__(self, limit: int, per_address: int) -> None:
        self._limit = limit
        self._per_address = per_address
        self._counts: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count one connection; False, and not counted, when there is no room for it."""
        key = _subscriber(address)
        if self._counts.total() >= self._limit:
            return False
        if self._counts[key] >= self._per_address and not is_loopback(address):
            return False
        self._counts[key] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection that was counted is gone."""
        key = _subscriber(address)
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]


def _subscriber(address: str) -> str:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
