// Selecting nodes on the fleet page: how many are selected, all of the page at once, and that "all that match"
// makes single ones of no account. Without this the form works all the same.

const form = document.getElementById("selection");
const body = document.getElementById("nodes");
const line = document.getElementById("selected");
const corner = document.querySelector("thead .pick");

const wholePage = document.createElement("input");
wholePage.type = "checkbox";
wholePage.setAttribute("aria-label", "Select every node of this page");
corner.append(wholePage);

function boxes() {
  return [...body.querySelectorAll('input[name="node"]')];
}

function count() {
  const all = form.elements.all.checked;
  const every = boxes();
  const picked = every.filter((box) => box.checked).length;
  for (const box of every) box.disabled = all;
  wholePage.disabled = all || every.length === 0;
  wholePage.checked = every.length > 0 && picked === every.length;
  wholePage.indeterminate = picked > 0 && picked < every.length;
  const none = picked === 0 && !all;
  let text = "Select nodes in the table, or";
  if (all) text = "Selected:";
  else if (picked > 0) text = `${picked} selected, or`;
  if (line.textContent !== text) line.textContent = text;
  form.querySelector("button").disabled = none;
  form.classList.toggle("active", !none);
}

wholePage.addEventListener("change", () => {
  for (const box of boxes()) box.checked = wholePage.checked;
  count();
});
document.addEventListener("change", (event) => {
  if (event.target.name === "node" || event.target.name === "all") count();
});
document.addEventListener("painted", count);
addEventListener("pageshow", count);
count();
