"""The webhooks' pages: a secret that is shown once, a log with a button to send again, for admins alone."""

import re

from tests.app.pages.conftest import SignIn

URL = "https://hooks.example.org/secret-part"
SECRET = re.compile(r"whsec_[\w+/=]+")


def test_a_webhook_from_its_making_to_its_end(sign_in: SignIn) -> None:
    """Each act leads back to its page, which says what was done; the secret is in two answers and on no page."""
    visitor = sign_in()
    assert "No webhooks yet" in visitor.get("/webhooks").text
    made = visitor.post("/webhooks", "/webhooks", name="pager", url=URL, events="node.back")
    first = SECRET.search(made.text)
    assert first is not None
    listed = visitor.get("/webhooks").text
    address = re.search(r'href="(/webhooks/[0-9a-f]{32})">pager', listed)
    assert address is not None
    page = address[1]
    assert "nothing sent yet" in visitor.get(page).text
    assert not SECRET.search(visitor.get(page).text)
    other = SECRET.search(visitor.post(f"{page}/secret", page).text)
    assert other is not None
    assert other[0] != first[0]

    assert visitor.post(f"{page}/test", page).status_code == 302
    assert "A test is on its way" in visitor.get(page).text
    visitor.post(page, page, name="chat", url=URL, events="pipeline.failed")
    text = visitor.get(page).text
    assert "<h1>chat</h1>" in text
    assert re.search(r'value="pipeline.failed" checked', text)
    assert not re.search(r'value="node.back" checked', text)
    visitor.post(f"{page}/enable", page, enabled="no")
    assert "1 delivery waits" in visitor.get(page).text
    assert "Send a test" not in visitor.get(page).text
    assert visitor.post(f"{page}/test", page).status_code == 409
    visitor.post(f"{page}/enable", page, enabled="yes")
    assert visitor.post(f"{page}/delete", page).location.endswith("/webhooks")
    assert "Deleted the webhook chat." in visitor.get("/webhooks").text
    assert visitor.get(page).status_code == 404


def test_what_cannot_be_used_is_said_and_kept(sign_in: SignIn) -> None:
    """For a new one and for one that is there; nothing is made or changed."""
    visitor = sign_in()
    refused = visitor.post("/webhooks", "/webhooks", name="pager", url="ftp://x", events="node.back")
    assert (refused.status_code, 'value="ftp://x"' in refused.text) == (400, True)
    assert "it must begin with https://" in refused.text
    assert visitor.post("/webhooks", "/webhooks", name="pager", url=URL).status_code == 400
    assert "No webhooks yet" in visitor.get("/webhooks").text


def test_the_pages_are_for_admins(sign_in: SignIn) -> None:
    """An address may hold a token: others are not even offered the way."""
    visitor = sign_in("editor")
    assert "Webhooks" not in visitor.get("/").text
    assert visitor.get("/webhooks").status_code == 403
    assert visitor.post("/webhooks", "/", name="n", url=URL, events="node.back").status_code == 403
