import assert from "node:assert/strict";
import { test } from "node:test";

import { PcmDecoder, rateOf } from "../../xtts_rtc/assets/page/pcm.mjs";

const VALUES = [0, 1, -1, 32767, -32768, 12345, -12345];
const BYTES = new Uint8Array(new Int16Array(VALUES).buffer);

function decode(cuts) {
  const decoder = new PcmDecoder();
  const ends = [...cuts, BYTES.length];
  const found = [];
  let begin = 0;
  for (const end of ends) {
    found.push(...decoder.push(BYTES.slice(begin, end)));
    begin = end;
  }
  return found;
}

test("samples are the integers over 32768", () => {
  assert.deepEqual(decode([]), VALUES.map((value) => value / 32768));
});

test("where the network cuts the bytes changes nothing", () => {
  for (let first = 0; first <= BYTES.length; first += 1) {
    for (let second = first; second <= BYTES.length; second += 1) {
      assert.deepEqual(decode([first, second]), decode([]), `cut at ${first} and ${second}`);
    }
  }
});

test("bytes inside a larger buffer are read where they are", () => {
  const padded = new Uint8Array([99, ...BYTES]);
  assert.deepEqual([...new PcmDecoder().push(padded.subarray(1))], decode([]));
});

test("the rate stands in the content type, or is the one asked for", () => {
  assert.equal(rateOf("audio/L16; rate=16000; channels=1", 24000), 16000);
  assert.equal(rateOf("audio/L16;channels=1;Rate=8000", 24000), 8000);
  assert.equal(rateOf("application/octet-stream", 24000), 24000);
  assert.equal(rateOf(null, 24000), 24000);
});
