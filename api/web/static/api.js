// Asking this server, with the cookie of the login. What goes wrong is said in the server's own words.

export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
  get isLogin() {
    return this.status === 401;
  }
  // Trying again may help: the server is busy, starting, or away behind its proxy.
  get mayPass() {
    return this.status >= 500 || this.status === 429;
  }
}

export class Unreachable extends Error {}

const TIMEOUT_MS = 10000;

// The answer as JSON. Throws Refusal when the server says no, Unreachable when there is no answer.
export async function call(method, path, { body, idempotencyKey, timeout = TIMEOUT_MS } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  let answer, text;
  try {
    answer = await fetch(document.body.dataset.root + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(timeout),
    });
    text = await answer.text();
  } catch {
    throw new Unreachable("The server does not answer.");
  }
  if (!answer.ok) throw new Refusal(answer.status, detailOf(text) ?? `The server answered ${answer.status}.`);
  return text ? JSON.parse(text) : null;
}

function detailOf(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return undefined;
  }
}
