// The editor of a cell: CodeMirror, with completion and signatures from the session.

import * as cm from "./codemirror/codemirror.js";
import { element } from "./dom.js";

const NONCE = document.body.dataset.styleNonce;
const { tags } = cm;

const THEME = cm.EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "transparent", fontSize: "var(--code-size)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-content": { padding: "8px 0", caretColor: "var(--ink)" },
  ".cm-line": { padding: "0 12px" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--selection)",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selection)" },
  ".cm-placeholder": { color: "var(--faint)" },
  ".cm-tooltip": { color: "var(--ink)", backgroundColor: "var(--raised)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { color: "var(--on-accent)", backgroundColor: "var(--accent)" },
  ".cm-tooltip.inspected": { maxWidth: "44rem", maxHeight: "16rem", overflow: "auto", padding: "8px 12px" },
});

const HIGHLIGHT = cm.HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.self], color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.function(tags.definition(tags.variableName)), tags.definition(tags.className)], color: "var(--code-name)" },
  { tag: tags.function(tags.variableName), color: "var(--code-name)" },
  { tag: tags.meta, color: "var(--code-comment)" },
]);

const setTip = cm.StateEffect.define();
const TIP = cm.StateField.define({
  create: () => null,
  update(tip, change) {
    for (const effect of change.effects) if (effect.is(setTip)) return effect.value;
    return change.docChanged || change.selection ? null : tip;
  },
  provide: (field) => cm.showTooltip.from(field),
});

/**
 * @param {{source: string, isPython: boolean, label: string, keys: any[],
 *   ask: (what: "complete" | "inspect", text: string, cursor: number) => Promise<any>,
 *   onChange: (source: string) => void, onFocus: () => void}} options
 */
export function editor({ source, isPython, label, keys, ask, onChange, onFocus }) {
  const extensions = [
    cm.EditorView.cspNonce.of(NONCE),
    cm.Prec.high(cm.keymap.of([{ key: "Escape", run: closeTip }, ...keys])), // an open list of completions goes before
    cm.minimalSetup,
    THEME,
    cm.syntaxHighlighting(HIGHLIGHT),
    cm.EditorView.lineWrapping,
    cm.EditorView.domEventHandlers({ beforeinput: typeOver }),
    cm.EditorView.contentAttributes.of({ "aria-label": label, tabindex: "-1", spellcheck: String(!isPython) }),
    cm.EditorView.updateListener.of((update) => {
      if (update.docChanged) onChange(update.state.doc.toString());
      if (update.focusChanged && update.view.hasFocus) onFocus();
    }),
    TIP,
    ...(isPython ? python(ask) : []),
  ];
  return new cm.EditorView({ doc: source, extensions });
}

/** Typing over a selection. The browser would keep its style by an attribute, which the page's policy refuses. */
function typeOver(event, view) {
  const { from, to } = view.state.selection.main;
  if (event.inputType !== "insertText" || !event.data || from === to || view.composing) return false;
  const insert = () => view.state.update(view.state.replaceSelection(event.data), { userEvent: "input.type" });
  const handlers = view.state.facet(cm.EditorView.inputHandler);
  if (!handlers.some((handle) => handle(view, from, to, event.data, insert))) view.dispatch(insert());
  event.preventDefault();
  return true;
}

/** @param {(what: "complete" | "inspect", text: string, cursor: number) => Promise<any>} ask */
function python(ask) {
  return [
    cm.python(),
    cm.indentUnit.of("    "),
    cm.EditorState.tabSize.of(4),
    cm.indentOnInput(),
    cm.bracketMatching(),
    cm.closeBrackets(),
    cm.autocompletion({ override: [(context) => completions(context, ask)], icons: false }),
    cm.keymap.of([
      ...cm.closeBracketsKeymap,
      { key: "Tab", run: completeOrIndent, shift: (view) => inspectOrDedent(view, ask) },
      { key: "Mod-/", run: cm.toggleComment },
    ]),
  ];
}

/** What the session knows, or without one what stands in the cell and in Python. */
async function completions(context, ask) {
  const before = context.matchBefore(/[\w.]+$/);
  if (!context.explicit && !(before && /[.\w]$/.test(before.text) && !/^\d/.test(before.text))) return null;
  const text = context.state.doc.toString();
  const told = await ask("complete", text, toCharacters(text, context.pos));
  if (told?.names.length) {
    const from = toUnits(text, told.start);
    return { from, options: told.names.map((/** @type {string} */ name) => ({ label: name })), validFor: /^\w*$/ };
  }
  return cm.localCompletionSource(context) ?? cm.globalCompletion(context);
}

function completeOrIndent(view) {
  const { from, to } = view.state.selection.main;
  const line = view.state.doc.lineAt(from);
  const follows = from === to && /[\w.]$/.test(line.text.slice(0, from - line.from));
  return follows ? cm.startCompletion(view) : from === to ? insertIndent(view) : cm.indentMore(view);
}

function insertIndent(view) {
  view.dispatch(view.state.replaceSelection("    "));
  return true;
}

function inspectOrDedent(view, ask) {
  const { from, to, head } = view.state.selection.main;
  const line = view.state.doc.lineAt(from);
  if (from !== to || !line.text.slice(0, from - line.from).trim()) return cm.indentLess(view);
  inspect(view, head, ask);
  return true;
}

/** Close what hangs over the text: it is about to run. */
export function settle(view) {
  cm.closeCompletion(view);
  closeTip(view);
}

function closeTip(view) {
  if (view.state.field(TIP) === null) return false;
  view.dispatch({ effects: setTip.of(null) });
  return true;
}

async function inspect(view, pos, ask) {
  const text = view.state.doc.toString();
  const told = await ask("inspect", text, toCharacters(text, pos));
  if (view.state.doc.toString() !== text) return;
  const words = told?.name ? [told.name + (told.signature ?? ""), told.doc].filter(Boolean).join("\n\n") : NOTHING[String(told === null)];
  const create = () => ({ dom: element("pre.inspected", {}, words) });
  cm.closeCompletion(view);
  view.dispatch({ effects: setTip.of({ pos, above: true, create }) });
}

const NOTHING = {
  true: "The session can not tell now: run a cell first, or wait until it has ended.",
  false: "The session knows nothing of this name.",
};

/** Python counts characters, the editor counts UTF-16 units. */
function toCharacters(text, units) {
  return [...text.slice(0, units)].length;
}

function toUnits(text, characters) {
  return [...text].slice(0, characters).join("").length;
}
