// On the audio thread: how loud both sides are, every 21 ms. Nothing of the sound itself leaves it.

const REPORT_SAMPLES = 1024;

export class Level {
  #peaks = [0, 0];
  #samples = 0;
  #report;

  constructor(report) {
    this.#report = report;
  }

  /** sides: one block of the agent and one of the caller, each an array of channels (empty while there is none). */
  hear(sides) {
    sides.forEach(([block], side) => {
      for (const sample of block ?? []) this.#peaks[side] = Math.max(this.#peaks[side], Math.abs(sample));
    });
    this.#samples += 128;
    if (this.#samples < REPORT_SAMPLES) return;
    const [agent, caller] = this.#peaks;
    this.#report({ agent, caller });
    this.#peaks = [0, 0];
    this.#samples = 0;
  }
}

if (globalThis.registerProcessor) {
  class LevelProcessor extends AudioWorkletProcessor {
    #level = new Level((levels) => this.port.postMessage(levels));

    process(inputs) {
      this.#level.hear(inputs);
      return true;
    }
  }
  registerProcessor("level", LevelProcessor);
}
