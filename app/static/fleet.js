// Keeps a page about the fleet current. The server sends what has changed as HTML of single elements, by
// server-sent events; where those fail the page asks every five seconds instead. Elements are changed in
// place, so that focus, scrolling and selection stay where they are.

const POLL_MS = 5000;
const RETRY_STREAM_MS = 30000;
const SILENCE_MS = 30000; // the server says something at least every 10 seconds

const main = document.getElementById("main");
const line = document.getElementById("live");

// ---- changing the page in place ----

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

/** The element's classes in one form, without the marks that this file sets. */
function classesOf(element) {
  return [...element.classList].filter((name) => name !== "changed" && name !== "gone").join(" ");
}

/** Make an element's attributes those of another; true if one of them changed. */
function morphAttributes(from, to) {
  let changed = false;
  for (const { name, value } of [...to.attributes]) {
    const isSame = name === "class" ? classesOf(from) === classesOf(to) : from.getAttribute(name) === value;
    if (!isSame) {
      from.setAttribute(name, value);
      changed = true;
    }
  }
  for (const { name } of [...from.attributes]) {
    // Whether a <details> is open is the reader's affair.
    const isOurs =
      name === "open" ||
      (name === "class" && classesOf(from) === "") ||
      (name === "tabindex" && from === document.activeElement); // which page.js has set, lest the focus be lost
    if (!to.hasAttribute(name) && !isOurs) from.removeAttribute(name);
  }
  return changed;
}

/** Change a text only where it differs, so that what is selected in the rest of it stays selected. */
function morphText(from, text) {
  const old = from.data;
  // A log loses lines at its top and gets others at its end.
  for (let cut = 0; cut < old.length; cut = old.indexOf("\n", cut) + 1) {
    if (text.startsWith(old.slice(cut))) {
      from.deleteData(0, cut);
      from.appendData(text.slice(old.length - cut));
      return;
    }
    if (old.indexOf("\n", cut) < 0) break;
  }
  const most = Math.min(old.length, text.length);
  let start = 0;
  while (start < most && old[start] === text[start]) start += 1;
  let end = 0;
  while (end < most - start && old[old.length - 1 - end] === text[text.length - 1 - end]) end += 1;
  from.replaceData(start, old.length - start - end, text.slice(start, text.length - end));
}

/** Make an element's children those of another; true if that is to be marked. What has an id stays the same element. */
function morphChildren(from, to) {
  const after = [...to.childNodes];
  const wanted = new Set(after.map((child) => child.id).filter(Boolean));
  const known = new Map([...from.children].filter((child) => child.id).map((child) => [child.id, child]));
  let changed = false;
  let own = from.firstChild;
  let left = from.childNodes.length;
  const drop = () => {
    const gone = own;
    own = own.nextSibling;
    left -= 1;
    gone.remove();
    changed = true;
  };
  after.forEach((child, index) => {
    const isLike = (node) => node && node.nodeName === child.nodeName && (node.id ?? "") === (child.id ?? "");
    while (own !== null && !isLike(own) && (own.id ? !wanted.has(own.id) : left > after.length - index)) drop();
    const same = child.id ? known.get(child.id) : own;
    if (!isLike(same)) {
      // As many as there are to be: another one stands in its place. Fewer: it is a new one.
      const isInstead = own !== null && !own.id && left >= after.length - index;
      from.insertBefore(child, own);
      if (isInstead) drop();
      changed = true;
      return;
    }
    if (same === own) own = own.nextSibling;
    else from.insertBefore(same, own);
    left -= 1;
    if (morph(same, child)) changed = true;
  });
  while (own !== null) drop();
  return changed;
}

/** Make one node like another; true if its element is to be marked as changed. */
function morph(from, to) {
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data === to.data) return false;
    morphText(from, to.data);
    return from.data.trim() !== "";
  }
  if (from.nodeType !== Node.ELEMENT_NODE) return false;
  if (from.localName === "time") {
    if (from.dateTime !== to.dateTime) {
      morphAttributes(from, to);
      from.textContent = to.textContent;
    }
    return false; // a later time is no news
  }
  let changed = morphAttributes(from, to);
  if (morphChildren(from, to)) changed = true;
  if ("quiet" in from.dataset) return false;
  if (changed && "flash" in from.dataset) {
    flash(from);
    return false;
  }
  return changed;
}

function flash(element) {
  element.classList.remove("changed");
  void element.offsetWidth; // lets the animation begin again
  element.classList.add("changed");
  element.addEventListener("animationend", () => element.classList.remove("changed"), { once: true });
}

/** Put the children of a list into the wanted order, making those that are new from their HTML. */
function arrange(list, ids, parts) {
  const wanted = new Set(ids);
  for (const child of [...list.children]) {
    if (!wanted.has(child.id)) child.remove();
  }
  ids.forEach((id, index) => {
    const place = list.children[index];
    if (place?.id === id) return;
    let child = document.getElementById(id);
    if (child === null && parts[id] !== undefined) {
      child = parse(parts[id]);
      flash(child);
    }
    if (child !== null) list.insertBefore(child, place ?? null);
  });
}

// ---- changes that would move what is being read ----

const held = new Map(); // by list: the order that waits to be shown, and the parts of rows that are not there yet

