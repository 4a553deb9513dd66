// What an error page does by itself: leads back, and waits for a server that is not ready.

const FIRST_MS = 2000;
const MOST_MS = 15000;
const FORGET_MS = 60000;

for (const button of document.querySelectorAll("button[data-back]")) {
  button.hidden = history.length < 2;
  button.addEventListener("click", () => history.back());
}

const waiting = document.getElementById("waiting");
const key = `waited ${location.pathname}`;
let pause = FIRST_MS;
let timer = null;

/** Pages that come back as errors although the server is ready are asked for less and less often. */
function before() {
  try {
    const { at, ms } = JSON.parse(sessionStorage.getItem(key) ?? "{}");
    return Date.now() - at < FORGET_MS ? Math.min(ms * 2, MOST_MS) : FIRST_MS;
  } catch {
    return FIRST_MS;
  }
}

function again() {
  timer = setTimeout(ask, pause * (0.5 + Math.random() / 2)); // not all pages in the same moment
  pause = Math.min(pause * 1.5, MOST_MS);
}

async function ask() {
  timer = null;
  if (document.hidden) return; // asks once it is looked at
  let isReady = false;
  try {
    isReady = (await fetch(waiting.dataset.ready, { cache: "no-store", signal: AbortSignal.timeout(10000) })).ok;
  } catch {
    // not even the server answers; that may pass, too
  }
  if (isReady) goOn();
  else again();
}

function goOn() {
  if (waiting.dataset.method !== "GET") {
    waiting.textContent = "The server is ready again. What you did was not carried out: send it again.";
    return;
  }
  waiting.textContent = "The server is ready again; the page is being loaded.";
  try {
    sessionStorage.setItem(key, JSON.stringify({ at: Date.now(), ms: first }));
  } catch {
    // a browser that keeps nothing asks as often as the first time
  }
  location.reload();
}

let first = FIRST_MS;
if (waiting !== null) {
  first = before();
  pause = first;
  waiting.textContent =
    waiting.dataset.method === "GET"
      ? "This page asks whether the server is ready, and comes back by itself."
      : "This page asks whether the server is ready, and says so here.";
  again();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && timer === null) again();
  });
}
