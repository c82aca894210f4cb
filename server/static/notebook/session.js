// The session that the notebook runs in, by the server's HTTP interface. All addresses are relative: a proxy may add a
// prefix. It tells of changes by events: `change`, and `lost` with the reason as its `detail`.

import { events } from "./events.js";
import { lostBecause } from "./words.js";

/** The server refused a request, or can not be reached. Its message is a sentence for the user. */
export class Refused extends Error {}

/** The connection ended before the answer did. */
export class ServerGone extends Error {}

const POLL_MS = 2000;

export class Session extends EventTarget {
  /** @type {string | null} */ id = null;
  /** @type {{state: string, idle: number, memory: number, at: number} | null} */ figures = null;
  /** @type {Record<string, number>} */ limits = {};
  reachable = true;
  running = false;
  #activity = false; // the user typed since the session was last used
  #polling = 0;

  /** @param {import("./door.js").Door} door */
  constructor(door) {
    super();
    this.door = door;
  }

  /** @param {string | null} id */
  adopt(id) {
    if (id === this.id) return;
    this.id = id;
    this.figures = null;
    this.#changed();
    if (id && !this.running) this.look(); // when it has run, it is looked at
  }

  /** Look at the session now and then, while the page is seen. */
  watch() {
    const again = () => {
      clearTimeout(this.#polling);
      this.#polling = setTimeout(async () => {
        if (!document.hidden) await this.look();
        again();
      }, POLL_MS);
    };
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    this.look().then(again);
  }

  /** Ask for its figures. */
  async look() {
    const id = this.id;
    try {
      if (id === null || !("idle_timeout_seconds" in this.limits)) {
        const health = await (await fetch("./")).json();
        this.limits = health.limits ?? {};
      }
      if (id !== null) await this.#lookAt(id);
      this.reachable = true;
    } catch {
      this.reachable = false;
    }
    this.#changed();
  }

  /** @param {string} id */
  async #lookAt(id) {
    const answer = await this.door.fetch(`sessions/${id}`);
    if (id !== this.id) return; // meanwhile it is another one
    if (answer.status === 404) {
      this.#lose(lostBecause((await answer.json()).error));
    } else if (answer.ok) {
      const { state, idle, memory } = await answer.json();
      this.figures = { state, idle, memory, at: performance.now() };
      const left = this.secondsLeft();
      if (this.#activity && left !== null && left < this.limits.idle_timeout_seconds / 3) this.#use();
    }
  }

  /** Seconds until the server closes it for being idle; null when that is not known or not so. */
  secondsLeft() {
    if (this.running || this.figures?.state !== "idle" || !this.limits.idle_timeout_seconds) return null;
    const idle = this.figures.idle + (performance.now() - this.figures.at) / 1000;
    return Math.max(0, this.limits.idle_timeout_seconds - idle);
  }

  /** The user typed. One who writes a long cell does not lose the variables meanwhile. */
  noteActivity() {
    this.#activity = true;
  }

  #use() {
    this.#activity = false;
    const body = JSON.stringify({ code: "pass", id: this.id });
    this.door.fetch("execute", { method: "POST", headers: { "Content-Type": "application/json" }, body }).catch(() => {});
  }

  /**
   * Run code. Returns the answer of the server; what comes before it goes to `report`.
   * Throws Refused or ServerGone.
   *
   * @param {{code: string, stdin: string | null, timeout: number | null}} request
   * @param {(name: string, data: any) => void} report
   */
  async execute(request, report) {
    this.running = true;
    this.#activity = false;
    this.#changed();
    try {
      const answer = await this.#stream({ ...request, id: this.id }, report);
      if (answer.state === "lost" && answer.id !== null && answer.id === this.id) this.#lose(null);
      return answer;
    } finally {
      this.running = false;
      this.look();
    }
  }

  /** @returns {Promise<any>} */
  async #stream(request, report) {
    const answer = await this.#post("execute", request, { Accept: "text/event-stream" }, { insists: true });
    if (!answer.ok) throw new Refused(await sentence(answer));
    let whole = null;
    try {
      for await (const { name, data } of events(answer.body)) {
        if (name === "done") whole = data; // and read on to the end, so that the connection can be used again
        else if (name === "session") this.adopt(data.id);
        else if (name === "error") throw new Refused(data.error);
        else report(name, data);
      }
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof Refused) throw error; // not the connection's fault
    }
    if (whole === null) throw new ServerGone();
    return whole;
  }

  /** Interrupt what runs in it, whoever asked for that. */
  async interrupt() {
    if (this.id === null) return;
    await this.#post(`sessions/${this.id}/interrupt`, null);
  }

  /** Close it. The next execution opens a new one. */
  async close() {
    const id = this.id;
    this.adopt(null);
    if (id === null) return;
    try {
      await this.door.fetch(`sessions/${id}`, { method: "DELETE" });
    } catch {
      this.reachable = false; // then it is closed when it was idle for long enough
    }
  }

  /**
   * @param {"complete" | "inspect"} what
   * @param {string} text
   * @param {number} cursor in characters
   * @returns {Promise<any>} null when the session can not tell now
   */
  async ask(what, text, cursor) {
    if (this.id === null || this.running) return null;
    try {
      const answer = await this.#post(`sessions/${this.id}/${what}`, { text, cursor });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /** @param {string} path */
  async #post(path, body, headers = {}, how = { insists: false }) {
    const json = { "Content-Type": "application/json" };
    const init = {
      method: "POST",
      headers: body === null ? headers : { ...json, ...headers },
      body: body === null ? null : JSON.stringify(body),
    };
    try {
      return await this.door.fetch(path, init, how);
    } catch {
      this.reachable = false;
      this.#changed();
      throw new Refused("The server does not answer. Is it running?");
    }
  }

  /** @param {string | null} reason null when the answer of an execution has told it */
  #lose(reason) {
    this.adopt(null);
    this.dispatchEvent(new CustomEvent("lost", { detail: reason }));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {Response} answer */
async function sentence(answer) {
  try {
    const { error } = await answer.json();
    return answer.status === 429 || answer.status === 503 ? `${error}. Run the cell again in a moment.` : `${error}.`;
  } catch {
    return `The server answered with status ${answer.status}.`;
  }
}
