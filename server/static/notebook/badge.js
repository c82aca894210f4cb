// The state of the session in the bar: what it does, what it holds, when it will be closed.

import { element } from "./dom.js";

const STATE_WORDS = { idle: "idle", busy: "running", starting: "starting", closing: "closing", dead: "closed" };

export class Badge {
  /**
   * @param {HTMLElement} place
   * @param {import("./session.js").Session} session
   */
  constructor(place, session) {
    this.session = session;
    this.place = place;
    this.state = element("span.state");
    this.meter = element("meter", { min: 0, "aria-label": "Memory of the session" });
    this.memory = element("span.memory");
    this.left = element("span.left");
    place.append(this.state, this.meter, this.memory, this.left);
    session.addEventListener("change", () => this.show());
    setInterval(() => this.show(), 1000); // the seconds to its closing
    this.show();
  }

  show() {
    const { figures, limits } = this.session;
    const kind = this.#kind();
    this.place.dataset.state = kind;
    this.state.textContent = { unreachable: "server does not answer", none: "no session yet" }[kind] ?? STATE_WORDS[kind] ?? kind;
    const isOpen = figures !== null && kind !== "unreachable";
    const most = limits.memory_limit_mb;
    this.memory.textContent = isOpen ? `${figures.memory.toFixed(1)}${most ? ` of ${most}` : ""} MiB` : "";
    this.meter.hidden = !isOpen || !most;
    if (!this.meter.hidden) Object.assign(this.meter, { max: most, high: most * 0.8, value: Math.min(most, figures.memory) });
    const seconds = isOpen ? this.session.secondsLeft() : null;
    this.left.textContent = seconds === null ? "" : `closes in ${inWords(seconds)}`;
    this.left.classList.toggle("soon", seconds !== null && seconds < 15);
  }

  #kind() {
    const { reachable, running, id, figures } = this.session;
    if (!reachable) return "unreachable";
    if (running) return "busy";
    return id === null ? "none" : (figures?.state ?? "starting");
  }
}

/** @param {number} seconds */
function inWords(seconds) {
  return seconds < 100 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
