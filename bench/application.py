"""The server that is measured: ours as it is, with an empty view beside it as the unit of what a request can cost.

With BENCH_ALONE each heartbeat has a transaction of its own, to see what committing them in groups saves; with
BENCH_WITHOUT one rule of the server is taken away (`bench/without`), to see what that rule is worth.
"""

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from app import group_commit
from wsgi import app

__all__ = ["app"]


@app.get("/empty")
def empty() -> str:
    return ""


def _alone(commits: Any, item: Any) -> Any:
    """What `GroupCommit.commit` would do if nothing ever came together."""

    def work(session: Any) -> Sequence[Any]:
        return commits._write(session, [item])  # type: ignore[no-any-return]

    (result,) = group_commit.transaction(work)
    commits._told([result])
    return result


if os.environ.get("BENCH_ALONE"):
    group_commit.GroupCommit.commit = _alone  # type: ignore[method-assign]

if rule := os.environ.get("BENCH_WITHOUT"):
    import_module(f"bench.without.{rule}").remove(app)
