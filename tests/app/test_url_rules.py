"""Building the application compiles no URL builder, and the URLs come out as Werkzeug's own."""

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.routing import Map, Rule

from app import create_app
from app.config import Settings
from app.url_rules import LateRule
from tests.support.server import fresh_secrets

SHAPES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/", {}, {}),
    ("/nodes/<node_id>", {}, {"node_id": "a b/ä?"}),
    ("/nodes/<node_id>", {}, {"node_id": "n", "cursor": "x&y", "label": ["a", "b"]}),
    ("/versions/<int:version>/<path:rest>", {}, {"version": 3, "rest": "a/b"}),
    ("/pages/<int:page>", {"defaults": {"page": 1}}, {"page": 1}),
]


@pytest.mark.parametrize(("path", "options", "values"), SHAPES)
def test_urls_are_built_as_by_werkzeug(path: str, options: dict[str, Any], values: dict[str, Any]) -> None:
    """Twice: compiled for the first URL, and there for the second."""
    late, plain = (
        Map([kind(path, endpoint="it", **options)]).bind("host") for kind in (LateRule, Rule)
    )  # fmt: skip
    for _ in range(2):
        assert late.build("it", values) == plain.build("it", values)


def test_nothing_is_compiled_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every worker and command compiles two functions for each of the rules."""
    compiled: list[str] = []
    compile_builder: Callable[..., Callable[..., tuple[str, str]]] = Rule._compile_builder

    def counting(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compiled.append(rule.rule)
        return compile_builder(rule, append_unknown)

    monkeypatch.setattr(Rule, "_compile_builder", counting)
    app = create_app(Settings.from_environ(fresh_secrets()))
    # The static files' rule is Flask's, added before an application can say which class it wants.
    assert set(compiled) <= {"/static/<path:filename>"}
    compiled.clear()
    with app.test_request_context():
        assert app.url_for("sign_in.form") == "/sign-in"
    assert set(compiled) == {"/sign-in"}
