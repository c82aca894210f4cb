// Files that the user gives to the page and takes from it.

const MOST_BYTES = 100_000_000;

/** The file can not be read. Its message is a sentence. */
export class Unreadable extends Error {}

/** @param {File} file */
export async function textOf(file) {
  if (file.size > MOST_BYTES) throw new Unreadable(`It has ${Math.round(file.size / 1e6)} MB: too much for this page.`);
  try {
    return await file.text();
  } catch {
    throw new Unreadable("The browser can not read it.");
  }
}

/**
 * @param {string} name
 * @param {string} text
 */
export function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/x-ipynb+json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** @param {string} name of a notebook */
export function fileName(name) {
  return `${name.replace(/[\\/:*?"<>|\0-\x1f]+/g, " ").replace(/ +/g, " ").trim() || "notebook"}.ipynb`;
}
