"""`python -m tests.agent.impatient_agent`: the real agent, which gives its children a second to end."""

import functools
import sys

from agent import loop
from agent.__main__ import main
from agent.child import Timing

GRACE_SECONDS = 1.0

if __name__ == "__main__":
    loop.Agent = functools.partial(loop.Agent, timing=Timing(grace=GRACE_SECONDS))  # type: ignore[assignment, misc]
    sys.exit(main())
