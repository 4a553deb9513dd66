"""More examples than the tests try, each time others: schemathesis against a server of its own, every check on."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from tests.support.api import Operator
from tests.support.contract_fuzzing import known_ids, run
from tests.support.database import SqliteDatabases
from tests.support.server import Server
from tools.redis_server import RedisServer

EXAMPLES = 50


def main() -> int:
    """Run it with so many examples of each operation as the first argument says; the exit code.

    A second argument is a number of seconds: it ends by then, and goes on with fresh examples until then.
    """
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLES
    budget = (f"--max-time={int(sys.argv[2])}",) if len(sys.argv) > 2 else ()
    with tempfile.TemporaryDirectory(prefix="signalbox-fuzz-") as name:
        folder = Path(name)
        for each in ("redis", "template", "server"):
            (folder / each).mkdir()
        with RedisServer(folder / "redis") as redis:
            settings = {
                "SIGNALBOX_DATABASE_URL": SqliteDatabases(folder / "template").create(folder / "server"),
                "SIGNALBOX_REDIS_URL": redis.url,
                "SIGNALBOX_API_RATE": "0",
            }
            server = Server(folder / "server", settings)
            try:
                server.start()
                operator = Operator(server.url, server.create_api_token())
                known = known_ids(server.url, operator)
                more = (
                    f"--max-examples={examples}",
                    f"--seed={random.randrange(2**32)}",
                    "--continue-on-failure",
                    "--workers=2",
                    *budget,
                )
                outcome = run(folder, server.url, server.create_api_token(), known, *more)
            finally:
                server.close()
    print(outcome.output[-20_000:] if outcome.code else outcome.counts)
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
