"""What the push channel counts, for ``/metrics``. Sums over this master's workers (multiprocess mode)."""

from prometheus_client import Counter, Gauge

SOCKETS = Gauge(
    "signalbox_sockets", "Agents' push channels that are open", ["transport"], multiprocess_mode="livesum"
)
CONNECTS = Counter("signalbox_push_connects", "Push channels that were opened", ["transport"])
CLOSES = Counter("signalbox_push_closes", "Push channels that ended, by reason", ["reason"])
REFUSALS = Counter("signalbox_push_refusals", "Upgrades that were refused, by reason", ["reason"])
PUBLISHED = Counter("signalbox_nudges_published", "Nudges that were published, one per node")
WRITTEN = Counter("signalbox_nudges_written", "Nudges that were written to a socket")
COALESCED = Counter("signalbox_nudges_coalesced", "Nudges that took the place of one still waiting")
RESENT = Counter("signalbox_nudges_resent", "Nudges that the sweep sent to nodes that were behind")
DEAF = Counter("signalbox_deaf_nodes", "Connected nodes found behind by the sweep and subscribed again")
SUBSCRIBER_RECONNECTS = Counter(
    "signalbox_subscriber_reconnects", "Times the subscriber had to connect again"
)
SHED = Counter("signalbox_sockets_shed", "Push channels closed because this worker held too many")
