// What the notebook page uses of CodeMirror, as one module.
export { autocompletion, closeBrackets, closeBracketsKeymap, closeCompletion, startCompletion } from "@codemirror/autocomplete";
export { indentLess, indentMore, toggleComment } from "@codemirror/commands";
export { globalCompletion, localCompletionSource, python } from "@codemirror/lang-python";
export { HighlightStyle, bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
export { EditorState, Prec, StateEffect, StateField } from "@codemirror/state";
export { EditorView, keymap, placeholder, showTooltip } from "@codemirror/view";
export { tags } from "@lezer/highlight";
export { minimalSetup } from "codemirror";
