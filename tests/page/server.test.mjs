import assert from "node:assert/strict";
import { test } from "node:test";

import { Problem } from "../../xtts_rtc/assets/page/problem.mjs";
import { Server } from "../../xtts_rtc/assets/page/server.mjs";

const WANTED = { text: "Hello.", voice: "zoe", language: "en" };

function serverThat(fetch, key = "") {
  return new Server({ fetch, keyOf: () => key });
}

function refusing(status, body, headers = {}) {
  return async () => new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });
}

async function problemOf(fetch, key) {
  try {
    for await (const samples of serverThat(fetch, key).speak(WANTED, new AbortController().signal)) void samples;
  } catch (error) {
    assert.ok(error instanceof Problem, String(error));
    return error;
  }
  assert.fail("no problem");
}

function streaming(pieces, end) {
  return async () =>
    new Response(
      new ReadableStream({
        start(controller) {
          for (const piece of pieces) controller.enqueue(piece);
          end(controller);
        },
      }),
      { headers: { "content-type": "audio/L16; rate=24000; channels=1" } },
    );
}

test("a request says what, who, which language, and 24 kHz PCM", async () => {
  let seen = null;
  const server = serverThat(async (path, options) => {
    seen = { path, ...options, body: JSON.parse(options.body) };
    return new Response(new Uint8Array([0, 64]), { headers: { "content-type": "audio/L16; rate=24000" } });
  });
  const heard = [];
  for await (const samples of server.speak(WANTED, new AbortController().signal)) heard.push(...samples);
  assert.deepEqual(heard, [0.5]);
  assert.equal(seen.path, "tts_stream");
  assert.deepEqual(seen.body, { text: "Hello.", speaker: "zoe", language: "en", format: "pcm", sample_rate: 24000 });
  assert.deepEqual(seen.headers, { "Content-Type": "application/json" });
});

test("a key goes along only when there is one", async () => {
  const seen = [];
  const fetch = async (path, { headers }) => {
    seen.push(headers.Authorization);
    return new Response(JSON.stringify({ voices: [{ id: "default" }] }));
  };
  assert.deepEqual(await serverThat(fetch).voices(), ["default"]);
  await serverThat(fetch, "k1").voices();
  assert.deepEqual(seen, [undefined, "Bearer k1"]);
});

test("401 asks for a key, and says so when the one it got is wrong", async () => {
  const fetch = refusing(401, { error: "the key is missing or wrong", code: "unauthorized" });
  const asked = await problemOf(fetch, "");
  const refused = await problemOf(fetch, "k1");
  assert.ok(asked.wantsKey && refused.wantsKey);
  assert.match(asked.title, /asks for a key/);
  assert.match(refused.title, /refused this key/);
});

test("every refusal has a title of its own and the server's words", async () => {
  const titles = new Set();
  for (const status of [400, 404, 413, 422, 503, 500, 418]) {
    const problem = await problemOf(refusing(status, { error: "speaker 'x' not found", code: "c" }));
    assert.equal(problem.detail, "Speaker 'x' not found.");
    assert.equal(problem.status, status);
    titles.add(problem.title);
  }
  assert.equal(titles.size, 7);
});

test("429 says how long to wait", async () => {
  assert.match((await problemOf(refusing(429, {}, { "Retry-After": "1.2" }))).detail, /in 2 s/);
  assert.match((await problemOf(refusing(429, {}))).detail, /in a moment/);
});

test("an answer that is not ours still has words", async () => {
  assert.match((await problemOf(refusing(502, "<html>Bad Gateway</html>"))).detail, /502/);
  assert.match((await problemOf(refusing(503, ""))).detail, /loading/);
});

test("no connection and a connection that breaks are told apart", async () => {
  const unreachable = await problemOf(async () => {
    throw new TypeError("Failed to fetch");
  });
  assert.match(unreachable.title, /No connection/);
  const half = new Uint8Array(24000);
  let isRead = false;
  const broken = await problemOf(async () => {
    const body = new ReadableStream({
      pull(controller) {
        if (isRead) controller.error(new TypeError("network error"));
        else controller.enqueue(half);
        isRead = true;
      },
    });
    return new Response(body, { headers: { "content-type": "audio/L16; rate=24000" } });
  });
  assert.match(broken.title, /cut off/);
  assert.match(broken.detail, /0\.5 s/);
});

test("an abort is no problem but an abort", async () => {
  const abort = new AbortController();
  const fetch = async (path, { signal }) =>
    new Response(
      new ReadableStream({
        start(controller) {
          controller.enqueue(new Uint8Array(2));
          signal.addEventListener("abort", () => controller.error(signal.reason));
        },
      }),
    );
  await assert.rejects(async () => {
    for await (const samples of serverThat(fetch).speak(WANTED, abort.signal)) {
      assert.equal(samples.length, 1);
      abort.abort();
    }
  }, { name: "AbortError" });
});

test("another rate than asked for is refused, not played at the wrong pitch", async () => {
  const fetch = async () => new Response(new Uint8Array(2), { headers: { "content-type": "audio/L16; rate=8000" } });
  assert.match((await problemOf(fetch)).title, /Unknown sound/);
});

test("an odd byte at a cut is kept for the next piece", async () => {
  const heard = [];
  const fetch = streaming([new Uint8Array([0]), new Uint8Array([64, 0]), new Uint8Array([192])], (c) => c.close());
  for await (const samples of serverThat(fetch).speak(WANTED, new AbortController().signal)) heard.push(...samples);
  assert.deepEqual(heard, [0.5, -0.5]);
});
