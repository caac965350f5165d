// The frames ahead: taken from the server, their pictures fetched and decoded before they are shown.

import { Refusal, call } from "./api.js";

export const AHEAD = 5; // pictures that are decoded ahead of the one on the screen
const TAKEN_AT_ONCE = 16;
const LOW = 9; // frames left at which more are taken
const MOST = 50; // that the server gives at once
const RETRY_MS = 2000;
const DRY_MS = 2000; // until the server is asked again after it had no more
const RENEW_MS = 60000; // the server keeps frames for five minutes after it was asked last

export class FrameQueue {
  #desk;
  #heard;
  #isTaking = false;
  #isDry = false;
  #timer = null;
  #notBefore = 0;
  items = [];

  // `desk` is {rater, seat, skipped(), judged(), waiting()}: ids that were put off here, ids that were judged here, and how
  // many of these the server may not know yet. `heard` has onChange(), onCounts(counts), onTrouble(error), onGone(item).
  constructor(desk, heard) {
    this.#desk = desk;
    this.#heard = heard;
    window.addEventListener("online", () => this.#ask());
    setInterval(() => this.#ask(), RENEW_MS);
  }

  get current() {
    return this.items[0];
  }

  // Whether nothing is left, as far as the server said.
  get isDry() {
    return this.#isDry && this.items.length === 0;
  }

  // Leave the current frame; the next one becomes it.
  advance() {
    this.items.shift();
    this.#prepare();
    this.refill();
  }

  // Have a frame be the current one again.
  putBack(frame) {
    this.items = this.items.filter((item) => item.frame.snapshot_id !== frame.snapshot_id);
    this.items.unshift({ frame, image: null, isReady: false });
    this.#prepare();
  }

  // Take more frames when few are left. Those that were judged here are not wanted, even where the server does not know
  // yet that they were.
  refill() {
    if (this.items.length <= LOW && performance.now() >= this.#notBefore) this.#ask();
  }

  async #ask() {
    if (this.#isTaking) return;
    this.#isTaking = true;
    clearTimeout(this.#timer);
    try {
      const count = Math.min(TAKEN_AT_ONCE + this.#desk.waiting(), MOST);
      const body = { rater: this.#desk.rater, seat: this.#desk.seat, count, skipped: this.#desk.skipped() };
      const answer = await call("POST", "/v1/label-queue", { body });
      const wereFew = this.items.length <= LOW;
      this.#isDry = this.#append(answer.frames) === 0 && wereFew;
      if (this.#isDry) this.#later(DRY_MS);
      this.#prepare();
      this.#heard.onCounts(answer);
    } catch (error) {
      this.#heard.onTrouble(error);
      if (!(error instanceof Refusal) || error.mayPass) this.#later(RETRY_MS);
    } finally {
      this.#isTaking = false;
    }
  }

  #later(wait) {
    this.#notBefore = performance.now() + wait;
    this.#timer = setTimeout(() => this.refill(), wait + 1);
  }

  // Add what is new; how many that were. Some that are not may have been judged while the answer was on its way.
  #append(frames) {
    const unwanted = new Set([
      ...this.items.map((item) => item.frame.snapshot_id), ...this.#desk.skipped(), ...this.#desk.judged(),
    ]);
    const fresh = frames.filter((frame) => !unwanted.has(frame.snapshot_id));
    this.items.push(...fresh.map((frame) => ({ frame, image: null, isReady: false })));
    return fresh.length;
  }

  #prepare() {
    for (const item of this.items.slice(0, AHEAD + 1)) if (!item.image) this.#load(item);
    this.#heard.onChange();
  }

  async #load(item) {
    const { frame } = item;
    item.image = new Image(frame.width, frame.height);
    item.image.alt = `Frame of ${frame.title ?? "a webcam"}, ${frame.phase}`;
    item.image.src = `${document.body.dataset.root}/v1/snapshots/${frame.snapshot_id}/image`;
    try {
      await item.image.decode();
      item.isReady = true;
      this.#heard.onChange();
    } catch {
      await this.#explain(item);
    }
  }

  // Why a picture did not come: it is gone, so its frame is left out, or the server is away, so it is tried again.
  async #explain(item) {
    try {
      const snapshot = await call("GET", `/v1/snapshots/${item.frame.snapshot_id}`);
      if (snapshot.image_state !== "present") {
        this.items = this.items.filter((other) => other !== item);
        this.#heard.onGone(item);
        this.#prepare();
        this.refill();
        return;
      }
    } catch (error) {
      this.#heard.onTrouble(error);
    }
    setTimeout(() => {
      item.image = null;
      if (this.items.includes(item)) this.#prepare();
    }, RETRY_MS);
  }
}
