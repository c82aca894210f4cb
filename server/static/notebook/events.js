// Server-Sent Events out of the body of an answer. (EventSource can not POST.)

/**
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<{name: string, data: any}>}
 */
export async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let pieces = []; // of an event that has not ended: joined once, for it may be long
  let last = "";
  for (;;) {
    const { value: bytes, done } = await reader.read();
    if (done) return;
    const value = decoder.decode(bytes, { stream: true });
    const ends = (last + value).includes("\n\n");
    pieces.push(value);
    last = value.at(-1) ?? last;
    if (!ends) continue;
    const whole = pieces.join("").split("\n\n");
    pieces = [whole.pop()];
    last = pieces[0].at(-1) ?? "";
    for (const text of whole) {
      const event = parsed(text);
      if (event) yield event;
    }
  }
}

/** @param {string} text */
function parsed(text) {
  let name = "message";
  let data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5).trim();
  }
  return data ? { name, data: JSON.parse(data) } : null; // a comment has none
}
