"""Rules of URLs that are made ready for ``url_for`` when it first asks for them.

Werkzeug compiles two functions for each rule as it is added, which is nine tenths of what it takes to build the
application (60 of 70 ms for 143 rules): every worker and every command pays for it at its start, and no process
ever builds the URLs of more than a part of the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule


class LateRule(Rule):
    """As Werkzeug's, except that its URL builders are compiled by the first URL that is built.

    ``_compile_builder`` is Werkzeug's own affair. Should a release no longer call it, this class changes nothing.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compiled: Callable[..., tuple[str, str]] | None = None
        compile_now = super()._compile_builder

        def build(rule: Rule, **values: Any) -> tuple[str, str]:
            nonlocal compiled
            if compiled is None:
                compiled = compile_now(append_unknown)
            return compiled(rule, **values)

        return build
