// The server as the page sees it: the voices it has, and speech as a stream of samples.

import { PcmDecoder, rateOf } from "./pcm.mjs";
import { Problem, problemOfAnswer, problemOfConnection } from "./problem.mjs";

export const SAMPLE_RATE = 24000;

export class Server {
  #fetch;
  #keyOf;

  /** keyOf gives the key to send, or an empty text. Addresses are relative: the page may live under a prefix. */
  constructor({ fetch, keyOf }) {
    this.#fetch = fetch;
    this.#keyOf = keyOf;
  }

  /** The ids of the voices. Throws Problem. */
  async voices() {
    const answer = await this.#ask("v1/voices", {});
    const { voices } = await answer.json().catch(() => ({}));
    if (!Array.isArray(voices)) throw new Problem({ title: "No voice list", detail: "This is not an xtts-rtc server." });
    return voices.map(({ id }) => id);
  }

  /** Yields Float32Array pieces at SAMPLE_RATE as they are made. Throws Problem, or AbortError after an abort. */
  async *speak({ text, voice, language }, signal) {
    const body = JSON.stringify({ text, speaker: voice, language, format: "pcm", sample_rate: SAMPLE_RATE });
    const answer = await this.#ask("tts_stream", { method: "POST", body, signal });
    if (rateOf(answer.headers.get("content-type"), SAMPLE_RATE) !== SAMPLE_RATE) {
      throw new Problem({ title: "Unknown sound", detail: "The server sent another sample rate than was asked for." });
    }
    const decoder = new PcmDecoder();
    const reader = answer.body.getReader();
    let received = 0;
    try {
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        const samples = decoder.push(piece.value);
        received += samples.length;
        if (samples.length) yield samples;
      }
    } catch (error) {
      throw signal.aborted ? error : problemOfConnection(received / SAMPLE_RATE);
    } finally {
      reader.releaseLock();
    }
  }

  async #ask(path, options) {
    const key = this.#keyOf();
    const headers = {};
    if (key) headers.Authorization = `Bearer ${key}`;
    if (options.body) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await this.#fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      throw options.signal?.aborted ? error : problemOfConnection(0);
    }
    if (!answer.ok) throw await problemOfAnswer(answer, Boolean(key));
    return answer;
  }
}
