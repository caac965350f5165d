// Versions: what is asked before one is promoted or rolled back to, and what came of it.

import { call } from "./api.js";
import { refresh } from "./live.js";
import { step } from "./rows.js";
import { startPage } from "./shell.js";

const part = (id) => document.getElementById(id);
const tell = (text) => (part("done").textContent = text);

function ask(name) {
  const dialog = part(name);
  if (dialog) return dialog.showModal();
  const isActive = part("version").querySelector(".tag.strong") !== null;
  tell(name === "promote" && isActive ? "It serves already." : "That is not to be done here: no version before it, or the scope train is lacking.");
}

const follow = (id) => (part(id) ? part(id).click() : tell(`There is no ${id} here.`));

function compare() {
  if (part("base")) part("base").focus();
  else window.location.assign(`${document.body.dataset.root}/comparison`);
}

// Answers of a dialog: its buttons close it, and the one that says yes leaves that word.
async function onAnswer(dialog) {
  if (dialog.returnValue !== "yes") return;
  const { version, kind } = part("version").dataset;
  const force = part("force")?.checked ?? false;
  try {
    const done = dialog.id === "promote"
      ? await call("POST", `/v1/models/${encodeURIComponent(version)}/promote`, { body: { force } })
      : await call("POST", "/v1/models/rollback", { body: { kind } });
    tell(`${done.model_version} is active${done.forced ? ", although the gate said no" : ""}.`);
  } catch (error) {
    tell(error.message);
  }
  await refresh();
}

document.addEventListener("close", (event) => event.target.matches("#promote, #rollback") && onAnswer(event.target), true);
document.addEventListener("change", (event) => {
  if (event.target.id === "force") part("promote-yes").disabled = !event.target.checked;
});

startPage({ next: () => step(1), previous: () => step(-1), ask, follow, compare });
