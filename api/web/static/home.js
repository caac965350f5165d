// What wants attention, as it is now.

import { keepFresh } from "./live.js";
import { step } from "./rows.js";
import { startPage } from "./shell.js";

startPage({ next: () => step(1), previous: () => step(-1) });
keepFresh();
