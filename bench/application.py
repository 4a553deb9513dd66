"""The server that is measured: ours as it is, with an empty view beside it as the unit of what a request can cost."""

from wsgi import app

__all__ = ["app"]


@app.get("/empty")
def empty() -> str:
    return ""
