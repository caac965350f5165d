// What was done at this page, newest last, so that it can be taken back: it survives a reload, and belongs to one open
// page alone, as its seat does.

const KEY = "afterglow-acts";
const SEAT_KEY = "afterglow-seat";
const MOST_KEPT = 500;
const PATIENCE_MS = 1000;

export class Acts {
  #key;
  #all;

  constructor(rater, seat) {
    this.#key = `${KEY}:${rater}:${seat}`;
    this.#all = JSON.parse(sessionStorage.getItem(this.#key) ?? "[]");
  }

  get all() {
    return this.#all;
  }

  // An act is {id, frame, answer, at, seen}; an answer of null is a skip.
  add(act) {
    this.#all.push(act);
    this.#keep();
  }

  takeBack() {
    const act = this.#all.pop();
    this.#keep();
    return act;
  }

  // Note that what the model says of an act's frame was shown after it.
  note(id, seen) {
    const act = this.#all.find((each) => each.id === id);
    if (act) act.seen = seen;
    this.#keep();
    return act;
  }

  skipped() {
    return this.#idsWhere((act) => act.answer === null);
  }

  answered() {
    return this.#idsWhere((act) => act.answer !== null);
  }

  #idsWhere(holds) {
    return this.#all.filter(holds).map((act) => act.frame.snapshot_id);
  }

  #keep() {
    this.#all = this.#all.slice(-MOST_KEPT);
    sessionStorage.setItem(this.#key, JSON.stringify(this.#all));
  }
}

// The name of this open page. A page that was duplicated has its twin's, which the twin holds on to, and takes another.
export async function takeSeat(newName) {
  const known = sessionStorage.getItem(SEAT_KEY);
  const seat = known && (await holdOn(known)) ? known : newName();
  if (seat !== known) await holdOn(seat);
  sessionStorage.setItem(SEAT_KEY, seat);
  return seat;
}

function holdOn(seat) {
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    const until = { signal: AbortSignal.timeout(PATIENCE_MS) };
    const hold = () => new Promise(() => resolve(true)); // until this page is left
    navigator.locks.request(`${SEAT_KEY}:${seat}`, until, hold).catch(() => resolve(false));
  });
}
