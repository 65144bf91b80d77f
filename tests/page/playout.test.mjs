import assert from "node:assert/strict";
import { test } from "node:test";

import { Desk, Playout } from "../../xtts_rtc/assets/page/playout.mjs";

const BLOCK = 128;

function ones(count) {
  return new Float32Array(count).fill(1);
}

function noise(count, seed) {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state / 1073741824 - 1;
  });
}

function render(playout, blocks = 1) {
  const heard = [];
  for (let count = 0; count < blocks; count += 1) {
    const block = new Float32Array(BLOCK).fill(9); // what was there before must not be heard
    playout.render(block);
    heard.push(...block);
  }
  return heard;
}

test("nothing is heard before the start buffer is full", () => {
  const playout = new Playout(300);
  playout.push(ones(299));
  assert.deepEqual(render(playout), Array(BLOCK).fill(0));
  playout.push(ones(1));
  assert.deepEqual(render(playout), Array(BLOCK).fill(1));
});

test("a text shorter than the start buffer is heard when it has ended", () => {
  const playout = new Playout(10000);
  playout.push(ones(5));
  playout.end();
  assert.deepEqual(render(playout).slice(0, 7), [1, 1, 1, 1, 1, 0, 0]);
  assert.equal(playout.phase, "over");
  assert.equal(playout.played, 5);
});

test("pieces of any size come out as they went in, sample for sample", () => {
  const playout = new Playout(0);
  const sizes = [1, 127, 128, 129, 1000, 3, 0, 512];
  const pieces = sizes.map((size, seed) => noise(size, seed + 1));
  for (const piece of pieces) playout.push(piece);
  playout.end();
  const wanted = pieces.flatMap((piece) => [...piece]);
  const heard = render(playout, 40);
  assert.deepEqual(heard.slice(0, wanted.length), wanted);
  assert.ok(heard.slice(wanted.length).every((sample) => sample === 0));
  assert.equal(playout.underruns, 0);
});

test("a stop is silence after one block, without a step", () => {
  const playout = new Playout(0);
  playout.push(ones(5000));
  render(playout);
  playout.stop();
  const fading = render(playout);
  const steps = fading.map((sample, index) => Math.abs(sample - (index ? fading[index - 1] : 1)));
  assert.ok(Math.max(...steps) < 0.01);
  assert.equal(fading.at(-1), 0);
  assert.equal(playout.phase, "over");
  playout.push(ones(500));
  assert.ok(render(playout, 5).every((sample) => sample === 0));
});

test("a stop before the first sound is silence at once", () => {
  const playout = new Playout(300);
  playout.push(ones(200));
  playout.stop();
  assert.equal(playout.phase, "over");
  assert.ok(render(playout, 5).every((sample) => sample === 0));
});

test("running dry is counted once, fades both ways, and waits for a start buffer again", () => {
  const playout = new Playout(256);
  playout.push(ones(300));
  const first = render(playout, 3);
  assert.equal(first[299], 0);
  assert.ok(Math.abs(first[298] - first[297]) < 0.03);
  assert.equal(playout.phase, "filling");
  playout.push(ones(200));
  assert.ok(render(playout, 3).every((sample) => sample === 0));
  playout.push(ones(2000));
  const second = render(playout, 2);
  assert.ok(second[0] < 0.01 && second[BLOCK] === 1);
  assert.equal(playout.underruns, 1);
});

test("a pause between the last sample and the end of the stream is no underrun", () => {
  const playout = new Playout(0);
  playout.push(ones(256));
  render(playout, 4);
  playout.end();
  render(playout, 1);
  assert.equal(playout.underruns, 0);
  assert.equal(playout.phase, "over");
});

test("the desk reports each utterance under its own number and ignores the others", () => {
  const reports = [];
  const desk = new Desk((report) => reports.push(report));
  const block = new Float32Array(BLOCK);
  desk.render(block);
  desk.obey({ id: 1, kind: "begin", startSamples: 0 });
  desk.obey({ id: 1, kind: "push", samples: ones(100) });
  desk.obey({ id: 2, kind: "begin", startSamples: 0 });
  desk.obey({ id: 1, kind: "push", samples: ones(100) });
  desk.obey({ id: 1, kind: "stop" });
  desk.obey({ id: 2, kind: "push", samples: ones(50) });
  desk.obey({ id: 2, kind: "end" });
  desk.render(block);
  assert.deepEqual(reports, [{ id: 2, phase: "over", played: 50, queued: 0, underruns: 0 }]);
  desk.render(block);
  assert.equal(reports.length, 1);
});
