"""A page that changes leaves whoever is on it where they are: focus, selected text, and what was scrolled to."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_axe import filled, page
from tests.browser.test_fleet_page import email

__all__ = ["email", "filled", "page"]

LIVE = {
    "/", "/getting-started", "/nodes/{node}", "/pipelines/{pipeline}", "/environments/{environment}",
    "/actions/{batch}", "/samples/{sample}",
}  # fmt: skip
"""Every page with a stream of changes."""

NO_STREAM = """
window.EventSource = class extends EventTarget {
  constructor() { super(); this.readyState = 1; window.stream = this; }
  close() {}
};
"""
"""In place of the server's stream: one that says what the test says."""

WALK = """async () => {
  const picture = await (await fetch(document.getElementById("main").dataset.rows)).json();
  const send = (parts, lists = {}) => {
    window.stream.dispatchEvent(new MessageEvent("change", { data: JSON.stringify({ parts, lists }) }));
  };
  const parse = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  };
  /** The part as it may be a moment later: other numbers, and a notice above everything. */
  const later = (html, withNotice) => {
    const part = parse(html);
    for (const each of part.querySelectorAll("b, strong, td > span")) each.append(" more");
    if (withNotice && part.localName !== "tr" && part.localName !== "label") {
      part.prepend(Object.assign(document.createElement("ins"), { textContent: "Something is away." }));
    }
    return part.outerHTML;
  };
  const gone = (html) => {
    const part = parse(html);
    part.replaceChildren();
    return part.outerHTML;
  };
  const wrong = [];
  let seen = 0;
  for (const [id, html] of Object.entries(picture.parts)) {
    const part = document.getElementById(id);
    if (part === null) continue;
    send({ [id]: html });
    const focusable = "a[href], button, summary, input:not([type=hidden]), [tabindex='0']";
    for (const element of [...part.querySelectorAll(focusable)].slice(0, 12)) {
      if (element.getClientRects().length === 0 || element.disabled) continue;
      const name = `${id}: ${element.outerHTML.slice(0, 120)}`;
      element.focus();
      if (document.activeElement !== element) continue; // inside of something that is closed
      seen += 1;
      const at = scrollY;
      for (const withNotice of [false, true]) {
        send({ [id]: later(html, withNotice) });
        if (document.activeElement !== element) wrong.push(`the focus left ${name}`);
        send({ [id]: html });
      }
      if (document.activeElement !== element) wrong.push(`the focus left again ${name}`);
      if (scrollY !== at) wrong.push(`the page scrolled at ${name}`);
    }
    const text = document.createTreeWalker(part, NodeFilter.SHOW_TEXT, (node) =>
      node.data.trim().length > 3 && node.parentElement.closest("time, .unseen") === null ? 1 : 3);
    const node = text.nextNode();
    if (node !== null) {
      const range = document.createRange();
      range.selectNodeContents(node);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      const before = String(getSelection());
      send({ [id]: later(html, false) });
      if (!String(getSelection()).startsWith(before)) wrong.push(`no longer selected in ${id}: ${before}`);
      send({ [id]: html });
      getSelection().removeAllRanges();
    }
    const last = [...part.querySelectorAll(focusable)].find((each) => each.checkVisibility() && !each.disabled);
    if (last !== undefined) {
      last.focus();
      send({ [id]: gone(html) });
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
      const now = document.activeElement;
      if (now === null || now === document.body) wrong.push(`the focus is lost with ${id}`);
      send({ [id]: html });
      await new Promise(requestAnimationFrame);
      if (document.activeElement === document.body) wrong.push(`the focus is lost once ${id} is back`);
    }
  }
  return [seen, wrong];
}"""


@pytest.fixture
def still(page: Page) -> Page:
    """A page whose stream says nothing by itself."""
    page.add_init_script(NO_STREAM)
    return page


def send(page: Page, **parts: str) -> None:
    """Let the stream say that these parts are like this now."""
    page.evaluate(
        "data => window.stream.dispatchEvent(new MessageEvent('change', { data }))",
        json.dumps({"parts": parts}),
    )


def test_focus_and_selection_survive_every_update_of_every_page(still: Page, filled: dict[str, str]) -> None:
    """Whatever is focused stays so while it is there; where it goes, the focus stays near and never gets lost."""
    wrong: dict[str, Any] = {}
    for address in sorted(LIVE):
        still.goto(address.format(**filled))
        expect(still.get_by_role("heading", level=1)).to_be_visible()
        seen, found = still.evaluate(WALK)
        assert seen > 0 or address in ("/getting-started", "/samples/{sample}"), address
        if found:
            wrong[address] = found
    assert wrong == {}


LOG = '<section id="logs"><h2>Log</h2><pre class="code wrap log" tabindex="0">{}</pre></section>'


def test_a_log_that_is_read_stays_where_it_is(still: Page, filled: dict[str, str]) -> None:
    """Lines go at its top and come at its end: what is selected stays selected, and what was scrolled to in view."""
    still.goto("/nodes/{node}".format(**filled))
    lines = [f"line {number:03}" for number in range(200)]
    send(still, logs=LOG.format("\n".join(lines[:150])))
    log = still.locator("#logs .log")
    still.evaluate(
        """() => {
          const log = document.querySelector("#logs .log"), text = log.firstChild;
          log.scrollTop = 400;
          const at = text.data.indexOf("line 100");
          getSelection().setBaseAndExtent(text, at, text, at + 8);
          log.focus({ preventScroll: true });
        }"""
    )
    still.evaluate("new Promise(requestAnimationFrame)")
    send(still, logs=LOG.format("\n".join(lines[20:170])))
    assert still.evaluate("String(getSelection())") == "line 100"
    assert log.evaluate("log => log.scrollTop") == 400
    expect(log).to_be_focused()


def test_the_last_step_that_is_done_takes_no_focus_along(still: Page, filled: dict[str, str]) -> None:
    """Somebody stands on the button that hides the steps while they go away by themselves."""
    still.goto("/")
    hide = '<form><button class="quiet">Hide these steps</button></form>'
    send(still, steps=f'<section id="steps" class="panel stack"><h2>Steps</h2>{hide}</section>')
    still.get_by_role("button", name="Hide these steps").focus()
    send(still, steps='<section id="steps" hidden></section>')
    expect(still.locator("#steps")).to_be_hidden()
    expect(still.locator("#main")).to_be_focused()
    still.keyboard.press("Tab")
    assert still.evaluate("document.activeElement.closest('main') !== null"), (
        "and the next Tab goes on from there"
    )
