// A terminal's text in an element: colours and styles of ANSI escape sequences, lines that are written over.

const TOKENS =
  /\x1b\[([0-9;:?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]|\r\n|[\n\r\b]|[\0-\x07\x0b-\x0c\x0e-\x1f\x7f]/g;
const UNFINISHED = /(?:\x1b(?:\[[0-9;:?]*[ -/]*|\][^\x07\x1b]{0,4096}\x1b?)?|\r)$/; // at the end of a piece: the rest may follow
const MOST_SPANS = 20_000; // past it the text goes on without colours
const MOST_REWRITABLE = 4096; // characters of a line that may still be written over

/** @typedef {{fg: string, bg: string, flags: string}} Style colours: "", a number of the 16, or a CSS colour */

/** @type {Style} */
const PLAIN = { fg: "", bg: "", flags: "" };
const FLAGS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const FLAGS_OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };

export class Terminal {
  #element;
  #style = PLAIN;
  #rest = ""; // an escape sequence whose end has not come yet
  #overwrite = false;
  #spans = 0;
  /** @type {[Style, string][]} */ #line = []; // the last line, which may still change
  /** @type {ChildNode[]} */ #lineNodes = [];

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
  }

  /** @param {string} text */
  write(text) {
    text = this.#rest + text;
    this.#rest = UNFINISHED.exec(text)?.[0] ?? "";
    text = text.slice(0, text.length - this.#rest.length);
    /** @type {[Style, string][][]} */
    const done = [];
    let from = 0;
    for (const token of text.matchAll(TOKENS)) {
      this.#put(text.slice(from, token.index));
      from = token.index + token[0].length;
      if (token[0] === "\n" || token[0] === "\r\n") this.#endLine(done);
      else if (token[0] === "\r") this.#overwrite = true;
      else if (token[0] === "\b") this.#stepBack();
      else if (token[2] === "m") this.#style = styled(this.#style, token[1]);
    }
    this.#put(text.slice(from));
    if (this.#line.reduce((length, [, part]) => length + part.length, 0) > MOST_REWRITABLE) {
      done.push(this.#line);
      this.#line = [];
    }
    for (const node of this.#lineNodes) node.remove();
    this.#append(done.flat());
    this.#lineNodes = this.#append(this.#line);
  }

  /** @param {string} text */
  #put(text) {
    if (!text) return;
    if (this.#overwrite) this.#line = [];
    this.#overwrite = false;
    this.#line.push([this.#style, text]);
  }

  /** @param {[Style, string][][]} done */
  #endLine(done) {
    done.push(this.#line, [[PLAIN, "\n"]]);
    this.#line = [];
    this.#overwrite = false;
  }

  #stepBack() {
    const last = this.#line.at(-1);
    if (!last) return;
    last[1] = last[1].slice(0, -1);
    if (!last[1]) this.#line.pop();
  }

  /** @param {[Style, string][]} parts */
  #append(parts) {
    const nodes = [];
    let i = 0;
    while (i < parts.length) {
      const style = this.#spans < MOST_SPANS ? parts[i][0] : null; // null: any
      const first = i;
      while (i < parts.length && (style === null || parts[i][0] === style || parts[i][1] === "\n")) i++;
      const text = parts.slice(first, i).map((part) => part[1]).join("");
      nodes.push(style === null || style === PLAIN ? document.createTextNode(text) : this.#span(style, text));
    }
    for (const node of nodes) this.#element.append(node);
    return nodes;
  }

  /**
   * @param {Style} style
   * @param {string} text
   */
  #span({ fg, bg, flags }, text) {
    this.#spans += 1;
    const span = document.createElement("span");
    span.textContent = text;
    span.className = flags;
    if (/^\d+$/.test(fg)) span.classList.add(`fg${fg}`);
    else span.style.color = fg;
    if (/^\d+$/.test(bg)) span.classList.add(`bg${bg}`);
    else span.style.backgroundColor = bg;
    return span;
  }
}

/**
 * The style after a sequence that sets it.
 *
 * @param {Style} before
 * @param {string} parameters
 * @returns {Style}
 */
function styled(before, parameters) {
  let { fg, bg } = before;
  const flags = new Set(before.flags.split(" ").filter(Boolean));
  const codes = parameters.split(/[;:]/).map(Number);
  while (codes.length) {
    const code = codes.shift();
    if (code === 0) [fg, bg] = ["", ""], flags.clear();
    else if (code in FLAGS) flags.add(FLAGS[code]);
    else if (code in FLAGS_OFF) for (const flag of FLAGS_OFF[code]) flags.delete(flag);
    else if (code >= 30 && code <= 37) fg = `${code - 30}`;
    else if (code >= 90 && code <= 97) fg = `${code - 82}`;
    else if (code >= 40 && code <= 47) bg = `${code - 40}`;
    else if (code >= 100 && code <= 107) bg = `${code - 92}`;
    else if (code === 39) fg = "";
    else if (code === 49) bg = "";
    else if (code === 38) fg = extended(codes);
    else if (code === 48) bg = extended(codes);
  }
  const words = [...flags].join(" ");
  return fg || bg || words ? { fg, bg, flags: words } : PLAIN;
}

/** @param {number[]} codes that follow 38 or 48; those that belong to the colour are taken */
function extended(codes) {
  const kind = codes.shift();
  if (kind === 2) {
    const [r, g, b] = codes.splice(0, 3).map((part) => part & 255);
    return `rgb(${r ?? 0} ${g ?? 0} ${b ?? 0})`;
  }
  const n = (kind === 5 && codes.shift()) || 0;
  if (n < 16) return `${n}`;
  if (n >= 232) return `rgb(${[0, 0, 0].map(() => 8 + (n - 232) * 10).join(" ")})`;
  const level = (/** @type {number} */ step) => (step ? 55 + step * 40 : 0);
  return `rgb(${[Math.floor((n - 16) / 36), Math.floor((n - 16) / 6) % 6, (n - 16) % 6].map(level).join(" ")})`;
}
