// What the user should know: notices above the cells, and words for those who listen to the page.

import { element } from "./dom.js";

export class Notices {
  /** @type {Map<string, HTMLElement>} */ #shown = new Map();

  /**
   * @param {HTMLElement} place
   * @param {HTMLElement} spoken
   */
  constructor(place, spoken) {
    this.place = place;
    this.spoken = spoken;
  }

  /**
   * @param {string} subject a notice on it replaces the one before
   * @param {string} words
   * @param {Record<string, () => void>} [actions]
   */
  say(subject, words, actions = {}) {
    this.drop(subject);
    const drop = () => this.drop(subject);
    const buttons = Object.entries(actions).map(([name, act]) =>
      element("button", { type: "button", onclick: () => (drop(), act()) }, name),
    );
    const close = element("button.close", { type: "button", "aria-label": "Dismiss", title: "Dismiss", onclick: drop }, "×");
    const notice = element(`div.notice`, { role: "alert", "data-subject": subject }, element("p", {}, words), ...buttons, close);
    this.#shown.set(subject, notice);
    this.place.append(notice);
  }

  /** @param {string} subject */
  drop(subject) {
    this.#shown.get(subject)?.remove();
    this.#shown.delete(subject);
  }

  /** @param {string} words for a screen reader only: they can be seen elsewhere */
  tell(words) {
    this.spoken.textContent = words;
  }
}
