// LaTeX as MathML, which browsers show by themselves.

import { element } from "./dom.js";

const MOST_CHARS = 20_000;
const BOUNDS = { trust: false, maxExpand: 1000, maxSize: 20, strict: "ignore", throwOnError: true, output: "mathml" };

/**
 * An element that shows the formula, or its source if it is not understood.
 *
 * @param {string} source without its dollars
 * @param {boolean} display on a line of its own
 */
export function formula(source, display) {
  const shown = element("span.formula", {}, source);
  if (source.length <= MOST_CHARS) typeset(source, display, shown);
  return shown;
}

/** @param {HTMLElement} shown */
async function typeset(source, display, shown) {
  const { render } = await import("./katex/katex.js"); // only notebooks with formulas load it
  const made = document.createElement("span");
  try {
    render(source, made, { ...BOUNDS, displayMode: display });
  } catch {
    return; // the source stays
  }
  for (const styled of made.querySelectorAll("[style]")) styled.removeAttribute("style");
  shown.replaceChildren(...made.childNodes);
}

/**
 * What `_repr_latex_` gives: one formula between dollars or the like, or an environment.
 *
 * @param {string} text
 */
export function latex(text) {
  const trimmed = text.trim();
  const [, inner] = trimmed.match(/^(?:\$\$([^]*)\$\$|\$([^$]*)\$|\\\[([^]*)\\\]|\\\(([^]*)\\\))$/)?.filter((x) => x !== undefined) ?? [];
  return element("div.latex", {}, formula(inner ?? trimmed, /^\$\$|^\\\[|\\begin|\\displaystyle/.test(trimmed)));
}
