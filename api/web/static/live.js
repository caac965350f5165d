// Parts of a page that show what is so now: the server is asked for the same page again, and what changed is put in
// place, so that there is one telling of the facts. Parts have `data-live` and an id; while the page has a `data-again`,
// it goes on.

import { showSaveState } from "./shell.js";

const EVERY_MS = 2000; // unless `data-again` says how many
const AWAY_MS = 5000;

async function fetchPage() {
  const answer = await fetch(window.location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(10000) });
  if (answer.status === 401) window.location.reload(); // the form for logging in, which leads back here
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function putInPlace(fresh) {
  const focused = document.activeElement?.id;
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (!now || now.outerHTML === part.outerHTML) continue;
    const { scrollTop } = part;
    const wasAtEnd = scrollTop + part.clientHeight >= part.scrollHeight - 4;
    part.replaceWith(now);
    now.scrollTop = wasAtEnd ? now.scrollHeight : scrollTop;
  }
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// Ask now; true when an answer came.
export async function refresh() {
  try {
    putInPlace(await fetchPage());
    showSaveState("", "");
    return true;
  } catch {
    showSaveState("offline", "No connection: this may be old");
    return false;
  }
}

export async function keepFresh() {
  let isAway = false;
  for (let part; (part = document.querySelector("[data-again]")); ) {
    const pause = Number(part.dataset.again) || EVERY_MS;
    await new Promise((resolve) => setTimeout(resolve, isAway ? AWAY_MS : pause));
    if (!document.hidden) isAway = !(await refresh());
  }
}
