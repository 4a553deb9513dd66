"""What operators do with a pipeline, a node, secrets and settings, to the end, while somebody else looks on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.app.test_secrets import pem
from tests.browser.test_fleet_page import YAML, context, email, environment_id, sign_in
from tests.support.api import AgentByHand, Operator
from tests.support.axe import look
from tests.support.server import Server

__all__ = ["context", "email", "environment_id"]

VECTOR_YAML = "data_dir: /var/lib/vector\n" + YAML
GONE = "What this page is about no longer exists."


@pytest.fixture
def other(browser: Browser, server: Server, email: str) -> Iterator[Page]:
    """A page of somebody else's browser; its console may tell of what is gone."""
    others = browser.new_context(base_url=server.url)
    yield sign_in(others.new_page(), email)
    others.close()


def watch(other: Page, address: str) -> None:
    """Let somebody else open it and leave it open."""
    other.goto(address)
    expect(other.locator("#live")).to_have_attribute("data-state", "stream")
    other.evaluate("window.isTheSamePage = true")


def test_a_pipeline_from_its_import_to_its_end(
    context: BrowserContext,
    other: Page,
    server: Server,
    operator: Operator,
    environment_id: str,
    tmp_path: Path,
) -> None:
    """Imported, saved by Enter, deployed twice, compared, exported, rolled back, undeployed and deleted."""
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment_id), "edge-01")
    page = context.new_page()
    page.goto("/pipelines/new")
    page.get_by_text("Or import a vector.yaml").click()
    page.get_by_label("Or paste it").fill(VECTOR_YAML)
    page.get_by_role("button", name="Import into the form").click()
    expect(page.get_by_text("Imported into the form; nothing is saved yet.")).to_be_visible()
    expect(page.get_by_text("data_dir").first).to_be_visible()
    page.get_by_label("Name").fill("imported")
    page.get_by_label("Environment").select_option(environment_id)
    page.get_by_label("Nodes that match").press("Enter")
    page.wait_for_url(re.compile("/pipelines/[0-9a-f]{32}$"))
    pipeline_id = page.url.rpartition("/")[2]
    watch(other, f"/pipelines/{pipeline_id}")

    page.get_by_label("Nodes that match").fill("zone!=z")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved the draft.")).to_be_visible()
    assert operator.call("GET", f"/pipelines/{pipeline_id}")["nodeSelector"] == "zone!=z"
    page.get_by_label("Nodes that match").fill("zone=nowhere")
    page.get_by_role("button", name="Preview this selector").click()
    expect(page.locator("#targets")).to_contain_text("With the selector above 0 nodes will run it")
    assert operator.call("GET", f"/pipelines/{pipeline_id}")["nodeSelector"] == "zone!=z", "nothing was saved"
    page.get_by_label("Nodes that match").fill("")
    for number in (1, 2):
        page.get_by_role("button", name="Deploy…").click()
        page.get_by_label("What changes").fill(f"Change {number}")
        page.keyboard.press("Enter")
        expect(other.locator(f"#version-{number}")).to_contain_text(f"Change {number}")
    page.get_by_role("link", name="Compare two").click()
    expect(page.get_by_text("Their configurations are the same.")).to_be_visible()
    page.goto(f"/pipelines/{pipeline_id}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the saved draft").click()
    download.value.save_as(tmp_path / "draft.yaml")
    assert "demo_logs" in (tmp_path / "draft.yaml").read_text()

    page.get_by_role("link", name="Roll back… to v1").click()
    expect(page.get_by_text("the content of v1 and brings it to 1 node")).to_be_visible()
    page.get_by_role("button", name="Roll back on 1 node").click()
    expect(other.locator("#progress")).to_contain_text("Rolled back: version 3")
    expect(other.locator("#version-3")).to_contain_text("deployed")
    page.get_by_text("Undeploy…").click()
    expect(page.locator("#ask-undeploy")).to_contain_text("0 nodes report it just now")
    page.get_by_role("button", name="Undeploy imported").click()
    expect(other.locator("#progress")).to_contain_text("Undeployed")
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete imported").click()
    expect(page.get_by_text("Deleted the pipeline imported.")).to_be_visible()
    assert other.evaluate("window.isTheSamePage === true")
    expect(other.locator("#live")).to_have_text(GONE)


