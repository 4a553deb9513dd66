"""`python -m tests.agent.hasty_agent`: the real agent, which waits seconds where it would wait for minutes."""

import sys

from agent.__main__ import main
from agent.transport import LinkTiming

if __name__ == "__main__":
    sys.exit(main(LinkTiming(stable=2.0, first_retry=10.0, longest_retry=10.0)))
