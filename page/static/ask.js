// Asks the page's server, and the panels' questions a few at a time.

const PATIENCE_MS = 15_000;

export const NO_SERVER = "This page's own server does not answer. Is it still running?";

// Throws an Error whose message is a sentence for the reader.
export async function ask(path) {
  let response, answer;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
    answer = await response.json();
  } catch {
    // A proxy in front of a server that is gone answers too, but not in JSON.
    throw new Error(NO_SERVER);
  }
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// Runs tasks in order, at most `atOnce` at a time, so that a phone is not flooded.
export class Queue {
  constructor(atOnce) {
    this.free = atOnce;
    this.waiting = [];
  }

  // `task` is an async function that does not throw.
  add(task) {
    this.waiting.push(task);
    this.next();
  }

  next() {
    while (this.free && this.waiting.length) {
      this.free -= 1;
      this.waiting.shift()().finally(() => {
        this.free += 1;
        this.next();
      });
    }
  }
}
