// Where the time of a turn went, in the order in which it went. Out: steps that add up, and what a call was like.

/** Names are those of the event `turn`, without its `_ms`. */
export const STEPS = [
  { name: "end_of_turn", label: "End of turn", what: "Silence until it is sure that you have finished" },
  { name: "llm_first_token", label: "LLM", what: "Until the language model's first token" },
  { name: "first_clause", label: "Clause", what: "Until it has written enough to be spoken" },
  { name: "first_audio", label: "Voice", what: "Until the voice's first audio" },
  { name: "heard", label: "Heard", what: "Until you hear it: start buffer, network, this device's buffer" },
];

/** The steps of a `turn` event, each with its `ms` and `share` (0 to 1).
 *
 * The server's "heard" ends when the sound leaves it; wayMs, measured here, is how much later it was heard. */
export function splitOf(turn, wayMs = 0) {
  const steps = STEPS.map((step) => ({ ...step, ms: turn[`${step.name}_ms`] ?? 0 }));
  steps.at(-1).ms += wayMs;
  const totalMs = steps.reduce((sum, { ms }) => sum + ms, 0);
  return { totalMs, steps: steps.map((step) => ({ ...step, share: totalMs ? step.ms / totalMs : 0 })) };
}

/** The middle one of some numbers, or null. */
export function median(numbers) {
  if (!numbers.length) return null;
  const sorted = [...numbers].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** How long the sound was on its way that a `turn` event announced: from that event to the first loud moment. */
export class WayClock {
  #since = null;
  #onFound = null;

  /** onFound(ms) is called once, unless the sound does not come within a second. */
  begin(now, onFound) {
    this.#since = now;
    this.#onFound = onFound;
  }

  /** The level of the agent's sound at a moment, 0 to 1. */
  level(now, peak) {
    if (this.#since === null) return;
    const ms = now - this.#since;
    if (ms > MAX_WAY_MS) this.#since = null;
    else if (ms >= 0 && peak >= AUDIBLE) {
      this.#since = null;
      this.#onFound(ms);
    }
  }
}

const MAX_WAY_MS = 1000;
const AUDIBLE = 0.01; // -40 dBFS, far over the idle noise of Opus
