// One click on Speak: reads the stream, feeds the player, keeps the figures; ends as done, stopped or failed.

import { Figures } from "./figures.mjs";
import { Problem, problemOfSound } from "./problem.mjs";
import { SAMPLE_RATE } from "./server.mjs";
import { Peaks } from "./waveform.mjs";

export class Utterance {
  state = "waiting"; // waiting, speaking, done, stopped, failed
  problem = null;
  played = 0;
  underruns = 0;
  peaks = new Peaks(SAMPLE_RATE);
  #abort = new AbortController();
  #server;
  #player;
  #now;
  #onChange;

  constructor({ server, player, now, onChange }) {
    this.#server = server;
    this.#player = player;
    this.#now = now;
    this.#onChange = onChange;
    this.figures = new Figures(now(), SAMPLE_RATE);
  }

  get isOver() {
    return ["done", "stopped", "failed"].includes(this.state);
  }

  get playedS() {
    return this.played / SAMPLE_RATE;
  }

  /** Until the last sample was played. Never throws: what went wrong is in `problem`. */
  async run(request) {
    const opening = this.#player.begin((state) => this.#follow(state));
    opening.catch((error) => this.#abort.abort(error)); // without sound there is nothing to wait for
    try {
      for await (const samples of this.#server.speak(request, this.#abort.signal)) {
        this.figures.received(samples.length, this.#now());
        this.peaks.push(samples);
        this.#onChange(this);
        await opening;
        if (this.isOver) return; // stopped meanwhile: the player may serve the next one already
        await this.#player.push(samples);
      }
      await opening;
    } catch (error) {
      this.#fail(error);
    }
    if (this.isOver) return;
    await this.#player.end(); // also after a failure: what has arrived is played
    this.#become(this.problem ? "failed" : "done");
  }

  /** Silence first, then the request goes, and with it the work on the server. */
  stop() {
    if (this.isOver) return;
    this.#player.stop();
    this.#abort.abort();
    this.#become("stopped");
  }

  #follow({ phase, played, underruns }) {
    if (this.isOver) return;
    this.played = played;
    this.underruns = underruns;
    if (played > 0) {
      this.figures.heard(this.#now());
      if (this.state === "waiting" && phase !== "over") this.state = "speaking";
    }
    this.#onChange(this);
  }

  #fail(error) {
    if (this.isOver) return; // a stop ends the request with an error of its own
    if (!(error instanceof Problem)) console.error(error);
    this.problem = error instanceof Problem ? error : problemOfSound();
    this.#abort.abort();
    if (this.figures.firstAudioMs === null || !(error instanceof Problem)) this.#become("failed");
    this.#onChange(this);
  }

  #become(state) {
    if (this.isOver) return;
    this.state = state;
    this.#onChange(this);
  }
}
