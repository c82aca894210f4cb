// The notebook file format, nbformat 4.5: reading what others wrote, and writing.

/** @typedef {import("./outputs.js").Output} Output */
/**
 * A cell. `rest`: what its file has besides, kept as it is.
 * @typedef {{id: string, kind: "code" | "markdown" | "raw", source: string, outputs: Output[], count: number | null,
 *   metadata: Record<string, any>, rest: Record<string, any>}} CellData
 */
/** @typedef {{cells: CellData[], metadata: Record<string, any>}} Document */

/** The text is no notebook. Its message is a sentence. */
export class NoNotebook extends Error {}

const KINDS = ["code", "markdown", "raw"];
const ID = /^[a-zA-Z0-9_-]{1,64}$/;
const METADATA = {
  kernelspec: { name: "python3", display_name: "Python 3", language: "python" },
  language_info: { name: "python", file_extension: ".py", mimetype: "text/x-python" },
};

export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string} [source]
 * @param {CellData["kind"]} [kind]
 * @returns {CellData}
 */
export function newCell(source = "", kind = "code") {
  return { id: newId(), kind, source, outputs: [], count: null, metadata: {}, rest: {} };
}

/**
 * Read a file. `remarks`: sentences on what is not as it was in there. Throws NoNotebook.
 *
 * @param {string} text
 * @returns {Document & {remarks: string[]}}
 */
export function read(text) {
  const file = parsed(text);
  if (!isObject(file)) throw new NoNotebook("It is JSON, but no notebook.");
  if (file.nbformat !== undefined && file.nbformat !== 4) {
    throw new NoNotebook(`It is a notebook of format ${JSON.stringify(file.nbformat)}; this page reads format 4. Jupyter can convert it.`);
  }
  if (!Array.isArray(file.cells)) throw new NoNotebook("It is JSON, but no notebook: it has no list of cells.");
  const remarks = [];
  const known = file.cells.filter(isObject);
  const skipped = file.cells.length - known.length;
  if (skipped) remarks.push(`${counted(skipped, "entry", "entries")} of its list of cells ${skipped === 1 ? "is no cell and was" : "are no cells and were"} left out.`);
  const strange = known.filter((cell) => !KINDS.includes(cell.cell_type));
  if (strange.length) {
    const types = [...new Set(strange.map((cell) => `“${String(cell.cell_type).slice(0, 40)}”`))].slice(0, 5).join(", ");
    remarks.push(`${counted(strange.length, "cell has", "cells have")} a type that this page does not know (${types}); the text is here as a raw cell.`);
  }
  const ids = new Set();
  const cells = known.map((cell) => readCell(cell, ids));
  return { cells, metadata: isObject(file.metadata) ? file.metadata : {}, remarks };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ""));
  } catch (error) {
    const place = /position (\d+)/.exec(error.message);
    const line = place ? ` (line ${text.slice(0, Number(place[1])).split("\n").length})` : "";
    throw new NoNotebook(`It is not JSON${line}, and a notebook is.`);
  }
}

/**
 * @param {Record<string, any>} cell
 * @param {Set<string>} ids that are taken
 * @returns {CellData}
 */
function readCell(cell, ids) {
  const { cell_type, id, source, outputs, execution_count, metadata, ...rest } = cell;
  const kind = KINDS.includes(cell_type) ? cell_type : "raw";
  const own = typeof id === "string" && ID.test(id) && !ids.has(id) ? id : newId();
  ids.add(own);
  return {
    id: own,
    kind,
    source: joined(source),
    outputs: kind === "code" && Array.isArray(outputs) ? outputs.map(readOutput).filter((output) => output !== null) : [],
    count: Number.isInteger(execution_count) ? execution_count : null,
    metadata: isObject(metadata) ? metadata : {},
    rest,
  };
}

/** @returns {Output | null} */
function readOutput(output) {
  if (!isObject(output)) return null;
  const { output_type } = output;
  if (output_type === "stream") {
    return { output_type, name: output.name === "stderr" ? "stderr" : "stdout", text: joined(output.text) };
  }
  if (output_type === "error") {
    const traceback = Array.isArray(output.traceback) ? output.traceback.map(String) : [];
    return { output_type, ename: String(output.ename), evalue: String(output.evalue), traceback };
  }
  if ((output_type === "display_data" || output_type === "execute_result") && isObject(output.data)) {
    const data = Object.fromEntries(Object.entries(output.data).map(([type, value]) => [type, readValue(type, value)]));
    const made = { output_type, data, metadata: isObject(output.metadata) ? output.metadata : {} };
    return output_type === "execute_result" ? { ...made, execution_count: output.execution_count ?? null } : made;
  }
  return null;
}

function readValue(type, value) {
  return type.endsWith("json") ? value : joined(value);
}

/**
 * The text of a file.
 *
 * @param {Document} document
 */
export function write({ cells, metadata }) {
  const file = {
    cells: cells.map(writeCell),
    metadata: { ...METADATA, ...metadata },
    nbformat: 4,
    nbformat_minor: 5,
  };
  return `${JSON.stringify(file, null, 1)}\n`;
}

/** @param {CellData} cell */
function writeCell({ id, kind, source, outputs, count, metadata, rest }) {
  const common = { ...rest, cell_type: kind, id, metadata, source: lines(source) };
  return kind === "code" ? { ...common, execution_count: count, outputs: outputs.map(writeOutput) } : common;
}

/** @param {Output} output */
function writeOutput(output) {
  if (output.output_type === "stream") return { ...output, text: lines(output.text) };
  if (output.output_type === "display_data") return { metadata: {}, ...output };
  if (output.output_type === "execute_result") return { metadata: {}, execution_count: null, ...output };
  return output;
}

/** @param {string} text */
function lines(text) {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** @returns {string} */
function joined(value) {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.filter((part) => typeof part === "string").join("") : "";
}

/** @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function counted(n, one, more) {
  return `${n} ${n === 1 ? one : more}`;
}
