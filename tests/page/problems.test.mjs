import assert from "node:assert/strict";
import { test } from "node:test";

import { Desk, figuresOf, nameOf } from "../../xtts_rtc/assets/call/desk.mjs";
import { problemOfAgent, problemOfMicrophone, problemOfPage, problemOfRefusal, problemOfUpload } from "../../xtts_rtc/assets/call/problems.mjs";

const refusal = (status, body, headers = {}) => new Response(JSON.stringify(body), { status, headers });

test("every trouble with a microphone has its own words", () => {
  const titles = ["NotAllowedError", "NotFoundError", "NotReadableError", "TypeError"].map(
    (name) => problemOfMicrophone({ name, message: "why" }).title,
  );
  assert.equal(new Set(titles).size, 4);
  assert.equal(problemOfMicrophone({ name: "SecurityError" }).title, titles[0]);
  assert.match(problemOfMicrophone({ name: "Odd", message: "" }).detail, /Odd/);
});

test("a page over plain http is told so before anybody clicks", () => {
  const fine = { isSecureContext: true, hasMicrophones: true, hasCalls: true, address: "agent.lan:8020" };
  assert.equal(problemOfPage(fine), null);
  assert.match(problemOfPage({ ...fine, isSecureContext: false, hasMicrophones: false }).detail, /agent\.lan:8020/);
  assert.match(problemOfPage({ ...fine, hasCalls: false }).title, /browser cannot call/);
});

test("a full server is not one that is not ready", async () => {
  const full = await problemOfRefusal(refusal(503, { code: "lines_busy" }, { "Retry-After": "5" }));
  assert.equal(full.title, "Every line is taken");
  assert.match(full.detail, /in 5 s/);
  assert.equal((await problemOfRefusal(refusal(429, {}))).title, full.title);
  const loading = await problemOfRefusal(refusal(503, { error: "the engine is still loading", code: "engine_unavailable" }));
  assert.equal(loading.title, "The server is not ready");
  assert.equal(loading.detail, "The engine is still loading.");
});

test("a clip that is refused is told why, in the server's words", async () => {
  for (const [status, code, title] of [
    [400, "bad_clip", "This clip cannot be used"],
    [409, "voice_taken", "There is a voice of this name"],
    [403, "forbidden", "Voices cannot be added here"],
    [413, "too_large", "The clip is too large"],
    [422, "invalid_voice_id", "The clip was refused"],
    [503, "engine_unavailable", "The server is not ready"],
  ]) {
    const problem = await problemOfUpload(refusal(status, { error: "because of it", code }));
    assert.deepEqual([problem.title, problem.detail, problem.status], [title, "Because of it.", status]);
  }
});

test("an agent that fails says what, without names of programs in the title", () => {
  assert.match(problemOfAgent({ code: "APIError", message: "LLM failed" }).detail, /LLM failed\. Go on talking/);
  assert.equal(problemOfAgent({ code: "unknown_language", message: "x" }).title, "It does not speak this language");
});

test("a file's name becomes a voice's name", () => {
  assert.equal(nameOf("Anna.wav"), "Anna");
  assert.equal(nameOf("Frau Müller (2. Versuch).m4a"), "Frau-Muller-2-Versuch");
  assert.equal(nameOf("声.wav"), "");
  assert.equal(nameOf(`${"a".repeat(100)}.wav`).length, 64);
});

test("a report is figures with their units", () => {
  const check = { duration_s: 8.25, snr_db: 41.6, clipped_share: 0.0012, level_dbfs: -18.4, silence_share: 0.125, sample_rate: 24000 };
  assert.deepEqual(figuresOf(check).map(([, value]) => value), ["8.3 s", "42 dB", "0.12 %", "-18 dB", "13 %", "24 kHz"]);
});

test("a clip goes up under its name, and what the server says of it comes back", async () => {
  const seen = [];
  const desk = new Desk({
    fetch: async (path, options) => {
      seen.push([options.method, path, options.body.get("clip").size]);
      return refusal(201, { id: "anna", check: { is_good: true } });
    },
  });
  assert.deepEqual(await desk.upload(new Blob([new Uint8Array(10)]), "anna"), { is_good: true });
  assert.deepEqual(seen, [["POST", "v1/voices/anna", 10]]);
});

test("what can be chosen are the server's voices and its model's languages", async () => {
  const answers = { call: { languages: ["en"], voice: "anna", language: "en" }, "v1/voices": { voices: [{ id: "anna" }, { id: "default" }] } };
  const desk = new Desk({ fetch: async (path) => refusal(200, answers[path]) });
  assert.deepEqual(await desk.choices(), { voices: ["anna", "default"], languages: ["en"], voice: "anna", language: "en" });
  const gone = new Desk({ fetch: async () => Promise.reject(new TypeError("Failed to fetch")) });
  await assert.rejects(gone.choices(), { title: "No connection to the server" });
});
