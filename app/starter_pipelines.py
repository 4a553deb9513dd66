"""Five pipelines to begin with; their YAML lies in ``starters/``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.errors import NotFoundError

_FOLDER = Path(__file__).parent / "starters"


@dataclass(frozen=True, slots=True)
class Starter:
    """One of the gallery: ``key`` is also its file's name, ``needs`` says what is to be put in before a deploy."""

    key: str
    title: str
    words: str
    needs: str = ""

    @property
    def config_yaml(self) -> str:
        """What the draft begins with."""
        return _text(self.key)


STARTERS = (
    Starter(
        "demo-logs",
        "Demo logs → console",
        "Made-up web requests, two a second. Runs as it stands on any node.",
    ),
    Starter(
        "files-to-elasticsearch",
        "Files → Elasticsearch",
        "Follows log files, parses JSON lines, sends them with a password from the environment's secrets.",
        "an address and SECRET[elasticsearch-password]",
    ),
    Starter(
        "syslog-to-loki",
        "Syslog → Loki",
        "Listens for syslog over TCP and routes what is urgent to a stream of its own.",
        "Loki's address",
    ),
    Starter(
        "host-metrics-to-prometheus",
        "Host metrics → Prometheus",
        "CPU, memory, disks and network of every machine, for Prometheus to scrape at port 9598.",
    ),
    Starter(
        "journald-to-s3",
        "Journal → S3",
        "The systemd journal, trimmed with VRL, as compressed files in a bucket.",
        "a bucket, SECRET[s3-access-key] and SECRET[s3-secret-key]",
    ),
)


def get(key: str) -> Starter:
    """One of them.

    :raises NotFoundError: there is none of that name.
    """
    for starter in STARTERS:
        if starter.key == key:
            return starter
    raise NotFoundError("There is no such starter pipeline.")


@cache
def _text(key: str) -> str:
    return (_FOLDER / f"{key}.yaml").read_text()
