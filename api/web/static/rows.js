// Going through the rows of a list with keys: the chosen one has the focus, so that Enter opens it.

export function step(by) {
  const rows = [...document.querySelectorAll("a.row")];
  if (!rows.length) return;
  const place = rows.indexOf(document.activeElement?.closest("li, tr")?.querySelector("a.row"));
  const next = place < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(place + by, 0), rows.length - 1);
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}
