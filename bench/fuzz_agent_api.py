"""Bad input to every endpoint of the agent API: `python -m bench.fuzz_agent_api [tries]`, by default 10,000.

Starts a private Redis and a server with two workers on SQLite, and sends requests made from the schemas and spoiled
(tests/support/hostile_requests.py). Each must get 200 or a 4xx with a sentence, a refused one must leave every row
as it was, and the server's log must hold no error. Prints how often each endpoint gave each status.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.support.api import Operator
from tests.support.database import SqliteDatabases
from tests.support.fuzzing import Fuzzing
from tests.support.server import Server
from tools.redis_server import RedisServer

DEFAULT_TRIES = 10_000


def main() -> None:
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_TRIES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        with RedisServer(folder / "redis") as redis_server:
            database = SqliteDatabases(folder).create(folder)
            settings = {"SIGNALBOX_DATABASE_URL": database, "SIGNALBOX_REDIS_URL": redis_server.url}
            server = Server(folder, settings)
            try:
                server.start()
                fuzzing = Fuzzing(server, Operator(server.url, server.create_api_token()), "fuzz")
                started = time.monotonic()
                try:
                    fuzzing.run(tries, is_random=True)
                finally:
                    print(json.dumps(dict(sorted(fuzzing.statuses.items())), indent=1))
                    fuzzing.close()
                print(
                    f"{fuzzing.statuses.total()} tries in {time.monotonic() - started:.0f} s, none unanswered"
                )
            finally:
                server.close()


if __name__ == "__main__":
    main()
