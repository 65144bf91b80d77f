import assert from "node:assert/strict";
import { test } from "node:test";

import { Peaks, spanOf } from "../../xtts_rtc/assets/page/waveform.mjs";

function sound(...seconds) {
  const peaks = new Peaks(24000);
  for (const loudness of seconds) peaks.push(new Float32Array(24000).fill(loudness));
  return peaks;
}

test("a bar is the loudest in its time, of either sign", () => {
  assert.deepEqual(sound(0.25, -0.5).bars(4, 4), [0.25, 0.5, null, null]);
});

test("a click between two bars is seen", () => {
  const peaks = new Peaks(24000);
  const samples = new Float32Array(48000);
  samples[31337] = -1;
  peaks.push(samples);
  for (const count of [2, 7, 150, 200, 1000]) {
    assert.equal(Math.max(...peaks.bars(count, 2)), 1, `${count} bars`);
  }
});

test("how the samples were cut changes no bar", () => {
  const whole = new Peaks(24000);
  const cut = new Peaks(24000);
  const samples = Float32Array.from({ length: 9999 }, (_, index) => Math.sin(index * index));
  whole.push(samples);
  for (let begin = 0; begin < samples.length; begin += 77) cut.push(samples.subarray(begin, begin + 77));
  assert.deepEqual(cut.bars(50, 4), whole.bars(50, 4));
});

test("the picture has room for all and does not creep", () => {
  for (const seconds of [0, 3.9, 4, 4.1, 100, 7200]) assert.ok(spanOf(seconds) >= seconds);
  assert.equal(spanOf(4.1), spanOf(5.9));
});
