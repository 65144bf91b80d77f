// The last seconds of both sides in one picture: the agent above the line, the caller below, a mark at each cut.

import { cleared } from "../page/canvas.mjs";

const LEVELS_PER_BAR = 4; // of 21 ms each
const MOST_BARS = 400;
const STEP_PX = 5;
const BAR_PX = 3;
const LEAST = 0.012; // room noise and Opus' idle noise are no speech

export class Timeline {
  /** {agent, caller, isCut}, oldest first; levels are 0 to 1. */
  bars = [];
  #count = 0;
  #silent = null;

  /** How far the newest bar has come, 0 to 1. */
  get progress() {
    return (this.#count % LEVELS_PER_BAR) / LEVELS_PER_BAR;
  }

  push({ agent, caller }) {
    if (this.#count % LEVELS_PER_BAR === 0) {
      this.bars.push({ agent: 0, caller: 0, isCut: false });
      if (this.bars.length > MOST_BARS) this.bars.shift();
    }
    this.#count += 1;
    const bar = this.bars.at(-1);
    bar.agent = Math.max(bar.agent, agent);
    bar.caller = Math.max(bar.caller, caller);
  }

  /** The agent has fallen silent: perhaps it was cut here, which it knows only when it has understood the caller. */
  fallSilent() {
    this.#silent = this.bars.at(-1) ?? null;
  }

  markCut() {
    const bar = this.#silent ?? this.bars.at(-1);
    if (bar) bar.isCut = true;
  }
}

/** The height of a level, 0 to 1: the square root shows quiet speech too. */
export function heightOf(level) {
  return level < LEAST ? 0 : Math.sqrt(Math.min(1, level));
}

/** Draw what fits, the newest at the right. colours: {agent, caller, none, cut}. */
export function draw(canvas, timeline, colours) {
  const { pen, width, height } = cleared(canvas);
  const middle = height / 2;
  const most = middle - 6;
  for (let place = 0; place <= width / STEP_PX + 1; place += 1) {
    const bar = timeline.bars.at(-1 - place) ?? null;
    const x = width - (place + timeline.progress) * STEP_PX - BAR_PX;
    const up = heightOf(bar?.agent ?? 0) * most;
    const down = heightOf(bar?.caller ?? 0) * most;
    paint(pen, x, middle - 2 - up, up, colours.agent);
    paint(pen, x, middle + 2, down, colours.caller);
    if (!up && !down) paint(pen, x, middle - BAR_PX / 2, BAR_PX, colours.none);
    if (bar?.isCut) paint(pen, x + BAR_PX / 2 - 1, 0, height, colours.cut, 2);
  }
}

function paint(pen, x, y, height, colour, width = BAR_PX) {
  if (!height) return;
  pen.fillStyle = colour;
  pen.beginPath();
  pen.roundRect(x, y, width, Math.max(height, width), width / 2);
  pen.fill();
}
