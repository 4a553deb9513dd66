"""What an agent costs that has nothing to do: `python -m bench.agent_idle [seconds]`.

A real server, one agent with three pipelines that run, its push channel up and stable, the intervals of production.
Prints the agent's memory and its share of a core over so many seconds (90 by default), its Vectors left out. Exit
code 1 where that is over 40 MiB resident or half a percent of a core.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from bench.process_figures import KIB, at_rest, figures
from bench.soak_place import PIPELINES, Place
from tests.support.until import until

STABLE_SECONDS = 65.0
"""A link counts as stable after a minute; from then on polls and heartbeats are rare."""
MOST_RSS_MIB = 40.0
MOST_PERCENT = 0.5


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 90.0
    with (
        tempfile.TemporaryDirectory(prefix="idle-") as name,
        Place(Path(name), agents=1, settings={}) as place,
    ):
        for pipeline in PIPELINES:
            place.deploy(pipeline, "new")
        until(lambda: place.what_is_not_well() is None, seconds=60, every=0.5, what="three running pipelines")
        (agent,) = place.agents
        time.sleep(STABLE_SECONDS)
        began, before = time.monotonic(), figures(agent.pid)
        time.sleep(seconds)
        took, after = time.monotonic() - began, figures(agent.pid)
        percent = 100 * (after.cpu - before.cpu) / took
        rest = at_rest(agent.pid)
        print(f"{len(PIPELINES)} pipelines, {took:.0f} s, load average {os.getloadavg()[0]:.1f}")
        print(
            f"resident {rest.rss / KIB:.1f} MiB (PSS {rest.pss / KIB:.1f} MiB), at most {MOST_RSS_MIB:.0f} MiB"
        )
        print(f"{percent:.3f} % of a core, at most {MOST_PERCENT} %")
        print(f"{rest.threads} threads, {rest.fds} descriptors")
        return int(rest.rss / KIB > MOST_RSS_MIB or percent > MOST_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
