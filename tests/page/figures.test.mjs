import assert from "node:assert/strict";
import { test } from "node:test";

import { Figures, asFactor, asLength, asTime } from "../../xtts_rtc/assets/page/figures.mjs";

test("first audio and first sound count from the click and stay", () => {
  const figures = new Figures(1000, 24000);
  assert.equal(figures.firstAudioMs, null);
  assert.equal(figures.realTimeFactor, null);
  figures.received(2400, 1180);
  figures.heard(1300);
  figures.received(2400, 1500);
  figures.heard(1900);
  assert.deepEqual([figures.firstAudioMs, figures.heardMs, figures.audioS], [180, 300, 0.2]);
});

test("the real-time factor is waiting over audio", () => {
  const figures = new Figures(0, 1000);
  figures.received(500, 250);
  assert.equal(figures.realTimeFactor, 0.5);
  figures.received(500, 800);
  assert.equal(figures.realTimeFactor, 0.8);
});

test("once the server is far ahead it rests, and the real-time factor no longer counts that", () => {
  const figures = new Figures(0, 1000);
  for (let second = 1; second <= 4; second += 1) figures.received(1000, second * 200);
  const ahead = figures.realTimeFactor;
  figures.received(1000, 60000);
  assert.ok(Math.abs(ahead - 0.2) < 1e-9);
  assert.equal(figures.realTimeFactor, ahead);
  assert.equal(figures.audioS, 5);
});

test("figures are written for people", () => {
  assert.deepEqual([null, 0.4, 181.6, 999, 1240].map(asTime), ["–", "0 ms", "182 ms", "999 ms", "1.24 s"]);
  assert.deepEqual([null, 0.314, 1.5].map(asFactor), ["–", "0.31", "1.50"]);
  assert.deepEqual([0, 3.44, 59.9, 60, 125.7].map(asLength), ["0.0 s", "3.4 s", "59.9 s", "1:00", "2:05"]);
});
