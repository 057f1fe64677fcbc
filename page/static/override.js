// The line above the answer: what the owner has asked for, until when, and whether it is in force.

import { element, setText } from "./dom.js";
import { duration, moment } from "./words.js";

// A device says that an override is over within this time of its end.
const END_IS_REPORTED_WITHIN_MS = 5000;

const by = (id) => document.getElementById(id);

export class OverrideLine {
  constructor(status) {
    this.status = status;
    this.answer = null;
    this.receivedAt = 0;
    this.failed = false;
    this.because = "";
  }

  update(answer) {
    this.answer = answer;
    this.receivedAt = performance.now();
    this.failed = false;
    this.show();
  }

  noAnswer(because) {
    this.failed = true;
    this.because = because;
    this.show();
  }

  // Also called every second: only the time left changes then, and nobody reads that out.
  show() {
    if (this.failed) {
      const because = this.because ? ` ${this.because}` : "";
      return this.put("unknown", [`Whether the owner has asked for anything is not known.${because}`], "");
    }
    if (!this.answer) return;
    const { standing, refused } = this.answer;
    const nowMs = this.answer.now_ms + performance.now() - this.receivedAt;
    const sentences = standing.map((one) => this.inWords(one, nowMs));
    if (refused) sentences.push(`The device has refused what the owner asked for last: ${refused}.`);
    const [first] = standing;
    this.put(sentences.length ? (first?.state ?? "asked") : "none", sentences, first ? this.left(first, nowMs) : "");
    by("override").dataset.mode = first?.mode ?? "";
  }

  inWords(one, nowMs) {
    const mode = one.mode.toUpperCase();
    const endMs = one.ends_at_ms ?? one.until_ms;
    const until = `${mode} until ${moment(one.until_ms, nowMs)}`;
    if (nowMs > endMs + END_IS_REPORTED_WITHIN_MS) {
      return `The owner has asked for ${until}. That time is over, but the device has not said that it has ended it.`;
    }
    const silent = "The device is silent: whether it is in force now is not known.";
    return `The owner has asked for ${until}. ${this.status.isStale ? silent : fate(one, nowMs)}`;
  }

  left(one, nowMs) {
    const leftS = ((one.ends_at_ms ?? one.until_ms) - nowMs) / 1000;
    return leftS > 0 ? `${duration(leftS)} left` : "";
  }

  put(state, sentences, left) {
    by("override").dataset.state = state;
    const shown = JSON.stringify(sentences);
    if (shown !== this.shown) {
      this.shown = shown;
      by("override-words").replaceChildren(...sentences.map((sentence) => element("p", {}, sentence)));
    }
    setText(by("override-left"), left);
  }
}

function fate({ state, because, until_ms: untilMs, ends_at_ms: endsAtMs }, nowMs) {
  const why = because ? `: ${because}` : "";
  const early = endsAtMs !== null && endsAtMs < untilMs - 1000 ? ` The device ends it at ${moment(endsAtMs, nowMs)}.` : "";
  switch (state) {
    case null:
      return "The device has not answered yet.";
    case "active":
      return `It is in force.${early}`;
    case "suppressed":
      return `It is suppressed${why}.${early}`;
    case "waiting":
      return because ? `It waits${why}.` : "It waits: the Pi was started anew and does not know yet what time it is.";
    default:
      return `The device says: ${state}${why}.`;
  }
}
