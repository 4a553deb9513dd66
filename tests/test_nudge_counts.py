"""Who is told of a change: exactly those who gain or lose something, each once, through two workers."""

from bench.nudge_counts import AGENTS, UNSWEPT, changes
from tests.conftest import StartServer


def test_a_change_tells_exactly_those_whom_it_concerns(start_server: StartServer, database_url: str) -> None:
    """Fifty agents of which seven are concerned: each nudge brings something new (200), the others hear nothing.

    The concerned ones are the first by number, so who was nudged is known as well as how many.
    """
    server = start_server({"SIGNALBOX_DATABASE_URL": database_url, **UNSWEPT})
    for what, concerned, caused in changes(server):
        numbers = range(1, 7) if concerned == 6 else range(concerned)
        assert caused.nudged == dict.fromkeys(numbers, 1), what
        assert (caused.full, caused.unchanged) == (concerned, 0), what
        assert caused.intervals == (AGENTS if what == "poll interval" else 0), what
