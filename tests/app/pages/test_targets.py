"""Before a deploy: the pipeline's page says whom it reaches, the environments page whose labels count."""

import re

from flask import Flask

from app import audit_log, deploys, environments, nodes, pipelines
from app.audit import COMMAND_LINE
from tests.app.pages.conftest import YAML, SignIn, enroll


def sentence(html: str) -> str:
    """What the page says of the nodes that a deploy would reach, without its markup."""
    found = re.search(r"<p>(With the (?:saved selector|selector above).*?)</p>", html, re.S)
    assert found is not None
    return " ".join(re.sub(r"<[^>]+>", "", found[1]).split())


def test_the_page_says_who_gains_and_who_loses(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Of the saved draft, and of a selector that was only typed, which is not saved by asking."""
    visitor = sign_in("editor")
    path = f"/pipelines/{pipeline_id}"
    ids = [enroll(app, environment_id, name) for name in ("edge-01", "edge-02", "edge-03")]
    with app.app_context():
        for node_id, zone in zip(ids, "abb", strict=True):
            nodes.update(node_id, COMMAND_LINE, labels={"zone": zone})
        pipelines.update(pipeline_id, COMMAND_LINE, node_selector="zone=a")
        deploys.deploy(pipeline_id, COMMAND_LINE)
    assert (
        sentence(visitor.get(path).text) == "With the saved selector 1 node will run it, 0 new, 0 will stop."
    )
    typed = visitor.post(f"{path}/preview", path, config_yaml=f"# mine\n{YAML}", node_selector="zone=b")
    assert typed.status_code == 200
    assert sentence(typed.text) == "With the selector above 2 nodes will run it, 2 new, 1 will stop."
    assert "# mine" in typed.text, "what was typed stays in the form"
    gained, lost = (
        re.findall(r"edge-\d+", part)
        for part in re.findall(r"<strong>(?:New|Will stop):</strong>.*?</p>", typed.text, re.S)
    )
    assert (gained, lost) == (["edge-02", "edge-03"], ["edge-01"])
    with app.app_context():
        assert pipelines.get(pipeline_id).node_selector == "zone=a"
    bad = visitor.post(f"{path}/preview", path, config_yaml=YAML, node_selector="zone in (a")
    assert bad.status_code == 400
    assert "zone in (a" in bad.text


def test_the_nodes_of_a_preview_are_paged_by_name(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """101 of them: a page of 100 and one of 1; the pipeline's page names ten and has a link to the others."""
    visitor = sign_in("viewer")
    names = [f"edge-{number:03}" for number in range(101)]
    for name in names:
        enroll(app, environment_id, name)
    html = visitor.get(f"/pipelines/{pipeline_id}").text
    assert sentence(html) == "With the saved selector 101 nodes will run it, 101 new, 0 will stop."
    assert ">91 others</a>" in html
    first = visitor.get(f"/pipelines/{pipeline_id}/targets?change=gained")
    assert re.findall(r">(edge-\d+)</a>", first.text) == names[:100]
    found = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert found is not None
    second = visitor.get(found[1].replace("&amp;", "&"))
    assert re.findall(r">(edge-\d+)</a>", second.text) == names[100:]
    assert 'rel="next"' not in second.text
    assert visitor.get(f"/pipelines/{pipeline_id}/targets?cursor=x").status_code == 400
    assert visitor.get(f"/pipelines/{pipeline_id}/targets?selector=a+in").status_code == 400
    assert "None." in visitor.get(f"/pipelines/{pipeline_id}/targets?selector=zone%3Dq").text


def test_an_admin_allows_keys_of_agents_labels(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """One a line; a bad one changes nothing and stays in the form; the list that was left is in the audit log."""
    visitor = sign_in()
    path = f"/environments/{environment_id}/selectable-keys"

    def allowed() -> list[str]:
        with app.app_context():
            return environments.get(environment_id).selectable_agent_labels

    answer = visitor.post(path, keys="zone\r\nrack, zone\r\n")
    assert (answer.status_code, answer.location) == (302, f"/environments#keys-{environment_id}")
    assert allowed() == ["rack", "zone"]
    page = visitor.get("/environments").text
    assert "allows its agents the keys rack, zone. 0 nodes had to be told." in page
    assert ">rack\nzone</textarea>" in page
    refused = visitor.post(path, keys="-bad-")
    assert refused.status_code == 400
    assert ">-bad-</textarea>" in refused.text
    assert allowed() == ["rack", "zone"]
    assert visitor.client.post(path, data={"keys": "role"}).status_code == 400, "no CSRF token"
    visitor.post(path, keys="")
    assert allowed() == []
    with app.app_context():
        entries = audit_log.listing().items
    changes = [entry for entry in entries if entry.action == "environment.selectable_agent_labels"]
    assert [entry.detail["after"]["selectable_agent_labels"] for entry in changes] == [[], ["rack", "zone"]]
    assert all(entry.actor != COMMAND_LINE.name for entry in changes)
