// Going through webcams and their frames with keys.

import { step } from "./rows.js";
import { startPage } from "./shell.js";

function scroll(by) {
  const strip = document.querySelector(".strip");
  if (!strip) return;
  strip.focus({ preventScroll: true });
  strip.scrollBy({ left: by * strip.firstElementChild.offsetWidth * 2 });
}

startPage({ next: () => step(1), previous: () => step(-1), filter: () => document.getElementById("region")?.focus(), scroll });
