// What a cell has given: the list of its outputs as nbformat has them, and the elements that show them.

import { Terminal } from "./ansi.js";
import { element } from "./dom.js";
import { frame } from "./frame.js";
import { IMAGES, image } from "./images.js";
import { markdown } from "./markdown.js";
import { latex } from "./math.js";

/** The richest first: of a bundle the first that can be shown is shown. */
const PREFERRED = ["text/html", ...Object.keys(IMAGES), "text/latex", "text/markdown", "text/plain", "application/json"];
const MOST_SHOWN = 100; // displays of one cell; the list has them all
const MOST_JSON_CHARS = 100_000;

/** @typedef {{output_type: string, [key: string]: any}} Output */

export class Outputs {
  /** @type {Output[]} */ list = [];
  element = element("div.outputs");
  #shown = 0;
  #left = element("p.remark", {}, "");
  /** @type {{name: string, terminal: Terminal, output: Output, news: string} | null} */ #stream = null;
  #due = false;

  /** @param {() => string} label names the cell for those who do not see it */
  constructor(label) {
    this.label = label;
  }

  clear() {
    this.list = [];
    this.element.replaceChildren();
    this.#shown = 0;
    this.#stream = null;
  }

  /** @param {Output[]} outputs */
  replace(outputs) {
    this.clear();
    for (const output of outputs) this.add(output);
  }

  /** @param {Output} output */
  add(output) {
    if (output.output_type === "stream") {
      this.print(output.name, output.text);
      return;
    }
    this.#flush();
    this.#stream = null;
    this.list.push(output);
    if (output.output_type === "error") this.element.append(this.#error(output));
    else this.#display(output);
  }

  /**
   * Text as it comes: it goes to the page with the next picture that the browser paints.
   *
   * @param {string} name `stdout` or `stderr`
   * @param {string} text
   */
  print(name, text) {
    if (this.#stream?.name !== name) this.#begin(name);
    this.#stream.output.text += text;
    this.#stream.news += text;
    if (this.#due) return;
    this.#due = true;
    setTimeout(() => this.#flush(), 16);
  }

  /** @param {string} name */
  #begin(name) {
    this.#flush();
    const output = { output_type: "stream", name, text: "" };
    this.list.push(output);
    const pre = element(`pre.stream.${name}`);
    this.element.append(pre);
    this.#stream = { name, terminal: new Terminal(pre), output, news: "" };
  }

  #flush() {
    this.#due = false;
    if (!this.#stream?.news) return;
    const pre = this.element.lastElementChild;
    const followed = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 8;
    this.#stream.terminal.write(this.#stream.news);
    this.#stream.news = "";
    if (followed) pre.scrollTop = pre.scrollHeight;
  }

  /** @param {Output} output */
  #display(output) {
    this.#shown += 1;
    if (this.#shown > MOST_SHOWN) {
      const more = this.#shown - MOST_SHOWN;
      this.#left.textContent = `${more} more ${more === 1 ? "output is" : "outputs are"} not shown here. An export has them.`;
      this.element.append(this.#left);
      return;
    }
    const made = element("div.display", {}, this.#bundle(output.data));
    if (output.output_type === "execute_result") made.classList.add("result");
    this.element.append(made);
  }

  /** @param {Record<string, any>} data */
  #bundle(data) {
    for (const type of PREFERRED) {
      const made = type in data ? this.#one(type, data[type], data) : null;
      if (made) return made;
    }
    const types = Object.keys(data).join(", ") || "nothing";
    return element("p.remark", {}, `An output that this page can not show (${types}). An export has it.`);
  }

  /** @returns {HTMLElement | null} */
  #one(type, value, data) {
    if (type === "application/json") return text(JSON.stringify(value, null, 2).slice(0, MOST_JSON_CHARS));
    if (typeof value !== "string") return null;
    if (type === "text/html") return frame(value, `HTML output of ${this.label()}`);
    if (type in IMAGES) return image(type, value, data["text/plain"] || `Image of ${this.label()}`);
    if (type === "text/latex") return latex(value);
    if (type === "text/markdown") return markdown(value);
    return text(value);
  }

  /** @param {Output} output of a Python error in an imported notebook the traceback, else what the server tells */
  #error({ ename, evalue, traceback }) {
    if (!traceback.length) {
      return element("div.ending", { "data-error": ename }, element("strong", {}, ename), element("p", {}, evalue));
    }
    const pre = element("pre.stream.stderr");
    new Terminal(pre).write(`${traceback.join("\n")}\n`);
    return pre;
  }
}

/** @param {string} value */
function text(value) {
  const pre = element("pre.text");
  new Terminal(pre).write(value);
  return pre;
}
