// The page: the bar's buttons, the notebook that is kept, files in and out.

import { Badge } from "./badge.js";
import { element } from "./dom.js";
import { Door } from "./door.js";
import { Unreadable, download, fileName, textOf } from "./files.js";
import { NoNotebook, newCell, read, write } from "./ipynb.js";
import { Keep } from "./keep.js";
import { IN_A_CELL, OF_THE_EDITOR, ON_A_CELL } from "./keys.js";
import { Notebook } from "./notebook.js";
import { Notices } from "./notices.js";
import { Session } from "./session.js";

const SAVE_MS = 200; // from a change to its saving; a page that is left saves at once
const UNNAMED = "Notebook";
const WELCOME = [
  newCell("# A notebook\n\nRun a cell with **Shift+Enter**. Press **Escape**, then **?**, for all keys.", "markdown"),
  newCell('print("Hello")\n6 * 7'),
];

const at = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

const keep = new Keep();
const session = new Session(new Door(at("door")));
const notices = new Notices(at("notices"), at("spoken"));
const notebook = new Notebook(at("cells"), session, notices);
new Badge(at("badge"), session);

const unsaved = { text: false, outputs: false };
const saved = { session: /** @type {string | null} */ (null) };
let saving = 0;

/** @param {"text" | "outputs"} what */
function saveSoon(what) {
  unsaved[what] = true;
  clearTimeout(saving);
  saving = setTimeout(save, SAVE_MS);
}

function save() {
  clearTimeout(saving);
  const cells = notebook.data;
  try {
    if (unsaved.text || unsaved.outputs) keep.saveText({ ...described(), cells });
    unsaved.text = false;
    saved.session = session.id;
    if (keep.isLasting) notices.drop("full");
  } catch {
    const words = "The browser has no room: what you type is not kept. Export the notebook, or delete kept ones.";
    notices.say("full", words, { Export: exportFile, "Kept notebooks": showKept });
    return;
  }
  try {
    if (unsaved.outputs) keep.saveOutputs(cells);
    notices.drop("outputs");
  } catch {
    notices.say("outputs", "The outputs are too large to be kept in this browser; the text is kept. An export has both.");
  }
  unsaved.outputs = false;
}

function described() {
  return { name: at("name").value, session: session.id, limit: notebook.limit, metadata: notebook.metadata, changed: 0 };
}

/**
 * @param {import("./keep.js").Kept} kept
 */
function show(kept) {
  at("name").value = kept.name;
  document.title = `${kept.name} – PyRunner`;
  notebook.limit = kept.limit;
  showLimit();
  notebook.replace(kept.cells, kept.metadata);
  const showOutputs = () => keep.show(() => notebook.showOutputs(kept.cells));
  if (!keep.diedOfOutputs()) showOutputs();
  else notices.say("died", "The page did not survive the outputs of this notebook the last time, so they are not shown.", { "Show them": showOutputs });
  saved.session = kept.session;
  session.adopt(kept.session);
}

/** @returns {boolean} whether the notebook may be left for another one */
function mayLeave() {
  if (notebook.isWorking) notices.say("busy", "A cell runs: interrupt it first.");
  else save();
  return !notebook.isWorking;
}

function begin(cells = [newCell()], name = UNNAMED, metadata = {}) {
  keep.begin();
  show({ name, cells, metadata, session: null, limit: notebook.limit, changed: 0 });
}

/** @param {File} file */
async function importFile(file) {
  if (!mayLeave()) return;
  try {
    const { cells, metadata, remarks } = read(await textOf(file));
    begin(cells, file.name.replace(/\.ipynb$/i, ""), metadata);
    saveSoon("outputs");
    const words = [`${file.name} is imported.`, ...remarks, "The notebook before it is kept."];
    notices.say("file", words.join(" "), { "Kept notebooks": showKept });
  } catch (error) {
    if (!(error instanceof NoNotebook || error instanceof Unreadable)) throw error;
    notices.say("file", `${file.name} was not imported. ${error.message} Nothing was changed.`);
  }
}

function exportFile() {
  const name = fileName(at("name").value);
  download(name, write({ cells: notebook.data, metadata: notebook.metadata }));
  notices.tell(`${name} is exported`);
}

function showKept() {
  save();
  const rows = keep.list().map(({ key, kept }) => keptRow(key, kept));
  at("kept-list").replaceChildren(...(rows.length ? rows : [element("li", {}, "None yet.")]));
  at("kept").showModal();
}

