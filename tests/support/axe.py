"""axe on a page that stands in a browser: in light and dark, narrow and wide, without loading it anew."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, ViewportSize

AXE = (Path(__file__).parent / "vendor" / "axe" / "axe.min.js").read_text()
NARROW, WIDE, WIDEST = 400, 1400, 2000
FORMS = [(scheme, width) for width in (WIDE, NARROW) for scheme in ("light", "dark")]
"""A change of the width costs a layout, one of the colours hardly anything."""
BY_LOOKS = ("color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size")
"""The rules whose answer depends on colours and widths; the others read the document, which stays the same."""


def faults(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe calls serious or critical, each with the element; *rules*: only by these."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    result: Any = page.evaluate("options => axe.run(options)", options)
    return [
        f"{page.url}: {each['id']}: {node['html'][:200]}"
        for each in result["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


def look(page: Page, called: str = "") -> list[str]:
    """`faults` in each form, and where the page is wider than the window; *called* where the address is not enough.

    By all rules once, and by those that looks decide in each other form.
    """
    found: list[str] = []
    for number, (scheme, width) in enumerate(FORMS):
        _show(page, width, scheme)
        found += [f"{scheme} {width} {fault}" for fault in faults(page, BY_LOOKS if number else ())]
        found += _too_wide(page, width)
    _show(page, WIDEST, "light")
    found += _too_wide(page, WIDEST)
    return [f"{called} {fault}" for fault in found] if called else found


def _show(page: Page, width: int, scheme: Any) -> None:
    size: ViewportSize = {"width": width, "height": 900}
    if page.viewport_size != size:
        page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)


def _too_wide(page: Page, width: int) -> list[str]:
    """Whether the document scrolls sideways, with an element that reaches out."""
    reaches_out: str | None = page.evaluate(
        """() => {
          const { scrollWidth, clientWidth } = document.documentElement;
          if (scrollWidth <= clientWidth) return null;
          const all = [...document.querySelectorAll("main *")];
          const far = all.filter((each) => each.getBoundingClientRect().right > clientWidth);
          return far.at(-1)?.outerHTML.slice(0, 200) ?? "nothing in main";
        }"""
    )
    return [f"{page.url}: {width} pixels are too narrow for {reaches_out}"] if reaches_out else []
