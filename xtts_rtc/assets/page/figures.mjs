// Times of one utterance. In: moments in milliseconds and samples received. Out: what the page shows.

const LEAD_S = 2; // the server rests when it is far ahead of the listener; its speed is measured until then

export class Figures {
  #begun;
  #sampleRate;
  #samples = 0;
  #measured = null;
  firstAudioMs = null;
  heardMs = null;

  constructor(now, sampleRate) {
    this.#begun = now;
    this.#sampleRate = sampleRate;
  }

  get audioS() {
    return this.#samples / this.#sampleRate;
  }

  received(samples, now) {
    this.#samples += samples;
    const elapsedMs = now - this.#begun;
    this.firstAudioMs ??= elapsedMs;
    if (this.#measured === null || !this.#measured.isFinal) {
      const aheadS = this.audioS - (elapsedMs - this.firstAudioMs) / 1000;
      this.#measured = { elapsedMs, audioS: this.audioS, isFinal: aheadS >= LEAD_S };
    }
  }

  heard(now) {
    this.heardMs ??= now - this.#begun;
  }

  /** Seconds of waiting per second of audio, from the request on; under 1 keeps up. null before any audio. */
  get realTimeFactor() {
    return this.#measured && this.#measured.elapsedMs / 1000 / this.#measured.audioS;
  }
}

/** "182 ms", "1.24 s", or a dash. */
export function asTime(ms) {
  if (ms === null) return "–";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** "0.31", or a dash. */
export function asFactor(factor) {
  return factor === null ? "–" : factor.toFixed(2);
}

/** "3.4 s" under a minute, "2:05" over it. */
export function asLength(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
