// Ratings on their way to the server. Each is kept in localStorage from the key press until the server has confirmed it,
// so that neither a reload nor a lost connection loses one; its id goes along, so that sending it twice adds nothing.

import { Refusal, Unreachable, call } from "./api.js";

const PREFIX = "afterglow-outbox";
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

let last = 0;

// Grows with time, also within a millisecond, so that entries sort in the order of their presses.
function nextPlace() {
  last = Math.max(last + 1, Date.now() * 1000);
  return String(last).padStart(17, "0");
}

export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// One request: what an entry asks of the server. An entry is {id, action, snapshotId, rating, isSunset, seen}.
function send(rater, entry) {
  const ratings = `/v1/snapshots/${entry.snapshotId}/ratings`;
  if (entry.action === "retract") {
    return call("DELETE", `${ratings}/${encodeURIComponent(rater)}?restore=true`, { idempotencyKey: entry.id });
  }
  const body = { rater, rating: entry.rating, is_sunset: entry.isSunset, label_source: "human" };
  if (entry.seen) body.shown_model_version = entry.seen;
  return call("POST", ratings, { body, idempotencyKey: entry.id });
}

export class Outbox {
  #rater;
  #prefix;
  #heard;
  #isSending = false;
  #wait = FIRST_WAIT_MS;
  #timer = null;

  // `heard` has onSaved(entry, answer), onRefused(entry, refusal) and onState(state, waiting): saved, saving, offline, login.
  constructor(rater, heard) {
    this.#rater = rater;
    this.#prefix = `${PREFIX}:${rater}:`;
    this.#heard = heard;
    window.addEventListener("online", () => this.flush());
    window.addEventListener("storage", () => this.#tell());
  }

  // Keep an entry and send it. It is kept when this returns. Throws when the browser has no room for it.
  add(entry) {
    localStorage.setItem(this.#prefix + nextPlace(), JSON.stringify(entry));
    this.#tell("saving");
    this.flush();
  }

  keys() {
    return Object.keys(localStorage).filter((key) => key.startsWith(this.#prefix)).sort();
  }

  // Snapshots whose last entry that waits is a rating.
  rated() {
    const entries = this.keys().map((key) => JSON.parse(localStorage.getItem(key)));
    const lastOf = new Map(entries.map((entry) => [entry.snapshotId, entry.action]));
    return [...lastOf].filter(([, action]) => action === "rate").map(([id]) => id);
  }

  // Send everything that waits, in order; one after the other, so that an undo never overtakes its rating.
  async flush() {
    if (this.#isSending) return;
    this.#isSending = true;
    clearTimeout(this.#timer);
    try {
      await aloneInThisBrowser(this.#prefix, () => this.#sendAll());
      this.#wait = FIRST_WAIT_MS;
    } catch (error) {
      this.#pause(error);
    } finally {
      this.#isSending = false;
    }
    if (this.#timer === null && this.keys().length) this.flush(); // came while the last answer was on its way
  }

  async #sendAll() {
    this.#timer = null;
    for (let key = this.keys()[0]; key !== undefined; key = this.keys()[0]) {
      const entry = JSON.parse(localStorage.getItem(key));
      this.#tell("saving");
      try {
        const answer = await send(this.#rater, entry);
        localStorage.removeItem(key);
        this.#heard.onSaved(entry, answer);
      } catch (error) {
        if (!(error instanceof Refusal) || error.isLogin || error.mayPass) throw error;
        localStorage.removeItem(key);
        // Nothing to take back is what an undo of a refused rating finds.
        if (entry.action !== "retract" || error.status !== 404) this.#heard.onRefused(entry, error);
      }
    }
    this.#tell("saved");
  }

  #pause(error) {
    if (!(error instanceof Refusal || error instanceof Unreachable)) console.error(error);
    this.#tell(error instanceof Refusal && error.isLogin ? "login" : "offline");
    this.#timer = setTimeout(() => this.flush(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
  }

  #tell(state) {
    const waiting = this.keys().length;
    this.#heard.onState(state ?? (waiting ? "saving" : "saved"), waiting);
  }
}

// Several pages of one browser share what waits; only one sends at a time, where the browser can say so.
function aloneInThisBrowser(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : work();
}
