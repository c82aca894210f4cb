// Images that a cell made. SVG is one of them: as an image it has neither scripts nor the network.

import { element } from "./dom.js";

const MOST_PIXELS = 50_000_000; // a small file may hold more than the browser's memory
const MOST_SVG_CHARS = 2_000_000;

/** Types that are shown, and whether their data is base64. */
export const IMAGES = { "image/svg+xml": false, "image/png": true, "image/jpeg": true, "image/gif": true };

/**
 * @param {string} type
 * @param {string} data
 * @param {string} alt
 */
export function image(type, data, alt) {
  if (!IMAGES[type]) {
    if (data.length > MOST_SVG_CHARS) return remark("This SVG is too long to be shown here.");
    return shown(`data:image/svg+xml;charset=utf-8,${encodeURIComponent(data.toWellFormed?.() ?? data)}`, alt);
  }
  const base64 = data.replace(/\s/g, "");
  const size = dimensions(type, base64);
  if (size === null) return remark(`This is no ${type} that can be shown.`);
  const [width, height] = size;
  if (width * height > MOST_PIXELS) return remark(`An image of ${width} × ${height} pixels is too large to be shown here.`);
  return shown(`data:${type};base64,${base64}`, alt, width, height);
}

function shown(src, alt, width = null, height = null) {
  return element("img", { src, alt, width, height, decoding: "async" });
}

/** @param {string} text */
function remark(text) {
  return element("p.remark", {}, `${text} An export has it.`);
}

/**
 * Width and height as the head of the file tells them; null when it has none.
 *
 * @param {string} type
 * @param {string} base64
 * @returns {[number, number] | null}
 */
function dimensions(type, base64) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(base64.slice(0, 400_000 * 4)), (char) => char.charCodeAt(0));
  } catch {
    return null; // it is no base64
  }
  const view = new DataView(bytes.buffer);
  try {
    if (type === "image/png") return [view.getUint32(16), view.getUint32(20)];
    if (type === "image/gif") return [view.getUint16(6, true), view.getUint16(8, true)];
    return jpegDimensions(view);
  } catch {
    return null; // it ends too early
  }
}

/** @param {DataView} view */
function jpegDimensions(view) {
  let at = 2;
  for (;;) {
    if (view.getUint8(at) !== 0xff) return null;
    const marker = view.getUint8(at + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return /** @type {[number, number]} */ ([view.getUint16(at + 7), view.getUint16(at + 5)]);
    at += 2 + view.getUint16(at + 2);
  }
}
