// Markdown as elements. The common part of it: what is not understood stays as it was typed.

import { element } from "./dom.js";
import { formula } from "./math.js";

const MOST_CHARS = 200_000; // of a text; past it, and past the next in one paragraph, it stays as it was typed
const MOST_SPAN_CHARS = 5_000;

const BLOCKS = [
  { begins: /^(?:```|~~~)/, make: fence },
  { begins: /^\$\$/, make: displayed },
  { begins: /^#{1,6}\s/, make: heading },
  { begins: /^(?:-{3,}|\*{3,}|_{3,})\s*$/, make: (lines) => (lines.shift(), element("hr")) },
  { begins: /^>/, make: quote },
  { begins: /^\s*(?:[-*+]|\d+[.)])\s/, make: list },
  { begins: /^\|.*\|\s*$/, make: table },
];

// Longer marks go before shorter ones. Each has the text in its first group, a link its address in the second.
/** @type {[RegExp, (text: string, address?: string) => HTMLElement][]} */
const SPANS = [
  [/`([^`\n]+)`/, (text) => element("code", {}, text)],
  [/\$\$([^$]+)\$\$/, (text) => formula(text, true)],
  [/\$([^$\s](?:[^$\n]*[^$\s])?)\$/, (text) => formula(text, false)],
  [/!\[([^\]]*)\]\([^)\s]*\)/, (text) => element("em", {}, `[image: ${text}]`)],
  [/\[([^\]]+)\]\((https?:\/\/[^)\s]+)\)/, (text, address) => link(text, address)],
  [/<(https?:\/\/[^>\s]+)>/, (text) => link(text, text)],
  [/\*\*([^*\n]+)\*\*/, (text) => element("strong", {}, ...spans(text))],
  [/__([^_\n]+)__/, (text) => element("strong", {}, ...spans(text))],
  [/\*([^*\s][^*\n]*)\*/, (text) => element("em", {}, ...spans(text))],
  [/(?<!\w)_([^_\n]+)_(?!\w)/, (text) => element("em", {}, ...spans(text))],
];

/** @param {string} source */
export function markdown(source) {
  if (source.length > MOST_CHARS) return element("div.markdown", {}, element("pre", {}, source));
  return element("div.markdown", {}, ...blocks(source.split("\n")));
}

/** @param {string[]} lines taken from its beginning */
function blocks(lines) {
  const made = [];
  while (lines.length) {
    const block = BLOCKS.find(({ begins }) => begins.test(lines[0]));
    if (block) made.push(block.make(lines));
    else if (lines[0].trim()) made.push(paragraph(lines));
    else lines.shift();
  }
  return made;
}

function paragraph(lines) {
  const taken = [lines.shift()];
  while (lines.length && lines[0].trim() && !BLOCKS.some(({ begins }) => begins.test(lines[0]))) taken.push(lines.shift());
  return element("p", {}, ...spans(taken.join("\n")));
}

function fence(lines) {
  const mark = lines.shift().slice(0, 3);
  const taken = [];
  while (lines.length && !lines[0].startsWith(mark)) taken.push(lines.shift());
  lines.shift();
  return element("pre", {}, element("code", {}, taken.join("\n")));
}

function displayed(lines) {
  const taken = [lines.shift().slice(2)];
  while (!/\$\$\s*$/.test(taken.at(-1)) && lines.length) taken.push(lines.shift());
  return element("div.latex", {}, formula(taken.join("\n").replace(/\$\$\s*$/, ""), true));
}

function heading(lines) {
  const line = lines.shift();
  const level = line.search(/[^#]/);
  return element(`h${level}`, {}, ...spans(line.slice(level).trim()));
}

function quote(lines) {
  const taken = [];
  while (lines.length && lines[0].startsWith(">")) taken.push(lines.shift().replace(/^>\s?/, ""));
  return element("blockquote", {}, ...blocks(taken));
}

function list(lines) {
  const [mark] = lines[0].match(/^\s*(?:[-*+]|\d+[.)])\s/);
  const made = element(/\d/.test(mark) ? "ol" : "ul");
  const indent = mark.search(/\S/);
  while (lines.length) {
    const item = lines[0].match(/^(\s*)(?:[-*+]|\d+[.)])\s+(.*)$/);
    if (!item || item[1].length < indent) break;
    lines.shift();
    const inner = [];
    while (lines.length && lines[0].trim() && lines[0].search(/\S/) > indent) inner.push(lines.shift().slice(indent + 2));
    made.append(element("li", {}, ...spans(item[2]), ...blocks(inner)));
  }
  return made;
}

function table(lines) {
  const rows = [];
  while (lines.length && /^\|.*\|\s*$/.test(lines[0])) rows.push(lines.shift().trim().slice(1, -1).split("|"));
  const hasHead = rows.length > 1 && rows[1].every((cell) => /^\s*:?-+:?\s*$/.test(cell));
  const made = element("table");
  rows.forEach((row, n) => {
    if (hasHead && n === 1) return;
    const kind = hasHead && n === 0 ? "th" : "td";
    made.append(element("tr", {}, ...row.map((cell) => element(kind, {}, ...spans(cell.trim())))));
  });
  return made;
}

/** @param {string} text */
function spans(text) {
  if (text.length > MOST_SPAN_CHARS) return [text];
  for (const [pattern, make] of SPANS) {
    const found = pattern.exec(text);
    if (!found) continue;
    const [before, after] = [text.slice(0, found.index), text.slice(found.index + found[0].length)];
    return [...spans(before), make(found[1], found[2]), ...spans(after)];
  }
  return text ? [text] : [];
}

function link(text, href) {
  return element("a", { href, target: "_blank", rel: "noopener noreferrer" }, text);
}
