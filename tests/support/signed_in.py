"""A browser's session with the pages, without a browser."""

import re

import requests


def signed_in(url: str, email: str, password: str) -> requests.Session:
    """The cookies of somebody who has signed in through the form."""
    session = requests.Session()
    session.trust_env = False
    session.headers["Connection"] = "close"  # the server ends idle ones, perhaps as we send
    form = session.get(f"{url}/sign-in", timeout=30).text
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form)
    assert found, "the sign-in form has no CSRF token"
    fields = {"csrf_token": found[1], "email": email, "password": password}
    assert session.post(f"{url}/sign-in", data=fields, timeout=30).ok
    return session