def test_a_node_from_its_labels_to_its_end(
    context: BrowserContext, other: Page, server: Server, operator: Operator, environment_id: str
) -> None:
    """What stops something is asked, also by keyboard; the fleet page of somebody else follows; the log grows."""
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment_id), "edge-01")
    pipeline_id = operator.create_pipeline(environment_id, "access-log", YAML, nodeSelector="zone=a")["id"]
    operator.deploy(pipeline_id)
    page = context.new_page()
    page.goto(f"/nodes/{agent.node_id}")
    watch(other, f"/?environment={environment_id}")
    row = other.locator(f"#node-{agent.node_id}")

    page.get_by_label("Labels").fill("zone=a")
    page.get_by_role("button", name="Save").click()
    expect(row.get_by_text("zone=a")).to_be_visible()
    state = {"pipelineId": pipeline_id, "version": 1, "status": "RUNNING"}
    agent.heartbeat([{**state, "recentLogs": ["first line"]}])
    expect(page.locator("#logs .log")).to_contain_text("first line")
    agent.heartbeat([{**state, "recentLogs": ["first line", "second line"]}])
    expect(page.locator("#logs .log")).to_contain_text("second line")

    page.get_by_label("Labels").fill("zone=b")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Stop 1 pipeline on edge-01?")).to_be_visible()
    assert look(page) == []
    page.get_by_role("link", name="Back, without doing it").click()
    expect(page.get_by_label("Labels")).to_have_value("zone=a\n")
    page.get_by_role("checkbox", name="Maintenance").check()
    page.get_by_role("button", name="Save").click()
    expect(row.get_by_text("maintenance")).to_have_count(0)
    page.get_by_role("button", name="Save, and stop it").press("Enter")
    expect(row.get_by_text("maintenance")).to_be_visible()
    page.get_by_role("checkbox", name="Maintenance").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(row.get_by_text("maintenance")).to_have_count(0)

    page.get_by_text("Revoke…").click()
    page.get_by_role("button", name="Revoke edge-01").click()
    expect(row.get_by_text("revoked", exact=True)).to_be_visible()
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete edge-01").click()
    expect(page.get_by_text("Deleted the node edge-01.")).to_be_visible()
    expect(other.get_by_text("1 change of the list waits.")).to_be_visible()
    other.get_by_role("button", name="Show").click()
    expect(row).to_have_count(0)


def test_secrets_and_certificates_are_put_replaced_and_removed(
    context: BrowserContext,
    other: Page,
    server: Server,
    operator: Operator,
    environment_id: str,
    tmp_path: Path,
) -> None:
    """A new value says how many nodes it restarts something on; nobody ever sees a value again."""
    AgentByHand(server.url).enroll(operator.enrollment_token(environment_id), "edge-01")
    path = f"/environments/{environment_id}/secrets"
    page = context.new_page()
    page.goto(path)
    page.get_by_label("Name").first.fill("key")
    page.get_by_label("Value", exact=True).fill("hunter2")
    page.get_by_role("button", name="Add the secret").click()
    expect(page.get_by_text("Kept the secret key.")).to_be_visible()
    operator.deploy(operator.create_pipeline(environment_id, "uses", YAML + "    key: SECRET[key]\n")["id"])
    page.reload()
    page.get_by_text("New value…").click()
    expect(page.get_by_text("Restarts 1 pipeline on 1 node.")).to_be_visible()
    page.get_by_label("New value of key").fill("hunter3")
    page.get_by_role("button", name="Replace the value").click()
    expect(page.get_by_text("1 node must run a pipeline that names it")).to_be_visible()
    for name, days in (("expired", -0.5), ("good", 90)):
        file = tmp_path / f"{name}.pem"
        file.write_bytes(pem(days))
        page.get_by_label("Name", exact=True).last.fill(name)
        page.get_by_label("PEM file", exact=True).set_input_files(file)
        page.get_by_role("button", name="Add the certificate").click()
        expect(page.get_by_text(f"Kept the certificate {name}.")).to_be_visible()
    row = page.get_by_role("row", name="expired.pem")
    expect(row).to_contain_text("expired")
    other.goto(path)
    expect(other.get_by_role("row", name="good.pem")).to_be_visible()
    assert "hunter" not in other.content()
    row.get_by_text("Remove…").click()
    row.get_by_role("button", name="Remove expired").click()
    expect(page.get_by_text("Removed the certificate expired.")).to_be_visible()


def test_settings_are_asked_about_audited_exported_and_one_signs_out(
    context: BrowserContext, other: Page, operator: Operator, email: str, request: pytest.FixtureRequest
) -> None:
    """Keeping less is a question; the audit log tells both values; the other session is ended, then one's own."""
    before = operator.call("GET", "/settings")["sampleDays"]
    operator.call("PATCH", "/settings", {"sampleDays": 9})
    request.addfinalizer(lambda: operator.call("PATCH", "/settings", {"sampleDays": before}))
    page = context.new_page()
    page.goto("/settings")
    page.get_by_label("Samples", exact=True).fill("8")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Keep less?")).to_be_visible()
    expect(page.get_by_text("Samples, 8 days: removes")).to_be_visible()
    assert operator.call("GET", "/settings")["sampleDays"] == 9
    page.get_by_role("button", name="Save, and remove that").click()
    expect(page.get_by_text("Changed: Samples.")).to_be_visible()
    other.goto("/settings")
    expect(other.get_by_label("Samples", exact=True)).to_have_value("8")
    page.get_by_role("link", name="Who changed what, and when").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("sampleDays 9 → 8")
    page.get_by_role("main").get_by_role("link", name=email).first.click()
    expect(page.get_by_label("Who")).to_have_value(email)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export these as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("at,actor,")
    assert all(f",{email}," in line and ",settings.update," in line for line in lines[1:])

    watch(other, "/")
    page.get_by_role("banner").get_by_role("link", name=email).click()
    page.get_by_role("button", name="End all other sessions…").click()
    page.get_by_role("button", name="End them").click()
    expect(other.locator("#live")).to_have_text("You are signed out; reload to sign in again.")
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
