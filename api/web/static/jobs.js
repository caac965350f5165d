// The jobs as they are now, and what can be done about one.

import { call } from "./api.js";
import { keepFresh, refresh } from "./live.js";
import { step } from "./rows.js";
import { startPage } from "./shell.js";

function tell(text, link) {
  const line = document.getElementById("done");
  line.textContent = text;
  if (link) line.append(" ", link);
}

function linkTo(jobId) {
  const link = document.createElement("a");
  link.href = `${document.body.dataset.root}/jobs/${jobId}`;
  link.textContent = `job ${jobId}`;
  return link;
}

// The job that a key or a button means: the row that has the focus, or the page's own.
function chosen(event, verb) {
  const found = event.target.closest("[data-job]") ?? document.querySelector("main > [data-job]");
  if (!found) tell("Choose a job first: the arrow keys go through them.");
  else if (!found.querySelector(`[data-action=${verb}]:not(:disabled)`)) tell(`Job ${found.dataset.job} cannot be ${verb === "retry" ? "tried again" : "cancelled"} now.`);
  else return Number(found.dataset.job);
  return null;
}

async function act(verb, event, said) {
  const id = chosen(event, verb);
  if (id === null) return;
  try {
    const job = await call("POST", `/v1/jobs/${id}/${verb}`);
    said(id, job);
  } catch (error) {
    tell(error.message);
  }
  await refresh();
}

const retry = (_, event) => act("retry", event, (id, job) => tell(`Job ${id} is tried again as`, linkTo(job.id)));
const cancel = (_, event) =>
  act("cancel", event, (id, job) => tell(job.state === "cancelled" ? `Job ${id} is cancelled.` : `Job ${id} was asked to stop.`));

startPage({ next: () => step(1), previous: () => step(-1), retry, cancel });
keepFresh();
