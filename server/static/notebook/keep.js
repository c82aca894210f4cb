// Notebooks kept in the browser, so that nothing typed is lost. Each has two records: the text, which is small and saved
// soon after each change, and the outputs, which may be too large to be kept.
//
// A notebook belongs to one tab. A tab that opens one which another tab has gets a copy under a key of its own.

import { newId } from "./ipynb.js";

const PREFIX = "pyrunner.notebook.";
const OUTPUTS = ".outputs";
const OF_THIS_TAB = "pyrunner.key";
const SHOWING = "pyrunner.showing"; // the notebook whose outputs are being shown: left behind if the tab dies of that

/** @typedef {import("./ipynb.js").CellData} CellData */
/** @typedef {{name: string, changed: number, session: string | null, limit: number | null, cells: CellData[],
 *   metadata: Record<string, any>}} Kept */

/** A storage that forgets, for browsers that are told to keep nothing. */
class Forgetful {
  getItem(name) {
    return this[name] ?? null;
  }
  setItem(name, text) {
    this[name] = text;
  }
  removeItem(name) {
    delete this[name];
  }
}

/** @param {"localStorage" | "sessionStorage"} name @returns {any} */
export function storage(name) {
  try {
    globalThis[name].getItem("");
    return globalThis[name];
  } catch {
    return new Forgetful();
  }
}

const local = storage("localStorage");
const session = storage("sessionStorage");

export class Keep extends EventTarget {
  #tab = { id: newId(), since: Date.now() };
  #channel = new BroadcastChannel("pyrunner.notebook");
  /** @type {string} */ key = newId();

  constructor() {
    super();
    this.#channel.onmessage = ({ data }) => this.#hear(data);
  }

  /** Whether the browser keeps anything. */
  get isLasting() {
    return !(local instanceof Forgetful);
  }

  /** The notebook that this tab had, or else the one that was changed last. Null when there is none. */
  open() {
    const [own, last] = [session.getItem(OF_THIS_TAB), this.list()[0]?.key];
    for (const key of [own, last]) {
      const kept = key ? this.load(key) : null;
      if (kept) return kept;
    }
    this.begin();
    return null;
  }

  /**
   * This tab goes on with the notebook of that key.
   *
   * @param {string} key
   * @returns {Kept | null}
   */
  load(key) {
    const kept = parsed(local.getItem(PREFIX + key));
    if (kept === null) return null;
    this.#take(key);
    const outputs = parsed(local.getItem(PREFIX + key + OUTPUTS)) ?? {};
    const cells = kept.cells.map((cell) => ({ ...cell, outputs: outputs[cell.id] ?? [] }));
    return { ...kept, cells };
  }

  /** This tab goes on with a notebook that is not kept yet. */
  begin() {
    this.#take(newId());
  }

  /** @param {Kept} kept its outputs are not looked at. Throws when the browser has no room. */
  saveText(kept) {
    const cells = kept.cells.map((cell) => ({ ...cell, outputs: [] }));
    this.#put(PREFIX + this.key, JSON.stringify({ ...kept, cells, changed: Date.now() }));
  }

  /** @param {CellData[]} cells Throws when the browser has no room. */
  saveOutputs(cells) {
    const outputs = cells.filter((cell) => cell.outputs.length).map((cell) => [cell.id, cell.outputs]);
    try {
      this.#put(PREFIX + this.key + OUTPUTS, JSON.stringify(Object.fromEntries(outputs)));
    } catch (error) {
      local.removeItem(PREFIX + this.key + OUTPUTS); // those of before would not fit the text
      throw error;
    }
  }

  /** Those that are kept, the one that was changed last first. */
  list() {
    return Object.keys(local)
      .filter((name) => name.startsWith(PREFIX) && !name.endsWith(OUTPUTS))
      .map((name) => ({ key: name.slice(PREFIX.length), kept: parsed(local.getItem(name)) }))
      .filter(({ kept }) => kept !== null)
      .sort((a, b) => b.kept.changed - a.kept.changed);
  }

  /** @param {string} key */
  remove(key) {
    local.removeItem(PREFIX + key);
    local.removeItem(PREFIX + key + OUTPUTS);
  }

  /** Whether the tab died when it showed the outputs of this notebook the last time. */
  diedOfOutputs() {
    return local.getItem(SHOWING) === this.key;
  }

  /** @param {() => void} show shows outputs that were kept */
  show(show) {
    const shown = () => local.removeItem(SHOWING);
    try {
      local.setItem(SHOWING, this.key);
    } catch {
      shown(); // no room, not even for this: then nothing is noted
    }
    addEventListener("pagehide", shown, { once: true });
    show();
    requestAnimationFrame(() => setTimeout(shown, 1000));
  }

  /** Make room at the cost of other notebooks' outputs; never of a text. */
  #put(name, text) {
    try {
      local.setItem(name, text);
    } catch {
      for (const { key } of this.list()) if (key !== this.key) local.removeItem(PREFIX + key + OUTPUTS);
      local.setItem(name, text);
    }
  }

  /** @param {string} key */
  #take(key) {
    this.key = key;
    session.setItem(OF_THIS_TAB, key);
    this.#channel.postMessage({ key, ...this.#tab, asks: true });
  }

  /** Another tab has a notebook. If it is the one of this tab, the younger tab takes a copy. */
  #hear({ key, id, since, asks }) {
    if (key !== this.key || id === this.#tab.id) return;
    const isOlder = since < this.#tab.since || (since === this.#tab.since && id < this.#tab.id);
    if (isOlder) {
      this.begin();
      this.dispatchEvent(new Event("copied"));
    } else if (asks) {
      this.#channel.postMessage({ key, ...this.#tab, asks: false });
    }
  }
}

/** @param {string | null} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // nothing of ours
  }
}
