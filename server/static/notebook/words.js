// What became of an execution or a session, in words for the one who reads the page.

const KEPT = "The variables are still there.";
const LOST =
  "The session is lost, and with it all variables, functions and imports. " +
  "The cells are still here: run them again from the top.";

/** Why nothing was run, by the server's word for it. */
const NOT_RUN = {
  "session not found": "Nothing was run, for the session is no more",
  "max sessions reached": "Nothing was run, for all sessions of the server are in use",
};

/** What ended it, by the server's word for it. */
const ENDED = {
  "execution timeout": "It was stopped at its time limit",
  "memory limit exceeded": "It reached the memory limit of the session",
  "execution interrupted": "It was interrupted",
  "session crashed": "The Python process crashed",
};

/**
 * The answer's error as a sentence or three; null when it has none.
 *
 * @param {{error: string | null, detail: string | null, state: string}} answer
 */
export function ending({ error, detail, state }) {
  if (error === null) return null;
  const head = `${NOT_RUN[error] ?? ENDED[error] ?? error}${detail ? ` (${detail})` : ""}.`;
  if (error === "max sessions reached") return `${head} Close one, or run the cell again in a moment.`;
  return `${head} ${state === "kept" ? KEPT : LOST}`;
}

/** @param {string} reason as the server tells it of a session that is no more */
export function lostBecause(reason) {
  const closed = reason.match(/^closed after ([\d.]+ s) idle/);
  if (closed) return `The session was closed, for it was not used for ${closed[1]}. Its variables are gone; the cells are still here.`;
  return `The session is no more (${reason}). Its variables are gone; the cells are still here.`;
}

export const SERVER_GONE =
  "The connection to the server broke while this ran. What came before that is above, and nothing that you typed " +
  "is lost. Run the cell again when the server is back.";

/**
 * Whether the code ended by an exception: the answer has no word for it, but stderr has a traceback.
 *
 * @param {string | null} stderr
 */
export function raised(stderr) {
  const text = stderr ?? "";
  const isSyntaxError = /^ {2}File "<stdin>", line \d+$/m.test(text) && /^\w*Error: /m.test(text);
  return isSyntaxError || /^Traceback \(most recent call last\):$/m.test(text);
}
