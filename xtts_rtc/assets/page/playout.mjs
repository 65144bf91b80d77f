// What the audio thread plays: a queue that starts with a small buffer, counts its underruns, and stops softly.
//
// This file is loaded into the AudioWorklet and imports nothing, so that every browser takes it there.

const REPORT_EVERY = 6; // blocks of 128 samples: about 30 reports a second at 24 kHz

export class Playout {
  #startSamples;
  #pieces = [];
  #offset = 0;
  #isEnded = false;
  #isResuming = false;

  /** startSamples: how much has to wait before the first sound, and again after an underrun. */
  constructor(startSamples) {
    this.#startSamples = startSamples;
    this.played = 0;
    this.queued = 0;
    this.underruns = 0;
    this.phase = "filling"; // filling, playing, stopping, over
  }

  push(samples) {
    if (samples.length && !this.#isEnded && (this.phase === "filling" || this.phase === "playing")) {
      this.#pieces.push(samples);
      this.queued += samples.length;
    }
  }

  /** Nothing follows: what waits is played to its last sample. */
  end() {
    this.#isEnded = true;
  }

  /** Silence: the next block fades to zero, the rest is dropped. */
  stop() {
    if (this.phase === "playing") this.phase = "stopping";
    if (this.phase === "filling") this.#finish();
  }

  /** Fill one block. True when the phase changed. */
  render(block) {
    const before = this.phase;
    block.fill(0);
    if (this.phase === "filling" && (this.#isEnded || this.queued >= this.#startSamples)) this.phase = "playing";
    if (this.phase === "playing" || this.phase === "stopping") this.#play(block);
    return this.phase !== before;
  }

  #play(block) {
    const isDry = this.queued <= block.length;
    const count = this.#take(block);
    this.played += count;
    if (this.#isResuming && count) {
      this.underruns += 1; // counted here, not when it ran dry: a gap after the last sample is the end, not an underrun
      this.#isResuming = false;
      ramp(block, count, 0, 1);
    }
    if (this.phase === "stopping") {
      ramp(block, count, 1, 0);
      this.#finish();
    } else if (isDry && this.#isEnded) {
      this.#finish();
    } else if (isDry) {
      ramp(block, count, 1, 0); // no click, then silence until there is a start buffer again
      this.#isResuming = true;
      this.phase = "filling";
    }
  }

  #take(block) {
    let count = 0;
    while (count < block.length && this.#pieces.length) {
      const piece = this.#pieces[0];
      const part = piece.subarray(this.#offset, this.#offset + block.length - count);
      block.set(part, count);
      count += part.length;
      this.#offset += part.length;
      if (this.#offset === piece.length) {
        this.#pieces.shift();
        this.#offset = 0;
      }
    }
    this.queued -= count;
    return count;
  }

  #finish() {
    this.phase = "over";
    this.#pieces = [];
    this.queued = 0;
  }
}

/** A `Playout` behind messages: begin, push, end, stop of one utterance at a time; reports {id, phase, ...}. */
export class Desk {
  #playout = null;
  #id = 0;
  #blocks = 0;
  #report;

  constructor(report) {
    this.#report = report;
  }

  obey({ id, kind, samples, startSamples }) {
    if (kind === "begin") {
      this.#playout = new Playout(startSamples);
      this.#id = id;
    }
    if (!this.#playout || id !== this.#id) return;
    if (kind === "push") this.#playout.push(samples);
    if (kind === "end") this.#playout.end();
    if (kind === "stop") this.#playout.stop();
    if (this.#playout.phase === "over") this.#tell();
  }

  render(block) {
    if (!this.#playout || this.#playout.phase === "over") {
      block.fill(0);
      return;
    }
    const isNews = this.#playout.render(block);
    this.#blocks = (this.#blocks + 1) % REPORT_EVERY;
    if (isNews || this.#blocks === 0) this.#tell();
  }

  #tell() {
    const { phase, played, queued, underruns } = this.#playout;
    this.#report({ id: this.#id, phase, played, queued, underruns });
  }
}

function ramp(block, count, from, to) {
  for (let index = 0; index < count; index += 1) {
    block[index] *= from + ((to - from) * (index + 1)) / count;
  }
}

if (globalThis.registerProcessor) {
  class PlayoutProcessor extends AudioWorkletProcessor {
    #desk = new Desk((state) => this.port.postMessage(state));

    constructor() {
      super();
      this.port.onmessage = ({ data }) => this.#desk.obey(data);
    }

    process(inputs, [[block]]) {
      this.#desk.render(block);
      return true;
    }
  }
  registerProcessor("playout", PlayoutProcessor);
}
