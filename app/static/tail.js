// The live tail of a pipeline's page: start, show the last lines, stop. Leaving the page stops it, too.

const MOST_LINES = 200;
const SILENT_MS = 10000;
const DRAW_MS = 200;
const NEAR_PX = 8;

const section = document.getElementById("tail");
const form = section?.querySelector("form");
const button = document.getElementById("tail-button");
const state = document.getElementById("tail-state");
const list = document.getElementById("tail-events");

let source = null;
let stopAt = null;
let silence = null;
let count = 0;
let lines = [];
let drawing = null;

function tell(text) {
  state.textContent = text;
}

function body(more = {}) {
  const data = new FormData(form);
  for (const [name, value] of Object.entries(more)) data.set(name, value);
  return data;
}

async function start() {
  button.disabled = true;
  tell("Asking a node…");
  try {
    const response = await fetch(section.dataset.start, { method: "POST", body: body(), signal: AbortSignal.timeout(15000) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error ?? `The server answered ${response.status}.`);
    follow(answer);
  } catch (error) {
    tell(error instanceof SyntaxError ? "The server could not start it; reload the page." : error.message);
  }
  button.disabled = false;
}

function follow({ events, stop }) {
  stopAt = stop;
  count = 0;
  lines = [];
  list.textContent = "";
  list.hidden = false;
  button.textContent = "Stop";
  tell("Waiting for events…");
  silence = setTimeout(() => tell("No event yet. The component may be idle, or the node's agent cannot do this."), SILENT_MS);
  source = new EventSource(events);
  source.addEventListener("open", () => {
    // Whoever connects again is sent all that is kept.
    count = 0;
    lines = [];
    list.textContent = "";
  });
  source.addEventListener("event", (event) => show(JSON.parse(event.data).text));
  source.addEventListener("stopped", (event) => end(`Ended: ${JSON.parse(event.data).reason || "the tail is over"}.`));
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) end("Ended: the server no longer has this tail.");
  });
}

function show(text) {
  lines.push(text);
  count += 1;
  drawing ??= setTimeout(draw, DRAW_MS);
}

/** Whether somebody has selected something of the list, or scrolled up in it. */
function isRead() {
  const selection = getSelection();
  const hasSelected = !selection.isCollapsed && list.contains(selection.anchorNode);
  return hasSelected || list.scrollHeight - list.scrollTop - list.clientHeight > NEAR_PX;
}

/** Several times a second at most: to lay the list out for each event would keep a slow machine from everything else. */
function draw() {
  drawing = null;
  if (source === null) return;
  clearTimeout(silence);
  if (isRead()) {
    drawing = setTimeout(draw, DRAW_MS); // what is selected or scrolled to stays; the rest comes later
    tell(`${count.toLocaleString()} ${count === 1 ? "event" : "events"}; the list waits while you read in it`);
    return;
  }
  lines.splice(0, Math.max(0, lines.length - MOST_LINES));
  list.replaceChildren(...lines.map(event));
  list.scrollTop = list.scrollHeight;
  const latest = count > MOST_LINES ? `, the last ${MOST_LINES} shown` : "";
  tell(`${count.toLocaleString()} ${count === 1 ? "event" : "events"}${latest}`);
}

/** Each is an element, so that where one ends is seen also where its lines are long. */
function event(text) {
  const element = document.createElement("div");
  element.textContent = text;
  return element;
}

function end(text) {
  clearTimeout(silence);
  source?.close();
  source = null;
  stopAt = null;
  button.textContent = "Start";
  tell(text);
}

function stop() {
  if (stopAt === null) return;
  fetch(stopAt, { method: "POST", body: body() }).catch(() => {}); // it ends by itself, then
  end("Stopped.");
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (source === null) start();
  else stop();
});
addEventListener("pagehide", () => {
  if (stopAt === null) return;
  navigator.sendBeacon(stopAt, body()); // a fetch may be dropped with the page
  end("Stopped.");
});
