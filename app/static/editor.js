// The editor of a pipeline's YAML: colours, checks while somebody types, completion. CodeMirror is a plain script
// that was loaded before; without it, or without JavaScript, the textarea works as it is.

import { hints } from "./completion.js";

const CHECK_MS = 500;
const RETRY_MS = 2000;
const GUTTER = "problems";

const area = document.getElementById("config_yaml");
const help = document.getElementById("editor-help");
const verdict = document.getElementById("editor-verdict");
const state = document.getElementById("editor-state");
const list = document.getElementById("editor-problems");
const environments = document.getElementById("environment_id");
const label = document.querySelector(`label[for="${area.id}"]`);

const editor = CodeMirror.fromTextArea(area, {
  mode: "yaml",
  lineNumbers: true,
  gutters: [GUTTER, "CodeMirror-linenumbers"],
  indentUnit: 2,
  tabSize: 2,
  readOnly: area.readOnly,
  // What is typed into lies inside of what scrolls, so that keys reach both.
  inputStyle: "contenteditable",
  screenReaderLabel: label.textContent,
  // Tab moves on, as everywhere: nobody is caught in here.
  extraKeys: { Tab: false, "Shift-Tab": false, "Ctrl-Space": complete, Enter: breakLine },
});
editor.addOverlay({
  token(stream) {
    if (stream.match(/(SECRET|CERT)\[[A-Za-z0-9_-]*\]?/)) return "reference";
    while (stream.next() !== undefined && !stream.match(/(SECRET|CERT)\[/, false));
    return null;
  },
});

/** A new line as deep as the one before, or deeper where that one opens something. */
function breakLine() {
  const { line, ch } = editor.getCursor("from");
  const before = editor.getLine(line).slice(0, ch);
  const indent = /^\s*/.exec(before)[0] + (/:\s*$/.test(before) ? "  " : "");
  editor.replaceSelection(`\n${indent}`, "end", "+input");
}

label.addEventListener("click", () => editor.focus());
editor.on("change", () => editor.save());
const field = editor.getInputField();
field.setAttribute("role", "textbox");
field.setAttribute("aria-multiline", "true");
if (area.readOnly) field.setAttribute("aria-readonly", "true");
if (help !== null) {
  help.hidden = false;
  field.setAttribute("aria-describedby", "editor-keys editor-state");
}

// ---- checking ----

let timer = null;
let asked = null;

function checkSoon(wait) {
  clearTimeout(timer);
  timer = setTimeout(check, wait);
}

async function check() {
  asked?.abort();
  const asking = (asked = new AbortController());
  const body = new FormData();
  body.set("csrf_token", area.form.elements.csrf_token.value);
  body.set("environment_id", environmentId());
  body.set("config_yaml", editor.getValue());
  try {
    const signal = AbortSignal.any([asking.signal, AbortSignal.timeout(10000)]);
    const response = await fetch(help.dataset.check, { method: "POST", body, signal });
    const answer = await response.json();
    if (asking.signal.aborted) return;
    if (response.status === 429) checkSoon(RETRY_MS);
    else if (!response.ok) tell("busy", `Not checked. ${answer.error ?? ""}`, []);
    else show(answer);
  } catch {
    if (!asking.signal.aborted) tell("busy", "Not checked: the server does not answer. It is checked again when you type.", []);
  }
}

function show({ problems, graph }) {
  const count = `${problems.length} ${problems.length === 1 ? "problem" : "problems"}: a deploy would be refused.`;
  if (problems.length === 0) tell("good", "● Nothing wrong: this can be deployed.", []);
  else tell("bad", `✕ ${count}`, problems);
  const picture = document.getElementById("editor-graph");
  if (picture.innerHTML !== graph) picture.innerHTML = graph;
}

function tell(tone, text, problems) {
  verdict.className = `notice ${tone}`;
  if (state.textContent !== text) state.textContent = text;
  list.replaceChildren(...problems.map(item));
  editor.clearGutter(GUTTER);
  for (const { line, message } of problems) {
    if (!line || line > editor.lineCount()) continue;
    const info = editor.lineInfo(line - 1).gutterMarkers?.[GUTTER];
    if (info) info.title += `\n${message}`;
    else editor.setGutterMarker(line - 1, GUTTER, mark(message));
  }
}

function mark(message) {
  const element = document.createElement("span");
  element.className = "editor-mark";
  element.textContent = "✕";
  element.title = message;
  return element;
}

function item({ message, component, line }) {
  const element = document.createElement("li");
  element.append(message, " ");
  if (line) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet where";
    button.textContent = component ? `${component}, line ${line}` : `line ${line}`;
    button.addEventListener("click", () => {
      editor.setCursor(line - 1, 0);
      editor.focus();
    });
    element.append(button);
  }
  return element;
}

function environmentId() {
  return help?.dataset.environment ?? environments?.value ?? "";
}

// ---- completing ----

const known = new Map();

/** The names of the environment, asked for once. */
function names() {
  const id = environmentId();
  if (!known.has(id)) {
    const asking = fetch(`${help.dataset.completions}?environment=${encodeURIComponent(id)}`, { signal: AbortSignal.timeout(10000) })
      .then((response) => (response.ok ? response.json() : Promise.reject(new Error(`status ${response.status}`))))
      .catch(() => {
        known.delete(id);
        return {};
      });
    known.set(id, asking);
  }
  return known.get(id);
}

function complete() {
  if (help === null || editor.isReadOnly()) return;
  editor.showHint({
    completeSingle: false,
    closeCharacters: /[\s\](){};:>,]/, // not "[", behind which names begin
    hint: async () => {
      const cursor = editor.getCursor();
      const found = hints(editor.getValue().split("\n"), cursor.line, cursor.ch, await names());
      return found && {
        list: found.list,
        from: CodeMirror.Pos(cursor.line, found.from),
        to: CodeMirror.Pos(cursor.line, found.to),
      };
    },
  });
}

if (help !== null) {
  editor.on("change", () => checkSoon(CHECK_MS));
  environments?.addEventListener("change", () => checkSoon(0));
  editor.on("inputRead", (_, { text }) => {
    if (/[\w[-]$/.test(text[0]) && !editor.state.completionActive) complete();
  });
  check();
}
