// What every page has: keys, their panel, the sign that says whether everything is saved. A page's module imports
// `startPage`; a page without a module of its own loads this one alone.

import { keymapOf } from "./keymap.js";
import { keyElement, listenForKeys } from "./keys.js";

function fillPanel(page) {
  const rows = keymapOf(page).map((entry) => {
    const row = document.createElement("tr");
    const [keys, says] = [document.createElement("th"), document.createElement("td")];
    keys.scope = "row";
    entry.keys.forEach((key, place) => keys.append(...(place ? [" or ", keyElement(key)] : [keyElement(key)])));
    says.textContent = entry.says;
    row.append(keys, says);
    return row;
  });
  const table = document.createElement("table");
  table.append(...rows);
  document.getElementById("keys-table").replaceChildren(table);
}

function showKeys() {
  const panel = document.getElementById("keys");
  if (panel.open) panel.close();
  else panel.showModal();
}

// Say whether what was done here is saved: `state` is saved, saving, offline or trouble; `text` is for people.
export function showSaveState(state, text) {
  const sign = document.getElementById("save-state");
  if (!sign || (sign.dataset.state === state && sign.textContent === text)) return;
  sign.dataset.state = state;
  sign.textContent = text;
}

// Start a page: `actions` are its functions by the names of the keymap.
export function startPage(actions = {}) {
  const page = document.body.dataset.page;
  document.body.dataset.started = "";
  fillPanel(page);
  listenForKeys(page, { showKeys, ...actions });
}

const own = document.querySelector("script[type=module]");
if (own && new URL(own.src).pathname === new URL(import.meta.url).pathname) startPage();
