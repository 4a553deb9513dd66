"""Bad input to every endpoint of the agent API: `python -m bench.fuzz_agent_api [tries] [sqlite|postgresql]`.

By default 10,000, on SQLite. Starts a private Redis and a server with two workers, and sends requests made from the
schemas and spoiled (tests/support/hostile_requests.py). Each must get 200 or a 4xx with a sentence, a refused one
must leave every row as it was, and the server's log must hold no error. Prints how often each endpoint, and each
kind of spoiling, gave each status.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.support.api import Operator
from tests.support.database import PostgresDatabases, SqliteDatabases
from tests.support.fuzzing import Fuzzing
from tests.support.postgres_server import PostgresServer
from tests.support.server import Server
from tools.redis_server import RedisServer

DEFAULT_TRIES = 10_000


def fuzz(folder: Path, database_url: str, tries: int) -> None:
    (folder / "redis").mkdir()
    with RedisServer(folder / "redis") as redis_server:
        settings = {"SIGNALBOX_DATABASE_URL": database_url, "SIGNALBOX_REDIS_URL": redis_server.url}
        server = Server(folder, settings)
        try:
            server.start()
            fuzzing = Fuzzing(server, Operator(server.url, server.create_api_token()), "fuzz")
            started = time.monotonic()
            try:
                fuzzing.run(tries, is_random=True)
            finally:
                for counts in (fuzzing.statuses, fuzzing.kinds):
                    print(json.dumps(dict(sorted(counts.items())), indent=1))
                fuzzing.close()
            print(f"{fuzzing.statuses.total()} tries in {time.monotonic() - started:.0f} s, all answered")
        finally:
            server.close()


def main() -> None:
    words = sys.argv[1:]
    tries = int(words[0]) if words else DEFAULT_TRIES
    with tempfile.TemporaryDirectory() as name:
        if "postgresql" in words:
            postgres = PostgresServer()
            try:
                fuzz(Path(name), PostgresDatabases(postgres.start()).create()[1], tries)
            finally:
                postgres.close()
        else:
            fuzz(Path(name), SqliteDatabases(Path(name)).create(Path(name)), tries)


if __name__ == "__main__":
    main()
