import assert from "node:assert/strict";
import { test } from "node:test";

import { STEPS, WayClock, median, splitOf } from "../../xtts_rtc/assets/call/latency.mjs";
import { Level } from "../../xtts_rtc/assets/call/level.mjs";
import { Timeline, heightOf } from "../../xtts_rtc/assets/call/timeline.mjs";

const TURN = { end_of_turn_ms: 400, llm_first_token_ms: 200, first_clause_ms: 250, first_audio_ms: 50, heard_ms: 60, total_ms: 960 };

test("the steps of a turn add up, and their shares to one", () => {
  const { totalMs, steps } = splitOf(TURN);
  assert.equal(totalMs, TURN.total_ms);
  assert.deepEqual(steps.map(({ ms }) => ms), [400, 200, 250, 50, 60]);
  assert.ok(Math.abs(steps.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-12);
  assert.equal(steps.length, STEPS.length);
});

test("the way to this device is a part of what it took until it was heard", () => {
  const { totalMs, steps } = splitOf(TURN, 45);
  assert.equal(totalMs, 1005);
  assert.equal(steps.at(-1).ms, 105);
});

test("a turn without figures is nothing, not NaN", () => {
  assert.deepEqual(splitOf({}).steps.map(({ share }) => share), [0, 0, 0, 0, 0]);
});

test("the middle of numbers", () => {
  assert.equal(median([]), null);
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test("the way is from the announcement to the first sound, once", () => {
  const found = [];
  const way = new WayClock();
  way.level(5, 1);
  way.begin(100, (ms) => found.push(ms));
  way.level(120, 0.001);
  way.level(163, 0.2);
  way.level(184, 0.3);
  assert.deepEqual(found, [63]);
});

test("a sound that does not come within a second is no way", () => {
  const way = new WayClock();
  way.begin(0, () => assert.fail());
  way.level(1500, 1);
  way.level(1510, 1);
});

test("the level of each side is the loudest sample of 21 ms", () => {
  const told = [];
  const level = new Level((levels) => told.push(levels));
  const quiet = [new Float32Array(128)];
  for (let block = 0; block < 8; block += 1) level.hear([quiet, block === 3 ? [new Float32Array(128).fill(-0.5)] : []]);
  for (let block = 0; block < 8; block += 1) level.hear([[], quiet]);
  assert.deepEqual(told, [{ agent: 0, caller: 0.5 }, { agent: 0, caller: 0 }]);
});

test("a bar is the loudest of its time, and the oldest go", () => {
  const timeline = new Timeline();
  for (let count = 0; count < 4; count += 1) timeline.push({ agent: count / 10, caller: 0.1 });
  timeline.push({ agent: 0, caller: 0 });
  assert.deepEqual(timeline.bars.map(({ agent, caller }) => [agent, caller]), [[0.3, 0.1], [0, 0]]);
  assert.equal(timeline.progress, 0.25);
  for (let count = 0; count < 10_000; count += 1) timeline.push({ agent: 0, caller: 0 });
  assert.equal(timeline.bars.length, 400);
});

test("a cut is marked where it fell silent, not where it understood", () => {
  const timeline = new Timeline();
  timeline.markCut();
  for (let count = 0; count < 20; count += 1) {
    if (count === 9) timeline.fallSilent();
    timeline.push({ agent: 0, caller: 1 });
  }
  timeline.markCut();
  assert.deepEqual(timeline.bars.map(({ isCut }) => isCut), [false, false, true, false, false]);
});

test("room noise is no bar, and nothing is higher than the picture", () => {
  assert.equal(heightOf(0.005), 0);
  assert.equal(heightOf(0.25), 0.5);
  assert.equal(heightOf(4), 1);
});
