"""`python -m tests.agent.mute_agent`: the real agent in a network in which no push channel comes about."""

import sys

from agent.__main__ import main
from agent.actions import OpenLink
from agent.events import LinkClosed
from agent.link import Link


def refuse(link: Link, opening: OpenLink, _token: str) -> None:
    """Say that the link could not be opened."""
    link._put(LinkClosed(opening.generation, "no way out", unreachable=True))


if __name__ == "__main__":
    Link.open = refuse  # type: ignore[method-assign]
    sys.exit(main())
