"""What part of the fleet a page looks at, in which order: the query string, understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from app import selectors
from app.fleet_filter import ORDERS, FleetFilter, Order

STATUSES = (
    ("healthy", "Healthy"),
    ("behind", "Behind"),
    ("failed", "Failed"),
    ("unreachable", "Unreachable"),
    ("maintenance", "Maintenance"),
    ("unknown", "Not seen yet"),
    ("revoked", "Revoked"),
)
CONNECTED = (("yes", "Connected"), ("no", "Not connected"))
MOST_CHARACTERS = {"q": 253, "label": selectors.MAX_SELECTOR_CHARACTERS}
FILTERS = ("environment", "status", "connected", "q", "label", "agent", "vector")


@dataclass(frozen=True)
class Look:
    """A field is a parameter of the query string; ``None`` where it is absent, empty or not understood."""

    environment: str | None = None
    """An id."""
    status: str | None = None
    connected: str | None = None
    """``yes`` or ``no``."""
    q: str | None = None
    label: str | None = None
    """A selector."""
    agent: str | None = None
    """A version."""
    vector: str | None = None
    """A version, as the node said it."""
    sort: str | None = None
    """One of ``ORDERS``, after a ``-`` where it falls; ``None``: by name."""
    cursor: str | None = None
    before: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Look:
        """Read a query string, or the hidden fields of a form."""
        look: dict[str, str] = {}
        for each in fields(cls):
            text = given.get(each.name, "").replace("\0", "").strip()
            if text:
                look[each.name] = text[: MOST_CHARACTERS.get(each.name, 1000)]
        status = look.get("status")
        if status in ("connected", "polling"):  # as these were once asked for
            look["connected"] = "yes" if status == "connected" else "no"
        known = (
            ("status", dict(STATUSES)),
            ("connected", dict(CONNECTED)),
            ("sort", {sign + order for sign in ("", "-") for order in ORDERS}),
        )
        for name, words in known:
            if look.get(name) not in words:
                look.pop(name, None)
        return cls(**look)

    @property
    def environment_id(self) -> str | None:
        """The environment to which it is limited."""
        return self.environment

    @property
    def is_filtered(self) -> bool:
        """Whether some nodes are left out."""
        return any(getattr(self, name) for name in FILTERS)

    @property
    def is_counted(self) -> bool:
        """Whether its nodes are those that the counts are about."""
        return not any(getattr(self, name) for name in FILTERS if name != "environment")

    @property
    def begins_the_counted(self) -> bool:
        """Whether its nodes are the first of those that the counts are about."""
        return self.is_counted and not (self.cursor or self.before)

    def filter(self) -> FleetFilter:
        """Which nodes are meant.

        :raises InvalidInputError: the label rules cannot be read.
        """
        return FleetFilter(
            environment_id=self.environment,
            status=self.status.upper() if self.status else None,
            connected=self.connected == "yes" if self.connected else None,
            label=selectors.parse(self.label, field="label") if self.label else None,
            q=self.q,
            agent_version=self.agent,
            vector_version=self.vector,
        )

    def order(self) -> Order:
        """In which order."""
        sort = self.sort or "name"
        return Order(sort.removeprefix("-"), descending=sort.startswith("-"))

    def query(self) -> dict[str, str]:
        """The query string that means this look."""
        pairs = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in pairs if value}

    def filters(self) -> dict[str, str]:
        """The part of it that says which nodes are meant."""
        return {name: value for name, value in self.query().items() if name in FILTERS}

    def changed(self, **fields: Any) -> Look:
        """From the first page on, with other *fields*."""
        return replace(self, cursor=None, before=None, **fields)

    def with_tile(self, tile: str) -> Look:
        """Only the nodes that the *tile* counts; all again if that is what it is already."""
        is_current = tile == self.tile
        return self.changed(
            status=None if is_current or tile in ("", "connected") else tile,
            connected="yes" if tile == "connected" and not is_current else None,
        )

    @property
    def tile(self) -> str | None:
        """The tile whose nodes these are, among those of the same other filters; ``""``: that of all."""
        if self.connected is None:
            return self.status or ""
        return "connected" if self.connected == "yes" and self.status is None else None

    def sorted_by(self, order: str) -> Look:
        """By *order*, or the other way round if that is how it is already."""
        rises = self.order() == Order(order)
        sort = f"-{order}" if rises else order
        return self.changed(sort=None if sort == "name" else sort)

    def after(self, cursor: str | None) -> Look:
        """The same nodes from *cursor* on; ``None``: from the first."""
        return replace(self, cursor=cursor, before=None)

    def up_to(self, cursor: str) -> Look:
        """The page of the same nodes that ends before *cursor*."""
        return replace(self, cursor=None, before=cursor)
