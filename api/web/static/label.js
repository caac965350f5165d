// Labelling frames at key speed. What counts is the frame that was on the screen when the key went down.

import { Acts, takeSeat } from "./acts.js";
import { Refusal, call } from "./api.js";
import { Outbox, newId } from "./outbox.js";
import { FrameQueue } from "./queue.js";
import { showSaveState, startPage } from "./shell.js";
import { answerWords, factsOf, paceOf, revealed, why } from "./words.js";

const COUNT_MS = 1000; // between two looks at the server's counts
const MEASURE = "next image";
const MEASURES_KEPT = 1000;

const rater = document.body.dataset.rater;
const part = (name) => document.getElementById(name);
let acts, queue, outbox;
let onScreen = null; // the item whose picture has been painted
let pressedAt = null; // when the key went down that asked for the next picture
let countTimer = null;
let counts = null;

// --- what is on the screen ---

function show() {
  const item = queue.current;
  if (!item?.isReady) return showNone(item);
  if (part("picture").firstElementChild === item.image) return;
  onScreen = null;
  part("picture").removeAttribute("data-snapshot-id");
  part("picture").dataset.state = "painting";
  part("picture").replaceChildren(item.image);
  part("facts").textContent = factsOf(item.frame);
  part("why").textContent = why(item.frame.reason);
  requestAnimationFrame(() => {
    if (queue.current !== item) return;
    onScreen = item;
    part("picture").dataset.state = "shown";
    part("picture").dataset.snapshotId = item.frame.snapshot_id;
    tell("");
    if (pressedAt !== null) measureAfterPaint(pressedAt);
    pressedAt = null;
  });
}

function showNone(item) {
  onScreen = null;
  part("picture").replaceChildren();
  part("picture").removeAttribute("data-snapshot-id");
  part("picture").dataset.state = item ? "loading" : !queue.isDry ? "waiting" : counts?.waiting ? "kept" : "empty";
  part("facts").textContent = part("why").textContent = "";
}

function measureAfterPaint(start) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    if (performance.getEntriesByName(MEASURE).length >= MEASURES_KEPT) performance.clearMeasures(MEASURE);
    performance.measure(MEASURE, { start, end: performance.now() });
  };
  port2.postMessage(null);
}

function tell(text) {
  part("notice").textContent = text;
}

function showProgress() {
  part("progress").textContent = counts ? paceOf(acts.all, counts) : "";
}

function showState(state, waiting) {
  const kept = waiting === 1 ? "1 rating is kept here" : `${waiting} ratings are kept here`;
  const said = {
    saved: ["saved", counts ? `Saved: ${counts.rated}` : "Saved"],
    saving: ["saving", `Saving ${waiting}`],
    offline: ["offline", waiting ? `No connection: ${kept}` : "No connection"],
    login: ["trouble", `Logged out: ${kept}`],
  }[state];
  part("log-in-again").hidden = state !== "login";
  showSaveState(...said);
}

// --- what the server says ---

function hearCounts(found) {
  counts = found;
  showProgress();
  if (!queue?.current) show();
  if (!outbox.keys().length) showState("saved", 0);
}

function countSoon() {
  countTimer ??= setTimeout(async () => {
    countTimer = null;
    try {
      hearCounts(await call("GET", "/v1/label-queue"));
    } catch {
      // the next rating asks again
    }
  }, COUNT_MS);
}

function onSaved(entry, snapshot) {
  countSoon();
  if (entry.action !== "rate") return;
  const seen = snapshot.ai_rating === null ? null : snapshot.ai_model_version;
  const act = acts.note(entry.id, seen);
  // Beside the last answer only: at key speed what belongs to one before it would be taken for this one's.
  if (act && act === acts.all.at(-1)) part("reveal").replaceChildren(...revealed(act, snapshot));
}

function onTrouble(error) {
  if (error instanceof Refusal && error.isLogin) showState("login", outbox.keys().length);
  else if (!queue.current?.isReady) tell(`${error.message} Going on as soon as it does.`);
}

// --- what the keys do ---

function act(answer, event) {
  const item = onScreen;
  if (!item) return refuse();
  const done = { id: newId(), frame: item.frame, answer, at: Date.now(), seen: null };
  if (answer !== null) {
    const isSunset = answer !== 0;
    const entry = { id: done.id, action: "rate", snapshotId: item.frame.snapshot_id, rating: isSunset ? answer : null,
      isSunset, seen: item.frame.seen ?? null };
    try {
      outbox.add(entry);
    } catch {
      return tell("This browser has no room to keep ratings. Wait until they are saved, then go on.");
    }
  }
  acts.add(done);
  part("last").textContent = `Last: ${answerWords(answer)}`;
  part("reveal").replaceChildren();
  pressedAt = event.timeStamp;
  queue.advance();
  showProgress();
}

function refuse() {
  tell("Not counted: no picture was on the screen.");
}

function undo() {
  const taken = acts.takeBack();
  if (!taken) return tell("There is nothing to take back at this page.");
  if (taken.answer !== null) {
    outbox.add({ id: newId(), action: "retract", snapshotId: taken.frame.snapshot_id });
  }
  part("reveal").replaceChildren();
  part("last").textContent = "Taken back";
  queue.putBack({ ...taken.frame, seen: taken.seen ?? taken.frame.seen });
  showProgress();
}

async function peek() {
  const item = onScreen;
  if (!item) return refuse();
  try {
    const snapshot = await call("GET", `/v1/snapshots/${item.frame.snapshot_id}`);
    if (onScreen !== item) return;
    if (snapshot.ai_rating === null) return tell("No model has scored this frame.");
    item.frame.seen = snapshot.ai_model_version;
    tell(`The model says ${snapshot.ai_rating.toFixed(1)}. Your rating will say that you saw this first.`);
  } catch (error) {
    tell(error.message);
  }
}

function onRefused(entry, refusal) {
  part("refused").hidden = false;
  part("refused").textContent = `The rating of frame ${entry.snapshotId} was not taken: ${refusal.message}`;
}

async function start() {
  const seat = await takeSeat(newId);
  acts = new Acts(rater, seat);
  outbox = new Outbox(rater, { onSaved, onRefused, onState: showState });
  const desk = {
    rater, seat, skipped: () => acts.skipped(), judged: () => [...acts.answered(), ...outbox.rated()],
    waiting: () => outbox.keys().length,
  };
  queue = new FrameQueue(desk, {
    onChange: show,
    onCounts: hearCounts,
    onTrouble,
    onGone: (item) => tell(`The picture of frame ${item.frame.snapshot_id} is gone; the next one follows.`),
  });
  startPage({ rate: act, skip: (_, event) => act(null, event), undo, peek });
  await outbox.flush();
  queue.refill();
}

start();
