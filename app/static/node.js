// A log that is scrolled to its end stays there when lines come; one that is being read stays where it is.

const NEAR_PX = 8;
const left = new WeakSet(); // the logs that somebody has scrolled up in

function isAtEnd(log) {
  return log.scrollHeight - log.scrollTop - log.clientHeight <= NEAR_PX;
}

function follow() {
  for (const log of document.querySelectorAll("#logs .log")) {
    if (!left.has(log)) log.scrollTop = log.scrollHeight;
  }
}

document.addEventListener(
  "scroll",
  (event) => {
    if (!event.target.classList?.contains("log")) return;
    if (isAtEnd(event.target)) left.delete(event.target);
    else left.add(event.target);
  },
  true,
);
document.addEventListener("painted", follow);
follow();
