// The notebook: its cells in their order, which of them is chosen, and what waits to be run.

import { Cell } from "./cell.js";
import { newCell } from "./ipynb.js";
import { IN_A_CELL, commandOf, keyOf } from "./keys.js";
import { Refused, ServerGone } from "./session.js";
import { SERVER_GONE, ending } from "./words.js";

/** @typedef {import("./ipynb.js").CellData} CellData */

export class Notebook extends EventTarget {
  /** @type {Cell[]} */ cells = [];
  /** @type {Record<string, any>} */ metadata = {};
  /** @type {Cell | null} */ current = null;
  /** @type {number | null} seconds */ limit = null;
  /** @type {Cell[]} */ #waiting = [];
  #isWorking = false;
  #runs = { session: /** @type {string | null} */ (null), count: 0 };
  /** @type {{data: CellData, at: number}[]} */ #removed = [];
  #before = ""; // the key that was pressed before

  /**
   * @param {HTMLElement} place
   * @param {import("./session.js").Session} session
   * @param {import("./notices.js").Notices} notices
   */
  constructor(place, session, notices) {
    super();
    this.place = place;
    this.session = session;
    this.notices = notices;
    session.addEventListener("lost", () => this.#growStale());
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** Whether something runs or waits. */
  get isWorking() {
    return this.#isWorking;
  }

  /**
   * Put these cells in the place of all.
   *
   * @param {CellData[]} cells
   * @param {Record<string, any>} metadata
   */
  replace(cells, metadata) {
    this.cells = [];
    this.place.replaceChildren();
    this.metadata = metadata;
    this.#removed = [];
    this.#runs = { session: null, count: 0 };
    for (const data of cells.length ? cells : [newCell()]) this.#put(data, this.cells.length);
    for (const cell of this.cells) if (cell.kind === "markdown") cell.render();
    this.#go(0, false);
  }

  /**
   * Show what the cells had given.
   *
   * @param {CellData[]} cells
   */
  showOutputs(cells) {
    const outputs = new Map(cells.map((data) => [data.id, data.outputs]));
    for (const cell of this.cells) cell.outputs.replace(outputs.get(cell.id) ?? []);
  }

  get data() {
    return this.cells.map((cell) => cell.data);
  }

  /** @param {Cell} cell */
  choose(cell) {
    if (cell === this.current && cell.element.classList.contains("chosen")) return;
    for (const other of this.cells) other.element.classList.toggle("chosen", other === cell);
    this.current = cell;
  }

  /**
   * Do what a key or a button says.
   *
   * @param {string} name
   * @param {Cell} [cell]
   * @returns {boolean} whether it was for us
   */
  act(name, cell = this.current) {
    const at = this.cells.indexOf(cell);
    const acts = {
      run: () => this.run(cell),
      runAndNext: () => this.#runAndGo(cell, at),
      runAndInsert: () => (this.run(cell), this.#insert(at + 1)),
      runAll: () => this.runAll(),
      edit: () => cell.edit(),
      leave: () => this.#leave(cell),
      previous: () => this.#go(at - 1, false),
      next: () => this.#go(at + 1, false),
      previousFromTop: () => this.#onEdge(cell, "top") && this.#go(at - 1, true, "bottom"),
      nextFromBottom: () => this.#onEdge(cell, "bottom") && this.#go(at + 1, true, "top"),
      insert: () => this.#insert(at + 1),
      insertText: () => this.#insert(at + 1, "markdown"),
      insertAbove: () => this.#insert(at),
      remove: () => this.#remove(cell, at),
      restore: () => this.#restore(),
      up: () => this.#move(cell, at, at - 1),
      down: () => this.#move(cell, at, at + 1),
      toText: () => this.#convert(cell, at, "markdown"),
      toCode: () => this.#convert(cell, at, "code"),
      interrupt: () => this.interrupt(),
      restart: () => this.restart(),
      help: () => this.dispatchEvent(new Event("help")),
    };
    return acts[name]() !== false;
  }

  /** @param {Cell} cell */
  run(cell) {
    if (cell.kind === "markdown") cell.render();
    if (cell.kind !== "code" || cell.state || !cell.source.trim()) return;
    cell.state = "queued";
    this.#waiting.push(cell);
    if (!this.#isWorking) this.#work();
  }

  /** Run all cells from the top, up to the first that fails. */
  runAll() {
    for (const cell of this.cells) this.run(cell);
  }

  async interrupt() {
    this.#forgetWaiting();
    try {
      await this.session.interrupt();
      this.notices.tell("Interrupted");
    } catch (error) {
      this.notices.say("server", error.message);
    }
  }

  async restart() {
    this.#forgetWaiting();
    this.#growStale();
    this.notices.drop("lost");
    await this.session.close();
    this.notices.tell("Restarted: the next cell runs in a new session");
  }

  async #work() {
    this.#isWorking = true;
    this.#tellWork();
    for (let cell = this.#waiting.shift(); cell; cell = this.#waiting.shift()) {
      const mayGoOn = await this.#execute(cell).finally(() => (cell.state = ""));
      if (!mayGoOn) this.#forgetWaiting();
      this.dispatchEvent(new Event("output"));
    }
    this.#isWorking = false;
    this.#tellWork();
  }

  /** @param {Cell} cell */
  async #execute(cell) {
    cell.begin();
    const request = { code: cell.source, stdin: cell.stdin, timeout: this.limit };
    try {
      const answer = await this.session.execute(request, (name, data) => cell.report(name, data));
      this.#count(cell, answer);
      const mayGoOn = cell.finish(answer, ending(answer));
      this.#tellEnd(cell, answer, mayGoOn);
      return mayGoOn;
    } catch (error) {
      this.#notAnswered(cell, error);
      return false;
    }
  }

  /** @param {Cell} cell */
  #count(cell, { id, error }) {
    if (error === "session not found" || error === "max sessions reached") return;
    if (id !== this.#runs.session) this.#runs = { session: id, count: 0 };
    this.#runs.count += 1;
    cell.setCount(this.#runs.count);
    if (this.session.id !== id) cell.growStale();
  }

  /** @param {Cell} cell */
  #tellEnd(cell, answer, mayGoOn) {
    this.notices.tell(`${cell.name} ${mayGoOn ? `ended after ${answer.execution_time.toFixed(1)} s` : "failed"}`);
    if (answer.state === "kept" || answer.error === "max sessions reached") return;
    const words = `The session was lost when ${cell.name} ran: ${[answer.error, answer.detail].filter(Boolean).join(", ")}.`;
    this.notices.say("lost", `${words} Its variables are gone; the cells are still here.`, { "Run all cells": () => this.runAll() });
  }

  /**
   * @param {Cell} cell
   * @param {Error} error
   */
  #notAnswered(cell, error) {
    if (error instanceof Refused) cell.fail("not run", error.message);
    else if (error instanceof ServerGone) cell.fail("connection lost", SERVER_GONE);
    else cell.fail("a fault of this page", String(error));
    this.notices.tell(`${cell.name} failed`);
  }

  #forgetWaiting() {
    for (const cell of this.#waiting) cell.state = "";
    this.#waiting = [];
  }

  #growStale() {
    for (const cell of this.cells) cell.growStale();
  }

