// Reports over time, and the triage of frames on which people and a version disagree.

import { call } from "./api.js";
import { refresh } from "./live.js";
import { step } from "./rows.js";
import { startPage } from "./shell.js";

const FIRST = 10; // the priority of what shall be brought before the usual 100
const BODIES = { dismissed: { state: "dismissed" }, open: { state: "open" }, urgent: { state: "open", priority: FIRST } };
const SAID = { dismissed: "Dismissed: nobody need look at it.", open: "It waits again.", urgent: "It comes first." };

const tell = (text) => (document.getElementById("done").textContent = text);

async function triage(what, event) {
  const frame = event.target.closest("[data-disagreement]");
  if (!frame) return tell("Choose a frame first: the arrow keys go through them.");
  frame.querySelector("a.row").focus(); // the button that was pressed may go
  try {
    await call("POST", `/v1/disagreements/${frame.dataset.disagreement}/triage`, { body: BODIES[what] });
    tell(SAID[what]);
  } catch (error) {
    tell(error.message);
  }
  await refresh();
}

startPage({
  next: () => step(1),
  previous: () => step(-1),
  filter: () => document.getElementById("state")?.focus(),
  disagreements: () => window.location.assign(`${document.body.dataset.root}/disagreements`),
  triage,
});
