// The server beside the call: what a caller may choose, and a new voice from a clip.

import { Problem, problemOfConnection } from "../page/problem.mjs";
import { Server } from "../page/server.mjs";
import { problemOfRefusal, problemOfUpload } from "./problems.mjs";

export class Desk {
  #fetch;
  #hasKey;
  #server;

  /** fetch adds the server's key to a request, where there is one (hasKey). */
  constructor({ fetch, hasKey = () => false }) {
    this.#fetch = fetch;
    this.#hasKey = hasKey;
    this.#server = new Server({ fetch, keyOf: () => "" });
  }

  /** {voices, languages, voice, language}: all there are, and which a call begins with. Throws Problem. */
  async choices() {
    const answer = await this.#ask("call", { cache: "no-store" });
    if (!answer.ok) throw await problemOfRefusal(answer, this.#hasKey());
    return { ...(await answer.json()), voices: await this.#server.voices() };
  }

  /** The report on a clip that is a voice from now on. Throws Problem. */
  async upload(clip, id) {
    const body = new FormData();
    body.append("clip", clip);
    const answer = await this.#ask(`v1/voices/${encodeURIComponent(id)}`, { method: "POST", body });
    if (!answer.ok) throw await problemOfUpload(answer);
    return (await answer.json()).check;
  }

  async #ask(path, options) {
    try {
      return await this.#fetch(path, options);
    } catch (error) {
      throw error instanceof Problem ? error : problemOfConnection(0);
    }
  }
}

/** A name for a voice from the name of a file: letters, digits, - and _ only. */
export function nameOf(file) {
  return file
    .replace(/\.[^.]*$/, "")
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/[^A-Za-z0-9_-]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 64);
}

/** The figures of a report in the words of the page: [label, value]. */
export function figuresOf(check) {
  return [
    ["Length", `${check.duration_s.toFixed(1)} s`],
    ["Over noise", `${Math.round(check.snr_db)} dB`],
    ["Clipped", `${(check.clipped_share * 100).toFixed(check.clipped_share && check.clipped_share < 0.01 ? 2 : 0)} %`],
    ["Loudness", `${Math.round(check.level_dbfs)} dB`],
    ["Pauses", `${Math.round(check.silence_share * 100)} %`],
    ["Rate", `${check.sample_rate / 1000} kHz`],
  ];
}
