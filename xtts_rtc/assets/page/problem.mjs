// What went wrong, in the words of the page: a title, what to do, and whether a key is asked for.

const TITLES = {
  400: "This cannot be spoken",
  401: "This server asks for a key",
  404: "The voice was not found",
  413: "The text is too long",
  422: "The server cannot do this",
  429: "Every stream is taken",
  503: "The server is not ready",
};

const ADVICE = {
  401: "Enter it below. It stays in this tab and is forgotten when you close it.",
  429: "Others are speaking right now.",
  503: "It is still loading, or it is shutting down. Try again in a moment.",
};

export class Problem extends Error {
  /** status: of the HTTP answer, 0 without one; isAsking: nothing failed, something is needed first. */
  constructor({ title, detail, status = 0, wantsKey = false, isAsking = false }) {
    super(`${title}: ${detail}`);
    Object.assign(this, { title, detail, status, wantsKey, isAsking });
  }
}

/** From an HTTP answer that is not a success. hasKey: a key was sent with the request. */
export async function problemOfAnswer(answer, hasKey) {
  const { status } = answer;
  const said = await saidBy(answer);
  if (status === 401) {
    const title = hasKey ? "The server refused this key" : TITLES[401];
    return new Problem({ title, detail: ADVICE[401], status, wantsKey: true, isAsking: !hasKey });
  }
  const title = TITLES[status] ?? (status >= 500 ? "The server failed" : "The server refused this");
  if (status === 429) {
    return new Problem({ title, detail: `${ADVICE[429]} ${again(answer.headers.get("retry-after"))}`, status });
  }
  return new Problem({ title, detail: said || ADVICE[status] || `It answered with status ${status}.`, status });
}

/** From a connection that failed, after so many seconds of audio (0: before any). */
export function problemOfConnection(receivedS) {
  if (receivedS > 0) {
    const detail = `The connection broke off after ${receivedS.toFixed(1)} s of speech, or the server gave up. Speak again.`;
    return new Problem({ title: "The speech was cut off", detail });
  }
  return new Problem({
    title: "No connection to the server",
    detail: "Check that it is running and that this device is online, then try again.",
  });
}

/** From sound that cannot be played on this device. */
export function problemOfSound() {
  return new Problem({
    title: "This browser cannot play it",
    detail: "It needs Web Audio with AudioWorklet, on https or localhost. Use a current browser.",
  });
}

async function saidBy(answer) {
  try {
    const { error } = await answer.json();
    return typeof error === "string" ? sentence(error) : "";
  } catch {
    return "";
  }
}

export function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

export function again(retryAfter) {
  const seconds = Number(retryAfter);
  if (!retryAfter || !Number.isFinite(seconds)) return "Try again in a moment.";
  return `Try again in ${Math.max(1, Math.ceil(seconds))} s.`;
}
