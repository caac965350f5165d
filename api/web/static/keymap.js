// Every key of every page, once. Handlers, buttons and the panel that "?" opens are all made from this table.
//
// `keys`: what is typed ("g l" is one after the other); `action`: the name of the page's function; `with`: its argument;
// `goes`: the path of a page in place of an action; `says`: what it does, for people.

export const EVERYWHERE = [
  { keys: ["?", "F1"], action: "showKeys", says: "Show these keys" },
  { keys: ["g h"], goes: "/", says: "Go to Home" },
  { keys: ["g l"], goes: "/label", says: "Go to Label" },
  { keys: ["g w"], goes: "/webcams", says: "Go to Webcams" },
  { keys: ["g m"], goes: "/models", says: "Go to Models" },
  { keys: ["g e"], goes: "/evaluations", says: "Go to Evaluations" },
  { keys: ["g j"], goes: "/jobs", says: "Go to Jobs" },
];

export const PAGES = {
  home: [
    { keys: ["ArrowDown", "j"], action: "next", says: "Next one; Enter goes there" },
    { keys: ["ArrowUp", "k"], action: "previous", says: "One before" },
  ],
  login: [],
  problem: [],
  label: [
    { keys: ["1"], action: "rate", with: 1, says: "1 star: nothing" },
    { keys: ["2"], action: "rate", with: 2, says: "2 stars: a trace of colour" },
    { keys: ["3"], action: "rate", with: 3, says: "3 stars: real but unremarkable" },
    { keys: ["4"], action: "rate", with: 4, says: "4 stars: vivid, would be shown" },
    { keys: ["5"], action: "rate", with: 5, says: "5 stars: spectacular and rare" },
    { keys: ["n", "0"], action: "rate", with: 0, says: "Not a sunset" },
    { keys: [" "], action: "skip", says: "Skip: nothing is written" },
    { keys: ["z"], action: "undo", says: "Take back the last answer" },
    { keys: ["m"], action: "peek", says: "Show what the model says first; the rating records it" },
  ],
  jobs: [
    { keys: ["ArrowDown", "j"], action: "next", says: "Next job" },
    { keys: ["ArrowUp", "k"], action: "previous", says: "Job before" },
    { keys: ["r"], action: "retry", says: "Try the chosen job again" },
    { keys: ["c"], action: "cancel", says: "Cancel the chosen job" },
  ],
  webcams: [
    { keys: ["ArrowRight", "ArrowDown", "j"], action: "next", says: "Next webcam; Enter opens it" },
    { keys: ["ArrowLeft", "ArrowUp", "k"], action: "previous", says: "Webcam before" },
    { keys: ["f"], action: "filter", says: "Choose which are shown" },
  ],
  webcam: [
    { keys: ["ArrowRight", "j"], action: "scroll", with: 1, says: "Older frames" },
    { keys: ["ArrowLeft", "k"], action: "scroll", with: -1, says: "Newer frames" },
  ],
  models: [
    { keys: ["ArrowDown", "j"], action: "next", says: "Next version" },
    { keys: ["ArrowUp", "k"], action: "previous", says: "Version before" },
    { keys: ["d"], action: "compare", says: "Compare two versions" },
  ],
  model: [
    { keys: ["p"], action: "ask", with: "promote", says: "Promote this version: asks first" },
    { keys: ["b"], action: "ask", with: "rollback", says: "Roll back to the version before: asks first" },
    { keys: ["e"], action: "follow", with: "report", says: "Open the report" },
    { keys: ["d"], action: "follow", with: "comparison", says: "Compare with the version that serves" },
  ],
  evaluations: [
    { keys: ["ArrowDown", "j"], action: "next", says: "Next report; Enter opens it" },
    { keys: ["ArrowUp", "k"], action: "previous", says: "Report before" },
    { keys: ["d"], action: "disagreements", says: "Go to the disagreements" },
  ],
  disagreements: [
    { keys: ["ArrowRight", "ArrowDown", "j"], action: "next", says: "Next frame" },
    { keys: ["ArrowLeft", "ArrowUp", "k"], action: "previous", says: "Frame before" },
    { keys: ["x"], action: "triage", with: "dismissed", says: "Dismiss the chosen frame: nobody need look at it" },
    { keys: ["o"], action: "triage", with: "open", says: "Have the chosen frame wait again" },
    { keys: ["u"], action: "triage", with: "urgent", says: "Bring the chosen frame first" },
    { keys: ["f"], action: "filter", says: "Choose which are shown" },
  ],
  comparison: [{ keys: ["d"], action: "compare", says: "Choose two versions" }],
  job: [
    { keys: ["r"], action: "retry", says: "Try this job again" },
    { keys: ["c"], action: "cancel", says: "Cancel this job" },
  ],
};

export function keymapOf(page) {
  return [...(PAGES[page] ?? []), ...EVERYWHERE];
}