/** Whether bringing the list into this order would move or remove something that stands in the window or above. */
function moves(list, ids) {
  const place = [...list.children].findIndex((child, index) => child.id !== ids[index]);
  return place >= 0 && list.children[place].getBoundingClientRect().top < innerHeight;
}

/** How many rows would come, go or change places. */
function numberOfChanges(list, ids) {
  const now = [...list.children].map((child) => child.id);
  const stays = now.filter((id) => ids.includes(id));
  const moved = ids.filter((id) => now.includes(id)).filter((id, index) => id !== stays[index]).length;
  return ids.length - stays.length + (now.length - stays.length) + moved;
}

function arrangeOrHold(list, ids, parts) {
  const bar = document.getElementById(list.dataset.hold);
  if (bar === null) {
    arrange(list, ids, parts);
  } else if (moves(list, ids)) {
    held.set(list, { ids, parts: held.get(list)?.parts ?? {} });
    for (const child of list.children) child.classList.toggle("gone", !ids.includes(child.id));
  } else {
    arrange(list, ids, { ...held.get(list)?.parts, ...parts });
    held.delete(list);
  }
  showHeld(list, bar);
}

function showHeld(list, bar) {
  if (bar === null) return;
  const waiting = held.get(list);
  const number = waiting ? numberOfChanges(list, waiting.ids) : 0;
  const text = number === 1 ? "1 change of the list waits." : `${number} changes of the list wait.`;
  const line = bar.querySelector("[role=status]");
  if (number > 0 && line.textContent !== text) line.textContent = text;
  if (bar.hidden !== (number === 0)) bar.hidden = number === 0;
}

for (const list of document.querySelectorAll("[data-hold]")) {
  const bar = document.getElementById(list.dataset.hold);
  bar.querySelector("button").addEventListener("click", () => {
    const waiting = held.get(list);
    held.delete(list);
    if (waiting !== undefined) arrange(list, waiting.ids, waiting.parts);
    for (const child of list.children) child.classList.remove("gone");
    showHeld(list, bar);
    main.focus({ preventScroll: true }); // the button is gone
    document.dispatchEvent(new Event("painted"));
  });
}

function paint({ parts = {}, lists = {} }) {
  document.dispatchEvent(new Event("painting"));
  for (const [id, ids] of Object.entries(lists)) {
    const list = document.getElementById(id);
    if (list !== null) arrangeOrHold(list, ids, parts);
  }
  for (const waiting of held.values()) {
    for (const id of waiting.ids) if (id in parts) waiting.parts[id] = parts[id];
  }
  for (const [id, html] of Object.entries(parts)) {
    const element = document.getElementById(id);
    if (element !== null) morph(element, parse(html));
  }
  document.dispatchEvent(new Event("painted"));
}

// ---- hearing of changes ----

let source = null;
let pollTimer = null;
let silenceTimer = null;
let retryTimer = null;
let currentAt = Date.now();

function tell(state, text) {
  if (line.dataset.state !== state || line.textContent !== text) {
    line.dataset.state = state;
    line.textContent = text;
  }
}

function heard() {
  currentAt = Date.now();
  clearTimeout(silenceTimer);
  silenceTimer = setTimeout(giveUpStream, SILENCE_MS);
  stopPolling();
  tell("stream", "Live");
}

function openStream() {
  closeStream();
  source = new EventSource(main.dataset.events);
  source.addEventListener("open", heard);
  source.addEventListener("still", heard);
  source.addEventListener("change", (event) => {
    heard();
    paint(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) giveUpStream();
    else startPolling(); // the browser tries the stream again by itself; the page stays current meanwhile
  });
  silenceTimer = setTimeout(giveUpStream, SILENCE_MS);
}

function closeStream() {
  clearTimeout(silenceTimer);
  clearTimeout(retryTimer);
  source?.close();
  source = null;
}

function giveUpStream() {
  closeStream();
  startPolling();
  retryTimer = setTimeout(openStream, RETRY_STREAM_MS);
}

function startPolling() {
  if (pollTimer === null) pollTimer = setTimeout(poll, 1000);
}

function stopPolling() {
  clearTimeout(pollTimer);
  pollTimer = null;
}

async function poll() {
  try {
    const response = await fetch(main.dataset.rows, { signal: AbortSignal.timeout(10000) });
    if (response.status === 401) {
      stopFor("You are signed out; reload to sign in again.");
      return;
    }
    if (response.status === 404) {
      stopFor("What this page is about no longer exists.");
      return;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    const picture = await response.json();
    if (pollTimer === null) return; // the stream came back meanwhile
    currentAt = Date.now();
    paint(picture);
    tell("poll", "Live, by asking every 5 seconds");
  } catch {
    tell("lost", `Not current: the server has not answered since ${new Date(currentAt).toLocaleTimeString()}`);
  }
  if (pollTimer !== null) pollTimer = setTimeout(poll, POLL_MS);
}

function stopFor(text) {
  closeStream();
  stopPolling();
  tell("lost", text);
}

// A page that nobody looks at holds no stream: a browser allows only a few for all its tabs together.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    closeStream();
    stopPolling();
  } else {
    openStream();
  }
});
addEventListener("pagehide", closeStream);
addEventListener("pageshow", (event) => {
  if (event.persisted) openStream();
});

openStream();
