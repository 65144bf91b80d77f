// Every way in which a call does not come about, or breaks off: plain words, and what to do.

import { asLength } from "../page/figures.mjs";
import { Problem, again, problemOfAnswer, sentence } from "../page/problem.mjs";

const MICROPHONE = {
  NotAllowedError: {
    title: "The microphone is blocked",
    detail: "Allow it for this page (the sign beside the address), then call again. Nothing is recorded.",
  },
  NotFoundError: {
    title: "No microphone was found",
    detail: "Plug one in or switch it on, then call again.",
  },
  NotReadableError: {
    title: "The microphone is busy",
    detail: "Another program holds it. Close that one, then call again.",
  },
};

/** Before anything is asked for: null, or why this page can never hear. */
export function problemOfPage({ isSecureContext, hasMicrophones, hasCalls, address }) {
  if (!isSecureContext) {
    const detail = `Browsers give the microphone to https and localhost only, and this page came from ${address}. Open it on the machine that runs it, or put https in front.`;
    return new Problem({ title: "No microphone over plain http", detail });
  }
  if (hasMicrophones && hasCalls) return null;
  return new Problem({ title: "This browser cannot call", detail: "It needs WebRTC and a microphone. Use a current browser." });
}

/** From what getUserMedia threw. */
export function problemOfMicrophone(error) {
  const known = { SecurityError: "NotAllowedError", OverconstrainedError: "NotFoundError", AbortError: "NotReadableError" };
  const words = MICROPHONE[known[error.name] ?? error.name];
  return new Problem(words ?? { title: "The microphone does not start", detail: `The browser says: ${error.message || error.name}.` });
}

/** From an answer to a call that is not a success. hasKey: a key was sent with it. */
export async function problemOfRefusal(answer, hasKey = false) {
  const { code } = await answer.clone().json().catch(() => ({}));
  if (answer.status !== 429 && code !== "lines_busy") return problemOfAnswer(answer, hasKey);
  const detail = `Others are talking with it right now. ${again(answer.headers.get("retry-after"))}`;
  return new Problem({ title: "Every line is taken", detail, status: answer.status });
}

/** From an answer to a clip. */
export async function problemOfUpload(answer) {
  const { code } = await answer.clone().json().catch(() => ({}));
  const problem = await problemOfAnswer(answer, false);
  const titles = { bad_clip: "This clip cannot be used", voice_taken: "There is a voice of this name", forbidden: "Voices cannot be added here" };
  const title = titles[code] ?? (answer.status === 413 ? "The clip is too large" : "The clip was refused");
  return new Problem({ ...problem, title: answer.status >= 500 ? problem.title : title });
}

export const UNREACHABLE = {
  title: "The call did not get through",
  detail: "The server answered, but no sound came from it. A firewall or a VPN may block UDP between you.",
};
export const MICROPHONE_GONE = {
  title: "The microphone is gone",
  detail: "It was unplugged or switched off, or the permission was taken back. Call again.",
};
export const SERVER_GONE = { title: "No connection to the server", detail: "Check that it is running, then call again." };

/** From a call that ended by itself after so many seconds; why: lost, closed, idle, failed. */
export function problemOfEnd(why, seconds) {
  const lasted = `The call lasted ${asLength(seconds)}.`;
  const words = {
    lost: { title: "The connection was lost", detail: `Nothing comes from the server any more. ${lasted} Check the network, then call again.` },
    closed: { title: "The server ended the call", detail: `It was stopped, or the call was too long. ${lasted} Call again.` },
    idle: { title: "It hung up", detail: `Nobody had spoken for a while. ${lasted}`, isAsking: true },
    failed: { title: "The server ended the call", detail: `The agent could not go on; the server's log says why. ${lasted} Call again.` },
  };
  return new Problem(words[why]);
}

/** From an event `error` of the agent; what a caller may do about it. */
export function problemOfAgent({ code, message }) {
  const titles = { voice_not_found: "The voice was not found", unknown_language: "It does not speak this language" };
  const detail = titles[code] ? sentence(message) : `${sentence(message)} Go on talking, or call again.`;
  return new Problem({ title: titles[code] ?? "The agent has a problem", detail });
}