/** @param {import("./keep.js").Kept} kept */
function keptRow(key, kept) {
  const open = () => {
    at("kept").close();
    const loaded = mayLeave() && key !== keep.key ? keep.load(key) : null;
    if (loaded) show(loaded);
  };
  const remove = () => (keep.remove(key), row.remove());
  const words = `${kept.name}, ${kept.cells.length} cells, ${new Date(kept.changed).toLocaleString()}`;
  const row = element(
    "li",
    {},
    element("button.open", { type: "button", onclick: open }, words),
    key === keep.key ? "open here" : element("button", { type: "button", onclick: remove, "aria-label": `Delete ${words}` }, "Delete"),
  );
  return row;
}

function showHelp() {
  const rows = (/** @type {any[]} */ table) =>
    table.map((row) => element("tr", {}, element("td", {}, keycap(row[0])), element("td", {}, row.at(-1))));
  at("keys-in").replaceChildren(...rows(IN_A_CELL), ...rows(OF_THE_EDITOR));
  at("keys-on").replaceChildren(...rows(ON_A_CELL));
  at("help").showModal();
}

/** @param {string} key */
function keycap(key) {
  const mod = /Mac|iP/.test(navigator.platform) ? "⌘" : "Ctrl";
  const words = key.replace("Mod", mod).replace("Arrow", "").replaceAll("-", "+").replaceAll(" ", ", ");
  return element("kbd", {}, words);
}

function showLimit() {
  const most = session.limits.max_timeout_seconds;
  if (most) at("limit").max = String(most);
  if (notebook.limit === null && most) notebook.limit = most;
  if (most && notebook.limit > most) notebook.limit = most;
  if (document.activeElement !== at("limit")) at("limit").value = notebook.limit ?? "";
}

function readLimit() {
  const asked = at("limit").valueAsNumber;
  notebook.limit = asked > 0 ? asked : null;
  saveSoon("text");
}

function wire() {
  for (const button of document.querySelectorAll("[data-act]")) {
    button.addEventListener("click", () => notebook.act(/** @type {HTMLElement} */ (button).dataset.act));
  }
  at("new").onclick = () => mayLeave() && begin();
  at("open").onclick = showKept;
  at("import").onclick = () => at("file").click();
  at("file").onchange = () => {
    const [file] = at("file").files;
    at("file").value = "";
    if (file) importFile(file);
  };
  at("export").onclick = exportFile;
  at("keys").onclick = showHelp;
  at("limit").onchange = () => (readLimit(), showLimit());
  at("name").oninput = () => {
    document.title = `${at("name").value} – PyRunner`;
    saveSoon("text");
  };
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector("button.close").addEventListener("click", () => dialog.close());
  }
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    if (!file) return;
    event.preventDefault();
    importFile(file);
  });
  addEventListener("pagehide", save);
  document.addEventListener("visibilitychange", () => document.hidden && save());
}

function follow() {
  notebook.addEventListener("change", () => saveSoon("text"));
  notebook.addEventListener("output", () => saveSoon("outputs"));
  notebook.addEventListener("help", showHelp);
  notebook.addEventListener("work", () => document.body.classList.toggle("working", notebook.isWorking));
  session.addEventListener("lost", (event) => {
    const reason = /** @type {CustomEvent} */ (event).detail;
    if (reason) notices.say("lost", reason, { "Run all cells": () => notebook.runAll() });
  });
  session.addEventListener("change", () => {
    showLimit();
    if (session.id !== saved.session) {
      unsaved.text = true;
      save(); // at once: a second tab is to find it
    }
    if (session.running) notices.drop("lost");
    if (session.reachable) notices.drop("server");
    else notices.say("server", "The server does not answer. What you type is kept in this browser; the page goes on by itself when the server is back.");
  });
  keep.addEventListener("copied", () => {
    at("name").value += " (copy)";
    const words =
      "This notebook is open in another tab, so this is a copy of it: what you type here is kept by itself. Both use one " +
      "session: each sees the other's variables, and their cells run one after another.";
    notices.say("copy", words, { "Take a session of its own": () => session.adopt(null) });
  });
}

wire();
follow();
const kept = keep.open();
if (kept) show(kept);
else show({ name: UNNAMED, cells: WELCOME, metadata: {}, session: null, limit: null, changed: 0 });
if (!keep.isLasting) notices.say("full", "This browser is told to keep nothing: what you type is lost when you leave. Export it.");
session.watch();
document.body.dataset.ready = "true";
