// Plays one utterance at a time. In: samples, and a stop. Out: what was played, and room for more.

import { openOutput } from "./output.mjs";

const MAX_QUEUED_S = 10; // beyond this the page stops reading, and the server rests
const SLEEP_MS = 2000; // a phone need not keep its sound hardware on for silence

export class Player {
  #sampleRate;
  #context = null;
  #opening = null;
  #output = null;
  #sleep = null;
  #id = 0;
  #state = { phase: "over", queued: 0 };
  #waiters = [];
  #onState = () => {};

  constructor(sampleRate) {
    this.#sampleRate = sampleRate;
  }

  /** Call it inside the click: browsers start sound only there. */
  wake() {
    clearTimeout(this.#sleep);
    if (!this.#context) {
      this.#context = new AudioContext({ sampleRate: this.#sampleRate, latencyHint: "interactive" });
      this.#opening = openOutput(this.#context, (state) => this.#hear(state));
    }
    this.#opening = Promise.all([this.#opening, this.#context.resume()]).then(([output]) => output);
    this.#opening.catch(() => (this.#context = null)); // `begin` tells it; the next click tries again
  }

  /** A new utterance; onState gets {phase, played, queued, underruns} in samples. Rejects where there is no sound. */
  async begin(onState) {
    this.#id += 1;
    const id = this.#id;
    this.#state = { phase: "filling", queued: 0 };
    this.#onState = onState;
    const output = await this.#opening;
    this.#output = output;
    if (id === this.#id) this.#tell("begin", { startSamples: Math.round(output.startS * this.#sampleRate) });
  }

  /** Queue samples; resolves when there is room for more. */
  async push(samples) {
    this.#state.queued += samples.length;
    this.#tell("push", { samples }, [samples.buffer]);
    await this.#until(({ queued }) => queued < MAX_QUEUED_S * this.#sampleRate);
  }

  /** Nothing follows; resolves when the last sample was played. */
  async end() {
    this.#tell("end");
    await this.#until(() => false);
  }

  /** Silent within one block of 128 samples, softly. Whoever waits is let go; no state follows. */
  stop() {
    this.#tell("stop");
    this.#id += 1;
    this.#settle({ phase: "over", queued: 0 });
  }

  #tell(kind, more = {}, transfer = []) {
    this.#output?.post({ id: this.#id, kind, ...more }, transfer);
  }

  #hear({ id, ...state }) {
    if (id !== this.#id) return;
    this.#settle(state);
    this.#onState(state);
  }

  #settle(state) {
    this.#state = state;
    this.#waiters = this.#waiters.filter((isDone) => !isDone(state));
    if (state.phase === "over") {
      clearTimeout(this.#sleep);
      this.#sleep = setTimeout(() => this.#context?.suspend(), SLEEP_MS);
    }
  }

  /** Wait for a state, or for the end of the utterance. */
  #until(isFine) {
    const id = this.#id;
    const isDone = (state) => id !== this.#id || state.phase === "over" || isFine(state);
    if (isDone(this.#state)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.push((state) => {
        if (isDone(state)) resolve();
        return isDone(state);
      });
    });
  }
}
