// Requests to the server, with the key that it may want. The key stays in this tab, and is in no address.

import { storage } from "./keep.js";

const OF_THIS_TAB = "pyrunner.api-key";
const POSSIBLE = /^[!-~]+$/; // what can stand in a header

const kept = storage("sessionStorage");

export class Door {
  /** @type {Promise<boolean> | null} */ #asking = null;
  #declined = false;

  /** @param {HTMLDialogElement} dialog with a form of one field, and a place for a sentence */
  constructor(dialog) {
    this.dialog = dialog;
    this.form = dialog.querySelector("form");
    this.field = dialog.querySelector("input");
    this.sentence = dialog.querySelector("p");
  }

  /**
   * As fetch. When the server wants a key, the user is asked for it, and the request sent again.
   *
   * @param {string} path
   * @param {RequestInit} init
   * @param {{insists: boolean}} how whether to ask a user again who did not want to give one
   */
  async fetch(path, init = {}, { insists } = { insists: false }) {
    if (insists) this.#declined = false;
    for (;;) {
      const key = kept.getItem(OF_THIS_TAB);
      const headers = key === null ? init.headers : { ...init.headers, Authorization: `Bearer ${key}` };
      const answer = await fetch(path, { ...init, headers });
      if (answer.status !== 401) return answer;
      const isOld = key !== kept.getItem(OF_THIS_TAB); // another request was quicker to learn it
      if (!isOld && !(await this.#ask(answer.clone()))) return answer;
    }
  }

  /** @param {Response} answer @returns {Promise<boolean>} whether there is a key to try now */
  async #ask(answer) {
    if (this.#declined) return false;
    this.#asking ??= this.#askFor(answer).finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** @param {Response} answer */
  async #askFor(answer) {
    const { error } = await answer.json();
    kept.removeItem(OF_THIS_TAB);
    this.sentence.textContent = `${error}.`;
    this.field.value = "";
    const key = await this.#answered();
    this.#declined = key === null;
    if (key !== null) kept.setItem(OF_THIS_TAB, key);
    return key !== null;
  }

  /** @returns {Promise<string | null>} */
  #answered() {
    return new Promise((resolve) => {
      let key = /** @type {string | null} */ (null);
      this.form.onsubmit = (event) => {
        event.preventDefault();
        const typed = this.field.value.trim();
        if (POSSIBLE.test(typed)) {
          key = typed;
          this.dialog.close();
        } else {
          this.sentence.textContent = "A key has letters, digits and signs, and no spaces.";
        }
      };
      this.dialog.onclose = () => {
        this.field.value = "";
        resolve(key);
      };
      this.dialog.showModal();
    });
  }
}
