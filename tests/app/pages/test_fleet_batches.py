"""Acting on many nodes: the preview says what will happen to whom, and nobody else is touched."""

import re

from flask import Flask

from app import fleet, nodes
from app.audit import COMMAND_LINE
from tests.app.pages.conftest import SignIn, Visitor, enroll


def seen(visitor: Visitor, query: str) -> str:
    """What the preview's form remembers of the nodes that it was about."""
    page = visitor.get(f"/fleet/actions?{query}")
    found = re.search(r'name="seen" value="(\w+)"', page.text)
    assert found is not None, page.text
    return found[1]


def in_maintenance(app: Flask) -> list[str]:
    with app.app_context():
        return [row.name for row in fleet.nodes(status="MAINTENANCE").items]


def test_maintenance_of_all_that_match_is_previewed_and_begins_on_those_alone(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """The preview changes nothing and says how many; a node that has come meanwhile is not paused unseen."""
    visitor = sign_in("editor")
    for name in ("edge-01", "edge-02", "core-01"):
        enroll(app, environment_id, name)
    query = "what=pause&all=yes&q=edge"
    page = visitor.get(f"/fleet/actions?{query}").text
    assert "Stop everything on 2 nodes" in page
    assert "core-01" not in page
    assert in_maintenance(app) == []
    before = seen(visitor, query)
    enroll(app, environment_id, "edge-03")
    fields = {"what": "pause", "all": "yes", "q": "edge"}
    stale = visitor.post("/fleet/actions", f"/fleet/actions?{query}", seen=before, **fields)
    assert (stale.status_code, "other nodes are meant" in stale.text) == (409, True)
    assert in_maintenance(app) == []
    now = seen(visitor, query)
    assert visitor.post("/fleet/actions", f"/fleet/actions?{query}", seen=now, **fields).status_code == 302
    assert in_maintenance(app) == ["edge-01", "edge-02", "edge-03"]
    assert "it is in maintenance already" in visitor.get(f"/fleet/actions?{query}").text


def test_only_revoked_nodes_are_deleted_and_only_by_an_admin(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """Who is not revoked is left out by name, whatever was ticked."""
    good, gone = (enroll(app, environment_id, name) for name in ("good", "gone"))
    with app.app_context():
        nodes.revoke(gone, COMMAND_LINE)
    query = f"what=forget&node={good}&node={gone}"
    assert sign_in("editor").get(f"/fleet/actions?{query}").status_code == 403
    assert sign_in("viewer").get("/fleet/actions?what=restart").status_code == 403
    visitor = sign_in()
    page = visitor.get(f"/fleet/actions?{query}").text
    assert "Delete 1 node" in page
    assert "it is not revoked" in page
    path = f"/fleet/actions?{query}"
    assert visitor.post("/fleet/actions", path, what="forget", node=gone, seen=seen(visitor, query)).location
    with app.app_context():
        assert [row.name for row in fleet.nodes().items] == ["good"]


def test_a_restart_of_many_leads_to_its_progress(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """The batch's page; the same once more is refused for whom it waits already."""
    node_id = enroll(app, environment_id, "edge-01")
    visitor, query = sign_in("editor"), f"what=restart&node={node_id}"
    path = f"/fleet/actions?{query}"
    done = visitor.post("/fleet/actions", path, what="restart", node=node_id, seen=seen(visitor, query))
    assert re.fullmatch(r"/actions/\w+", done.location)
    assert "the same restart waits for it already" in visitor.get(path).text
