// Every key of every page, once. Handlers, buttons and the panel that "?" opens are all made from this table.
//
// `keys`: what is typed ("g l" is one after the other); `action`: the name of the page's function; `with`: its argument;
// `goes`: the path of a page in place of an action; `says`: what it does, for people.

export const EVERYWHERE = [
  { keys: ["?", "F1"], action: "showKeys", says: "Show these keys" },
  { keys: ["g h"], goes: "/", says: "Go to Home" },
  { keys: ["g l"], goes: "/label", says: "Go to Label" },
];

export const PAGES = {
  home: [],
  login: [],
  problem: [],
  label: [],
};

export function keymapOf(page) {
  return [...(PAGES[page] ?? []), ...EVERYWHERE];
}
