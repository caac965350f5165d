// What the label page says, in words.

const WHY = {
  review: "it waits for somebody's eyes",
  unsure: "one of those from which a model learns most",
  random: "drawn from all frames that nobody has labelled",
};
const LONG_PAUSE_MS = 60000; // after which somebody was away

export const why = (reason) => `Why this one: ${WHY[reason] ?? reason}`;

export function answerWords(answer) {
  if (answer === null) return "Skipped";
  return answer === 0 ? "Not a sunset" : `${answer} ${answer === 1 ? "star" : "stars"}`;
}

export function factsOf(frame) {
  const place = [frame.title, frame.city, frame.country].filter(Boolean).join(", ") || "Webcam";
  const taken = frame.captured_at.slice(0, 16).replace("T", " ");
  return `${place} · ${frame.phase} · ${taken} UTC`;
}

// What the model and other people say, once the answer is given.
export function revealed(act, snapshot) {
  const lines = [
    snapshot.ai_rating === null
      ? "No model has scored it"
      : `Model: ${snapshot.ai_rating.toFixed(1)} (${snapshot.ai_model_version})`,
  ];
  const others = snapshot.rating_count - (act.answer > 0 ? 1 : 0);
  if (others > 0) lines.push(`Mean of ${snapshot.rating_count} people: ${snapshot.calculated_rating.toFixed(1)}`);
  return lines.map((line) => Object.assign(document.createElement("li"), { textContent: line }));
}

// How far and how fast: the counts are the server's, the pace is of this page.
export function paceOf(all, counts) {
  const waiting = counts.waiting >= 10000 ? "10000 or more" : String(counts.waiting);
  const said = [`${counts.rated} by you`, `${waiting} without a label`];
  const steps = all.slice(-20).map((act, place, some) => (place ? act.at - some[place - 1].at : Infinity));
  const work = steps.filter((step) => step < LONG_PAUSE_MS).sort((one, other) => one - other);
  if (work.length >= 5) said.push(`${(work[work.length >> 1] / 1000).toFixed(1)} s each`);
  return said.join(" · ");
}
