// One cell: its editor, its outputs, its buttons.

import { element } from "./dom.js";
import { editor, settle } from "./editor.js";
import { markdown } from "./markdown.js";
import { Outputs } from "./outputs.js";
import { raised } from "./words.js";

/** @typedef {import("./ipynb.js").CellData} CellData */

const KIND_WORDS = { code: "Python", markdown: "text", raw: "raw text" };
const READS_INPUT = /\binput\s*\(|\bstdin\b/;
const BUTTONS = [
  ["run", "▶", "Run"],
  ["up", "↑", "Move up"],
  ["down", "↓", "Move down"],
  ["insert", "+", "Add a cell below"],
  ["remove", "×", "Delete"],
];

/** As in Jupyter: a semicolon at the end means that the value is not wanted. @param {string} source */
function endsQuietly(source) {
  const last = source.trimEnd().split("\n").at(-1);
  return last.replace(/\s*#.*$/, "").endsWith(";");
}

export class Cell {
  /** @type {"" | "queued" | "running"} */ #state = "";
  #number = 0;

  /**
   * @param {CellData} data
   * @param {{act: (name: string, cell: Cell) => void, keys: (cell: Cell) => any[], ask: any, changed: () => void,
   *   chosen: (cell: Cell) => void}} notebook
   */
  constructor(data, notebook) {
    this.id = data.id;
    this.kind = data.kind;
    this.source = data.source;
    this.count = data.count;
    this.metadata = data.metadata;
    this.rest = data.rest;
    this.outputs = new Outputs(() => this.name);
    this.isStale = data.count !== null; // what it gave is of a session that may be no more
    this.#build(notebook);
  }

  #build(notebook) {
    this.editor = editor({
      source: this.source,
      isPython: this.kind === "code",
      label: `${KIND_WORDS[this.kind]} of the cell`,
      keys: notebook.keys(this),
      ask: notebook.ask,
      onChange: (source) => {
        this.source = source;
        this.#showInput();
        notebook.changed();
      },
      onFocus: () => notebook.chosen(this),
    });
    this.countLabel = element("span.count");
    this.buttons = Object.fromEntries(
      BUTTONS.map(([name, sign, words]) => {
        const onclick = () => notebook.act(name, this);
        return [name, element(`button.${name}`, { type: "button", "data-words": words, onclick }, sign)];
      }),
    );
    this.input = element("textarea", { rows: 1, spellcheck: "false", oninput: () => this.#setInput(notebook) });
    this.input.value = this.metadata.pyrunner?.stdin ?? "";
    this.inputLabel = element("label.input", {}, "What input() reads, a line each", this.input);
    this.rendered = element("div.rendered", { hidden: true, ondblclick: () => notebook.act("edit", this) });
    this.element = element(
      `section.cell.${this.kind}`,
      { tabindex: 0, role: "group", onfocusin: () => notebook.chosen(this) },
      element("div.gutter", {}, this.buttons.run, this.countLabel),
      element("div.body", {}, this.editor.dom, this.inputLabel, this.rendered, this.outputs.element),
      element("div.tools", {}, this.buttons.up, this.buttons.down, this.buttons.insert, this.buttons.remove),
    );
    this.#showInput();
    this.#showCount();
  }

  get name() {
    return `cell ${this.#number}`;
  }

  get state() {
    return this.#state;
  }

  set state(state) {
    this.#state = state;
    this.element.classList.toggle("running", state === "running");
    this.element.setAttribute("aria-busy", String(state !== ""));
    this.#showCount();
  }

  get stdin() {
    return READS_INPUT.test(this.source) && this.input.value ? `${this.input.value}\n` : null;
  }

  /** @returns {CellData} */
  get data() {
    const { id, kind, source, count, metadata, rest } = this;
    return { id, kind, source, count, metadata, rest, outputs: this.outputs.list };
  }

  /** @param {number} number its place, from 1 */
  place(number) {
    if (number === this.#number) return;
    this.#number = number;
    this.element.setAttribute("aria-label", `Cell ${number}, ${KIND_WORDS[this.kind]}`);
    for (const button of Object.values(this.buttons)) {
      const words = `${button.dataset.words} cell ${number}`;
      button.setAttribute("aria-label", words);
      button.title = words;
    }
  }

  /** It is about to run: what an earlier run gave goes. */
  begin() {
    settle(this.editor);
    this.outputs.clear();
    this.state = "running";
  }

  /** @param {number | null} count */
  setCount(count) {
    this.count = count;
    this.isStale = false;
    this.#showCount();
  }

  /** The session in which it ran is no more. */
  growStale() {
    this.isStale = this.count !== null;
    this.#showCount();
  }

  /** Take over what comes while it runs. */
  report(name, data) {
    if (name === "stdout" || name === "stderr") this.outputs.print(name, data.text);
    else if (name === "display") this.outputs.add({ output_type: "display_data", data, metadata: {} });
  }

  /**
   * The answer has it all; what came before it stays in the order in which it came, unless something is missing.
   *
   * @param {any} answer
   * @param {string | null} words why the server ended it
   * @returns {boolean} whether the cells after it may run
   */
  finish(answer, words) {
    const printed = answer.partial ?? answer;
    if (!this.#hasAll(printed, answer.outputs)) {
      this.outputs.clear();
      if (printed.stdout) this.outputs.print("stdout", printed.stdout);
      if (printed.stderr) this.outputs.print("stderr", printed.stderr);
      for (const data of answer.outputs) this.report("display", data);
    }
    this.#result(answer);
    if (answer.truncated) this.fail("output cut", "Output past the server's limit was dropped.");
    if (words !== null) this.fail(answer.error, words);
    return answer.error === null && !raised(answer.stderr);
  }

  #hasAll(printed, displays) {
    const { list } = this.outputs;
    const text = (name) => list.filter((output) => output.name === name).map((output) => output.text).join("");
    const shown = list.filter((output) => output.output_type === "display_data").length;
    return text("stdout") === (printed.stdout ?? "") && text("stderr") === (printed.stderr ?? "") && shown === displays.length;
  }

  /** The value of the last line. In a rich form it was shown already, as the last of the displays. */
  #result({ result, outputs }) {
    const last = outputs.at(-1) ?? {};
    const isShown = Object.keys(last).length > 1 && last["text/plain"] === result;
    if (result === null || isShown || endsQuietly(this.source)) return;
    const data = { "text/plain": result };
    this.outputs.add({ output_type: "execute_result", data, metadata: {}, execution_count: this.count });
  }

  /**
   * Something that is not as it should be.
   *
   * @param {string} title
   * @param {string} words
   */
  fail(title, words) {
    this.outputs.add({ output_type: "error", ename: title, evalue: words, traceback: [] });
  }

  /** Show its text instead of its source. */
  render() {
    this.rendered.replaceChildren(...markdown(this.source).childNodes);
    const isEmpty = !this.source.trim();
    this.rendered.hidden = isEmpty;
    this.editor.dom.hidden = !isEmpty;
  }

  /** Show its source, and put the cursor there. */
  edit() {
    this.rendered.hidden = true;
    this.editor.dom.hidden = false;
    this.editor.focus();
  }

  #setInput(notebook) {
    this.metadata = { ...this.metadata, pyrunner: { ...this.metadata.pyrunner, stdin: this.input.value } };
    this.input.rows = Math.min(8, this.input.value.split("\n").length);
    notebook.changed();
  }

  #showInput() {
    this.inputLabel.hidden = this.kind !== "code" || !READS_INPUT.test(this.source);
  }

  #showCount() {
    const mark = this.#state ? "*" : (this.count ?? " ");
    this.countLabel.textContent = this.kind === "code" ? `[${mark}]` : "";
    this.countLabel.classList.toggle("stale", this.isStale);
    this.countLabel.title = this.isStale ? "It ran in an earlier session" : "";
  }
}
