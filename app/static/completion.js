// What could stand at a place in a pipeline's YAML. Nothing here touches the page.

const TABLE = /^(sources|transforms|sinks):/;
const MOST = 50;

/**
 * The completions at a place (both from 0), as {list, from, to} in characters of its line; null where there are none.
 * `names` has sources, transforms and sinks (types), secrets and certificates; any may be missing.
 */
export function hints(lines, line, ch, names) {
  const before = lines[line].slice(0, ch);
  const reference = /(SECRET|CERT)\[([\w-]*)$/.exec(before);
  if (reference) {
    const own = (reference[1] === "SECRET" ? names.secrets : names.certificates) ?? [];
    const closes = lines[line][ch] === "]" ? 1 : 0;
    const list = matching(own, reference[2]).map((name) => ({ text: `${name}]`, displayText: name }));
    return answer(list, ch - reference[2].length, ch + closes);
  }
  const type = /^\s+type:\s*(\w*)$/.exec(before);
  if (type) {
    const table = tableOf(lines, line);
    return table && answer(matching(names[table] ?? [], type[1]), ch - type[1].length, ch);
  }
  const input = inputAt(lines, line, before);
  if (input !== null) {
    const { outputs, own } = components(lines, line);
    return answer(matching(outputs.filter((name) => name !== own), input), ch - input.length, ch);
  }
  const value = /:\s+["']?([A-Z]{2,6})$/.exec(before);
  return value && answer(["SECRET[", "CERT["].filter((name) => name.startsWith(value[1])), ch - value[1].length, ch);
}

function answer(list, from, to) {
  return list.length ? { list: list.slice(0, MOST), from, to } : null;
}

/** None where a whole name has been typed: Enter must break the line then, and not put another name in its place. */
function matching(names, start) {
  if (names.includes(start)) return [];
  const found = names.filter((name) => name.startsWith(start));
  const others = names.filter((name) => start !== "" && !name.startsWith(start) && name.includes(start));
  return [...found, ...others];
}

function tableOf(lines, line) {
  for (let index = line; index >= 0; index -= 1) {
    const match = TABLE.exec(lines[index]);
    if (match) return match[1];
    if (/^\w/.test(lines[index])) return null;
  }
  return null;
}

/** What has been typed of an input, in a list of one line or of many; null elsewhere. */
function inputAt(lines, line, before) {
  const flow = /\binputs:\s*\[(?:[^\]]*,)?\s*["']?([\w-]*)$/.exec(before);
  if (flow) return flow[1];
  const block = /^(\s*)-\s*["']?([\w-]*)$/.exec(before);
  if (!block) return null;
  for (let index = line - 1; index >= 0; index -= 1) {
    if (/^\s+inputs:\s*$/.test(lines[index])) return block[2];
    if (!/^\s*(-|#|$)/.test(lines[index])) return null;
  }
  return null;
}

/** The names of sources and transforms, and of the component in which a line stands. */
function components(lines, line) {
  const outputs = [];
  let table = null;
  let indent = null;
  let own = null;
  lines.forEach((text, index) => {
    const match = TABLE.exec(text);
    if (match || /^\w/.test(text)) {
      table = match ? match[1] : null;
      indent = null;
      return;
    }
    const key = /^(\s+)["']?([^\s"':#][^"':]*)["']?:/.exec(text);
    if (table === null || key === null) return;
    indent ??= key[1].length;
    if (key[1].length !== indent) return;
    if (table !== "sinks") outputs.push(key[2]);
    if (index <= line) own = key[2];
  });
  return { outputs, own };
}
