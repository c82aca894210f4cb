// HTML that a cell made, in a frame that can neither run scripts nor reach the page, nor the network.
//
// Three walls, each enough by itself: the sandbox attribute with nothing allowed, a policy in the frame, and the page's
// own policy, which the frame inherits. That last one admits styles only by the page's nonce, so they get it here.

import { element } from "./dom.js";

const NONCE = document.body.dataset.styleNonce;
const POLICY = `default-src 'none'; img-src data:; font-src data:; style-src 'nonce-${NONCE}'`;
const STYLE = `
  :root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif; }
  body { margin: 4px 2px; overflow-wrap: break-word; }
  table { border: 0; border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
  th, td { padding: 3px 10px; text-align: right; border: 0; }
  thead th { border-bottom: 1px solid GrayText; }
  tbody tr:nth-child(even) { background: color-mix(in srgb, CanvasText 5%, Canvas); }
  img { max-width: 100%; }`;
const HEAD = `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${POLICY}"><style nonce="${NONCE}">${STYLE}</style>`;
const NEVER = "script, meta, base, link, iframe, frame, object, embed, template, noscript, audio, video";
const TAG = /<[a-z](?:[^"'<>]|"[^"<>]*"|'[^'<>]*')*>/gi;
const REFUSED = /("[^"]*"|'[^']*')|(\s)(style|on[a-z]+)(?=[\s=])/gi;
const MOST_CHARS = 4_000_000;
const MOST_UNCLOSED = 20_000; // tags: the browser's time grows with the square of them
const MOST_STYLES = 1000;

/** The one place where text becomes markup. @type {{createHTML(text: string): any}} */
const markup = globalThis.trustedTypes?.createPolicy("html-output", { createHTML: (text) => text }) ?? {
  createHTML: (/** @type {string} */ text) => text,
};

/**
 * A frame with the HTML. Null when nothing of it can be seen, for example because it is made by scripts.
 *
 * @param {string} html
 * @param {string} title for those who do not see it
 * @returns {HTMLElement | null}
 */
export function frame(html, title) {
  if (html.length > MOST_CHARS) return tooLong(html);
  if (unclosed(html) > MOST_UNCLOSED) return element("p.remark", {}, "This HTML is nested too deeply to be shown here. An export has it.");
  const template = document.createElement("template"); // what is in it is inert
  template.innerHTML = markup.createHTML(quieted(html));
  const { content } = template;
  for (const gone of content.querySelectorAll(NEVER)) gone.remove();
  if (!content.textContent.trim() && !content.querySelector("img, svg, hr, input, [data-style]")) return null;
  for (const link of content.querySelectorAll("[href]")) withoutAddress(link);
  content.append(element("style", {}, rulesOfAttributes(content)));
  for (const style of content.querySelectorAll("style")) style.setAttribute("nonce", NONCE);
  const made = element("iframe", { sandbox: "", title, loading: "lazy", referrerpolicy: "no-referrer" });
  made.style.height = `${estimatedHeight(content)}px`;
  made.srcdoc = markup.createHTML(`${HEAD}${template.innerHTML}`);
  return made;
}

/**
 * The attributes that the policy refuses under other names, for the browser complains of each when it reads them. This
 * is for a quiet console; what slips through is refused.
 *
 * @param {string} html
 */
function quieted(html) {
  return html.replace(TAG, (tag) =>
    tag.replace(REFUSED, (_, quoted, space, name) => quoted ?? `${space}data-${name.toLowerCase()}`),
  );
}

/** How many tags are not closed, about. @param {string} html */
function unclosed(html) {
  return (html.match(/<[a-z]/gi)?.length ?? 0) - (html.match(/<\//g)?.length ?? 0);
}

/** @param {string} html */
function tooLong(html) {
  const size = (html.length / 1e6).toFixed(1);
  return element("p.remark", {}, `This HTML has ${size} million characters: too much to be shown here. An export has it.`);
}

/** @param {Element} link a click on it would lead the frame away, to a page that is refused */
function withoutAddress(link) {
  const address = link.getAttribute("href");
  if (address.startsWith("#")) return;
  link.removeAttribute("href");
  link.setAttribute("title", address);
}

/**
 * What the style attributes say as rules of a style sheet, for the policy admits no attributes.
 *
 * @param {DocumentFragment} content
 */
function rulesOfAttributes(content) {
  /** @type {Map<string, number>} */
  const numbers = new Map();
  for (const styled of content.querySelectorAll("[data-style]")) {
    const text = styled.getAttribute("data-style");
    styled.removeAttribute("data-style");
    if (!numbers.has(text) && numbers.size >= MOST_STYLES) continue;
    if (!numbers.has(text)) numbers.set(text, numbers.size);
    styled.setAttribute("data-styled", `${numbers.get(text)}`);
  }
  // Twice the attribute, so that it outweighs a class.
  return [...numbers].map(([text, n]) => `[data-styled][data-styled="${n}"] { ${text} }`).join("\n");
}

/**
 * Nobody outside of the frame can measure what is in it.
 *
 * @param {DocumentFragment} content
 */
function estimatedHeight(content) {
  const rows = content.querySelectorAll("tr").length;
  const inTables = [...content.querySelectorAll("table")].reduce((sum, table) => sum + table.textContent.length, 0);
  const lines = Math.max(0, content.textContent.trim().length - inTables) / 90;
  const blocks = content.querySelectorAll("p, li, br, h1, h2, h3, h4, pre").length;
  const images = content.querySelectorAll("img, svg, canvas").length;
  return Math.round(Math.min(440, Math.max(44, 24 + rows * 25 + Math.max(lines, blocks) * 26 + images * 200)));
}
