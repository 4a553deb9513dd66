"""What the push channel counts, and the fetches that it causes, for ``/metrics``.

Sums over this master's workers (multiprocess mode).
"""

from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

SOCKETS = Gauge(
    "signalbox_sockets", "Agents' push channels that are open", ["transport"], multiprocess_mode="livesum"
)
CONNECTS = Counter("signalbox_push_connects", "Push channels that were opened", ["transport"])
OPENED_TOGETHER = Counter(
    "signalbox_push_opened_together", "Push channels that were opened with others, on the short way"
)
CLOSES = Counter("signalbox_push_closes", "Push channels that ended, by reason", ["reason"])
REFUSALS = Counter("signalbox_push_refusals", "Upgrades that were refused, by reason", ["reason"])
PUBLISHED = Counter("signalbox_nudges_published", "Nudges that were published, one per node")
WRITTEN = Counter("signalbox_nudges_written", "Nudges that were written to a socket")
COALESCED = Counter("signalbox_nudges_coalesced", "Nudges that took the place of one still waiting")
RESENT = Counter("signalbox_nudges_resent", "Nudges that the sweep sent to nodes that were behind")
SWEPT = Counter("signalbox_nodes_swept", "Connected nodes that a sweep has asked the database about")
DEAF = Counter(
    "signalbox_deaf_nodes", "Connected nodes that were to be nudged and were not: found by the sweep"
)
SHED = Counter("signalbox_sockets_shed", "Push channels closed because this worker held too many")
SUBSCRIBER_RECONNECTS = Counter(
    "signalbox_subscriber_reconnects", "Times a worker's subscription was lost and made again"
)
ASSEMBLIES = Counter(
    "signalbox_assemblies", "Times a worker has assembled what an environment's nodes must run"
)
CONFIG_ANSWERS = Counter(
    "signalbox_config_answers",
    "Configurations that agents have asked for, by the answer's status",
    ["status"],
)
PRESENCE_AGE = Gauge(
    "signalbox_presence_age_seconds",
    "Since when a worker has not renewed its lease, or not written its entries: the longest of all workers",
    multiprocess_mode="livemax",
)
NUDGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
NUDGE_SECONDS = Histogram(
    "signalbox_nudge_seconds", "From a nudge's publication to its completed write", buckets=NUDGE_BUCKETS
)


def observe_nudges(counts: Sequence[int], total_seconds: float) -> None:
    """Add many nudges at once: how many in each bucket (the last one is beyond all bounds), and their sum.

    ``Histogram.observe`` takes one at a time; this is what it does, for many.
    """
    NUDGE_SECONDS._sum.inc(total_seconds)
    for bucket, count in zip(NUDGE_SECONDS._buckets, counts, strict=True):
        if count:
            bucket.inc(count)
