"""How many sockets are open, and whose: the caps that keep strangers and runaways from filling the server."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from ..exceptions import RateLimited
from .connection import Connection

RETRY_AFTER_S = 5


@dataclass
class Sockets:
    """The open sockets. Those that nobody has vouched for yet are counted apart, and by address."""

    most_pending: int
    most_pending_per_address: int
    most_per_principal: int
    connections: set[Connection] = field(default_factory=set)
    _pending: Counter[str] = field(default_factory=Counter)
    _owned: Counter[str] = field(default_factory=Counter)

    def check_pending(self, address: str) -> None:
        """Raises RateLimited when this address, or everybody, has too many sockets open without having said who they
        are."""
        if self._pending.total() >= self.most_pending or self._pending[address] >= self.most_pending_per_address:
            raise _too_many("Too many connections wait for their authentication")

    def check_owned(self, user_id: str) -> None:
        """Raises RateLimited when the principal has as many sockets as allowed."""
        if self._owned[user_id] >= self.most_per_principal:
            raise _too_many(f"You have {self.most_per_principal} connections open already")

    def add_pending(self, address: str) -> None:
        self._pending[address] += 1

    def drop_pending(self, address: str) -> None:
        _decrease(self._pending, address)

    def add_owned(self, user_id: str) -> None:
        self._owned[user_id] += 1

    def drop_owned(self, user_id: str) -> None:
        _decrease(self._owned, user_id)


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        with suppress(KeyError):
            del counter[key]


def _too_many(what: str) -> RateLimited:
    return RateLimited(
        f"{what}. Close some, or try again in {RETRY_AFTER_S} s.", details={"retryAfterS": RETRY_AFTER_S}
    )
