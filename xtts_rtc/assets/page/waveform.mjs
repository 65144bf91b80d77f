// The picture of the sound: the loudest sample of every 10 ms, drawn as bars that fill as they are heard.

import { cleared } from "./canvas.mjs";

const PEAKS_PER_S = 100;
const LEAST_S = 4; // a short utterance does not fill the picture
const BAR_PX = 3;
const STEP_PX = 5;

export class Peaks {
  #perPeak;
  #peaks = [];
  #open = 0;
  #openSamples = 0;

  constructor(sampleRate) {
    this.#perPeak = sampleRate / PEAKS_PER_S;
  }

  get seconds() {
    return this.#peaks.length / PEAKS_PER_S;
  }

  push(samples) {
    for (const sample of samples) {
      this.#open = Math.max(this.#open, Math.abs(sample));
      this.#openSamples += 1;
      if (this.#openSamples >= this.#perPeak) {
        this.#peaks.push(this.#open);
        this.#open = this.#openSamples = 0;
      }
    }
  }

  /** `count` bars over `spanS` seconds, each the loudest in its time; bars without audio are null. */
  bars(count, spanS) {
    const perBar = (spanS * PEAKS_PER_S) / count;
    return Array.from({ length: count }, (_, bar) => {
      const begin = Math.floor(bar * perBar);
      return begin < this.#peaks.length ? this.#loudest(begin, Math.max(begin + 1, Math.floor((bar + 1) * perBar))) : null;
    });
  }

  #loudest(begin, end) {
    let loudest = 0;
    for (let index = begin; index < Math.min(end, this.#peaks.length); index += 1) {
      loudest = Math.max(loudest, this.#peaks[index]);
    }
    return loudest;
  }
}

/** Seconds that the picture shows: all there is, growing in steps so that it does not creep. */
export function spanOf(seconds) {
  let span = LEAST_S;
  while (span < seconds) span *= 1.5;
  return span;
}

/** Draw bars; those before `playedS` in `colours.heard`, the others in `colours.made`, none in `colours.none`. */
export function draw(canvas, peaks, playedS, colours) {
  const { pen, width, height } = cleared(canvas);
  const count = Math.floor(width / STEP_PX);
  const spanS = spanOf(peaks?.seconds ?? 0);
  const bars = peaks ? peaks.bars(count, spanS) : new Array(count).fill(null);
  bars.forEach((peak, index) => {
    const isHeard = ((index + 0.5) / count) * spanS < playedS;
    pen.fillStyle = peak === null ? colours.none : isHeard ? colours.heard : colours.made;
    // The square root shows quiet speech too: it is a picture, not a measurement.
    const length = Math.max(BAR_PX, Math.sqrt(Math.min(1, peak ?? 0)) * (height - BAR_PX));
    pen.beginPath();
    pen.roundRect(index * STEP_PX + (STEP_PX - BAR_PX) / 2, (height - length) / 2, BAR_PX, length, BAR_PX / 2);
    pen.fill();
  });
}
