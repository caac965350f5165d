// From key presses and buttons to a page's functions, by the table of keymap.js.

import { keymapOf } from "./keymap.js";

const SEQUENCE_MS = 1500; // between the two keys of "g l"
const TYPING = "input, textarea, select, [contenteditable]";
const PRESSABLE = "button, a[href], summary";

let afterFirst = { key: "", until: 0 };

// What a press means, whatever the layout: on some, digits need Shift, and letters are not Latin.
export function keyOf(event) {
  const physical = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
  if (physical && !event.shiftKey) return physical;
  if (event.key.length !== 1) return event.key;
  const letter = /^Key([A-Z])$/.exec(event.code)?.[1];
  const isLatin = /^[\x20-\x7e]$/.test(event.key);
  return (isLatin ? event.key : (letter ?? event.key)).toLowerCase();
}

// Typing, and Space or Enter on what they press anyway, belong to the browser.
function isSomebodyElses(event, key) {
  if (event.defaultPrevented || event.isComposing || event.altKey || event.metaKey) return true;
  if (event.ctrlKey && key !== "z") return true;
  const target = event.target instanceof Element ? event.target : document.body;
  if (target.closest(TYPING)) return true;
  if (document.querySelector("dialog[open]") && key !== "?") return true;
  return (key === " " || key === "Enter") && target.closest(PRESSABLE) !== null;
}

function entryFor(table, key, now) {
  const pair = now < afterFirst.until ? `${afterFirst.key} ${key}` : null;
  const found = table.find((entry) => entry.keys.includes(pair)) ?? table.find((entry) => entry.keys.includes(key));
  const isFirst = table.some((entry) => entry.keys.some((each) => each.startsWith(`${key} `)));
  afterFirst = !found && isFirst ? { key, until: now + SEQUENCE_MS } : { key: "", until: 0 };
  return found;
}

function run(entry, actions, event) {
  if (entry.goes !== undefined) window.location.assign(document.body.dataset.root + entry.goes);
  else actions[entry.action]?.(entry.with, event);
}

function onKey(table, actions, event) {
  const key = keyOf(event);
  if (isSomebodyElses(event, key)) return;
  const entry = entryFor(table, key, event.timeStamp);
  if (!entry) return;
  event.preventDefault();
  if (!event.repeat) run(entry, actions, event); // a key that is held down is one press
}

function onClick(table, actions, event) {
  const button = event.target instanceof Element ? event.target.closest("[data-action]") : null;
  if (!button) return;
  const entry = table.find((each) => isEntryOf(each, button));
  if (!entry) return;
  if (event.detail > 0) button.blur(); // after a mouse or a finger, Space shall not press it again
  run(entry, actions, event);
}

const isEntryOf = (entry, button) =>
  entry.action === button.dataset.action && String(entry.with ?? "") === (button.dataset.with ?? "");

export const nameOfKey = (key) => (key === " " ? "Space" : key.length === 1 ? key.toUpperCase() : key);

export function keyElement(key) {
  const found = document.createElement("kbd");
  found.textContent = key.split(/(?<=.) /).map(nameOfKey).join(" ");
  return found;
}

// Have a page's functions called: `actions` has one for each `action` of the page in the keymap.
export function listenForKeys(page, actions) {
  const table = keymapOf(page);
  document.addEventListener("keydown", (event) => onKey(table, actions, event));
  document.addEventListener("click", (event) => onClick(table, actions, event));
  for (const button of document.querySelectorAll("[data-action]")) {
    const entry = table.find((each) => isEntryOf(each, button));
    if (!entry) continue;
    button.setAttribute("aria-keyshortcuts", nameOfKey(entry.keys[0]));
    button.title = `${entry.says} (${nameOfKey(entry.keys[0])})`;
    button.querySelector("[data-key]")?.replaceChildren(keyElement(entry.keys[0]));
  }
}
