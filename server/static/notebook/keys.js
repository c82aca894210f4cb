// What the keys do. The table is also what the help shows.

/** @typedef {[key: string, command: string, words: string]} Row */

/** With the cursor in a cell. The names of the keys are CodeMirror's. @type {Row[]} */
export const IN_A_CELL = [
  ["Shift-Enter", "runAndNext", "Run the cell and go to the next"],
  ["Mod-Enter", "run", "Run the cell"],
  ["Alt-Enter", "runAndInsert", "Run the cell and add one below"],
  ["Escape", "leave", "Leave the text: the keys below then act on cells"],
  ["ArrowUp", "previousFromTop", "On the first line: to the cell above"],
  ["ArrowDown", "nextFromBottom", "On the last line: to the cell below"],
];

/** With a cell chosen, and the cursor not in its text. @type {Row[]} */
export const ON_A_CELL = [
  ["Enter", "edit", "Edit the cell"],
  ["ArrowUp", "previous", "The cell above"],
  ["ArrowDown", "next", "The cell below"],
  ["Shift-Enter", "runAndNext", "Run the cell and go to the next"],
  ["Mod-Enter", "run", "Run the cell"],
  ["a", "insertAbove", "Add a cell above"],
  ["b", "insert", "Add a cell below"],
  ["d d", "remove", "Delete the cell"],
  ["z", "restore", "Bring back the cell that was deleted"],
  ["Alt-ArrowUp", "up", "Move the cell up"],
  ["Alt-ArrowDown", "down", "Move the cell down"],
  ["m", "toText", "Make it a text cell (Markdown)"],
  ["y", "toCode", "Make it a Python cell"],
  ["i i", "interrupt", "Interrupt what runs"],
  ["0 0", "restart", "Restart: a new session"],
  ["?", "help", "This list"],
];

/** Only shown: the editor does these itself. @type {[string, string][]} */
export const OF_THE_EDITOR = [
  ["Tab", "Complete a name, or indent"],
  ["Shift-Tab", "Signature and description of the name at the cursor, or less indentation"],
  ["Mod-/", "Comment lines, or no longer"],
  ["Mod-z", "Undo"],
];

/**
 * The command of a pressed key; null when it has none. `before`: the key that was pressed before it.
 *
 * @param {KeyboardEvent} event
 * @param {string} before
 */
export function commandOf(event, before) {
  const pressed = keyOf(event);
  const row = ON_A_CELL.find(([key]) => key === pressed || key === `${before} ${pressed}`);
  return row?.[1] ?? null;
}

/** @param {KeyboardEvent} event */
export function keyOf(event) {
  const printed = event.key.length === 1;
  const modifiers = [event.ctrlKey || event.metaKey ? "Mod-" : "", event.altKey ? "Alt-" : "", event.shiftKey && !printed ? "Shift-" : ""];
  return modifiers.join("") + event.key;
}
