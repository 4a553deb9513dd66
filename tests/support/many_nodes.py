"""Nodes by the hundred, written to the database as enrolling them would: for crowds of sockets."""

from collections.abc import Mapping

from app import create_app, tokens
from app.clock import utc_now
from app.config import Settings
from app.database import db, transaction
from app.ids import new_id
from app.models import Node


def enroll_many(settings: Mapping[str, str], environment_id: str, count: int) -> list[str]:
    """The tokens of `count` new nodes; `settings` are the server's."""
    minted = [(node_id, tokens.mint("node", node_id)) for node_id in (new_id() for _ in range(count))]

    def work(session):  # type: ignore[no-untyped-def]
        session.add_all(
            Node(
                id=node_id, environment_id=environment_id, name=f"node-{number:06}", host="many",
                token_digest=token.digest, enrolled_at=utc_now(), agent_labels={}, operator_labels={},
                maintenance_mode=False,
            )
            for number, (node_id, token) in enumerate(minted)
        )  # fmt: skip

    with create_app(Settings.from_environ(settings)).app_context():
        transaction(work)
        db.session.remove()
        db.engine.dispose()
    return [token.text for _, token in minted]
