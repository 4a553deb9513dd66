// What every page does: times that tell how long ago, and buttons that copy.

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

tellTimes();
setInterval(tellTimes, 1000);
document.addEventListener("painted", tellTimes);
