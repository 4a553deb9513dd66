// What every page does: times that tell how long ago, buttons that copy, and a reader who keeps their place.

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
];

/** "12 s ago" for a moment in milliseconds since 1970; the server's and the browser's clocks may differ a little. */
function ago(moment) {
  const seconds = Math.max(0, Math.round((Date.now() - moment) / 1000));
  if (seconds < 2) return "just now";
  for (const [size, unit] of UNITS) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${seconds} s ago`;
}

function tellTimes() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of document.querySelectorAll("time[data-since]")) {
    const moment = Date.parse(time.dateTime);
    const text = `${clock(moment)} (${ago(moment)})`;
    if (time.textContent !== text) time.textContent = text;
  }
}

/** What a clock of the reader's shows, with the day where that is another one. */
function clock(moment) {
  const at = new Date(moment);
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? at.toLocaleTimeString() : at.toLocaleString();
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    button.textContent = "Copied";
  } catch {
    // Without https there is no clipboard: select the text, so that one key copies it.
    getSelection().selectAllChildren(source);
    button.textContent = "Selected: press Ctrl+C";
  }
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}

// ---- an update of the page leaves the reader where they are ----

let place = null;

/** Whether somebody can be there: it is part of the page and is drawn. */
function isThere(element) {
  return element.isConnected && element.checkVisibility(); // not within what is hidden, or folded up
}

function remember() {
  const focused = document.activeElement;
  const above = [];
  for (let each = focused?.parentElement; each; each = each.parentElement) above.push(each);
  const { anchorNode, anchorOffset, focusNode, focusOffset, isCollapsed } = getSelection();
  place = { focused, above, selected: isCollapsed ? null : { anchorNode, anchorOffset, focusNode, focusOffset } };
}

/** What had the focus gets it back; where that is gone, the nearest part of the page around it that is left. */
function restoreFocus({ focused, above }) {
  if (focused === null || focused === document.body) return;
  if (document.activeElement === focused && isThere(focused)) return;
  const again = [focused, document.getElementById(focused.id || "no id")].find((each) => each && isThere(each));
  const target = again ?? above.find((each) => each.id && isThere(each)) ?? document.getElementById("main");
  target.focus({ preventScroll: true });
  if (document.activeElement === target) return;
  target.tabIndex = -1;
  target.focus({ preventScroll: true });
}

function restoreSelection({ selected }) {
  if (selected === null || !selected.anchorNode?.isConnected || !selected.focusNode?.isConnected) return;
  const { anchorNode, focusNode } = getSelection();
  if (anchorNode === selected.anchorNode && focusNode === selected.focusNode) return; // the browser has kept it
  const within = (node, offset) => Math.min(offset, node.length ?? node.childNodes.length);
  getSelection().setBaseAndExtent(
    selected.anchorNode,
    within(selected.anchorNode, selected.anchorOffset),
    selected.focusNode,
    within(selected.focusNode, selected.focusOffset),
  );
}

document.addEventListener("painting", remember);
document.addEventListener("painted", () => {
  if (place === null) return;
  restoreFocus(place);
  restoreSelection(place);
  place = null;
});

tellTimes();
setInterval(tellTimes, 1000);
document.addEventListener("painted", tellTimes);