  #tellWork() {
    this.dispatchEvent(new Event("work"));
  }

  /** @param {Cell} cell */
  #runAndGo(cell, at) {
    this.run(cell);
    if (at + 1 === this.cells.length) this.#insert(at + 1);
    else this.#go(at + 1, false);
  }

  /** @param {Cell} cell */
  #leave(cell) {
    if (cell.kind === "markdown") cell.render();
    cell.element.focus();
  }

  /**
   * @param {boolean} inText put the cursor into its text, at its `edge`
   */
  #go(at, inText, edge = "top") {
    const cell = this.cells[at];
    if (!cell) return false;
    this.choose(cell);
    cell.element.scrollIntoView({ block: "nearest" });
    if (!inText || !cell.rendered.hidden) {
      cell.element.focus();
    } else {
      cell.edit();
      cell.editor.dispatch({ selection: { anchor: edge === "top" ? 0 : cell.source.length } });
    }
    return true;
  }

  /** @param {Cell} cell */
  #onEdge(cell, edge) {
    const { doc, selection } = cell.editor.state;
    const line = doc.lineAt(selection.main.head).number;
    return selection.main.empty && line === (edge === "top" ? 1 : doc.lines);
  }

  #insert(at, kind = "code") {
    const cell = this.#put(newCell("", /** @type {CellData["kind"]} */ (kind)), at);
    this.choose(cell);
    cell.edit();
    this.#changed();
  }

  /** @param {CellData} data */
  #put(data, at) {
    const cell = new Cell(data, {
      act: (name, of) => this.act(name, of),
      keys: (of) => IN_A_CELL.map(([key, command]) => ({ key, run: () => this.act(command, of) })),
      ask: (what, text, cursor) => this.session.ask(what, text, cursor),
      changed: () => (this.session.noteActivity(), this.#changed()),
      chosen: (of) => this.choose(of),
    });
    this.place.insertBefore(cell.element, this.cells[at]?.element ?? null);
    this.cells.splice(at, 0, cell);
    this.#number();
    return cell;
  }

  /** @param {Cell} cell */
  #remove(cell, at) {
    if (cell.state) {
      this.notices.say("busy", `${cell.name} runs: interrupt it before you delete it.`);
      return;
    }
    this.#removed.push({ data: cell.data, at });
    this.#drop(cell, at);
    if (!this.cells.length) this.#put(newCell(), 0);
    this.#go(Math.min(at, this.cells.length - 1), false);
    this.notices.say("removed", `A cell was deleted.`, { Undo: () => this.#restore() });
    this.#changed();
  }

  #restore() {
    const last = this.#removed.pop();
    if (!last) return;
    const cell = this.#put(last.data, Math.min(last.at, this.cells.length));
    cell.outputs.replace(last.data.outputs);
    if (cell.kind === "markdown") cell.render();
    this.#go(this.cells.indexOf(cell), false);
    this.notices.drop("removed");
    this.#changed();
  }

  /** @param {Cell} cell */
  #drop(cell, at) {
    this.cells.splice(at, 1);
    cell.element.remove();
    cell.editor.destroy();
    this.#number();
  }

  /** @param {Cell} cell */
  #move(cell, from, to) {
    if (!this.cells[to]) return;
    const focused = document.activeElement;
    this.cells.splice(from, 1);
    this.cells.splice(to, 0, cell);
    const [moved, place] = to < from ? [cell, this.cells[to + 1].element] : [this.cells[from], cell.element];
    this.place.insertBefore(moved.element, place); // the other cell where possible: a frame that moves loads again
    this.#number();
    if (focused instanceof HTMLElement) focused.focus();
    cell.element.scrollIntoView({ block: "nearest" });
    this.#changed();
  }

  /** @param {Cell} cell */
  #convert(cell, at, kind) {
    if (cell.kind === kind || cell.state) return;
    const data = { ...cell.data, kind, outputs: [], count: null };
    this.#drop(cell, at);
    const made = this.#put(data, at);
    if (kind === "markdown") made.render();
    this.#go(at, false);
    this.#changed();
  }

  #number() {
    this.cells.forEach((cell, at) => cell.place(at + 1));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** A key that was pressed on a cell, and not in a text. */
  #onKey(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const isText = target.closest(".cm-editor, input, textarea, select, dialog");
    const isPressed = target.closest("button, a") && ["Enter", " "].includes(event.key) && !event.shiftKey;
    if (event.defaultPrevented || isText || isPressed || !(target === document.body || target.closest("main"))) return;
    const command = commandOf(event, this.#before);
    this.#before = command ? "" : keyOf(event);
    if (command === null || this.current === null) return;
    event.preventDefault();
    this.act(command);
  }
}
