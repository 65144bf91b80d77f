import assert from "node:assert/strict";
import { test } from "node:test";

import { Problem } from "../../xtts_rtc/assets/page/problem.mjs";
import { Utterance } from "../../xtts_rtc/assets/page/utterance.mjs";

/** A server whose pieces the test hands out, and a player that plays them when told. */
class Bench {
  log = [];
  clock = 0;
  states = [];
  #queue = [];
  #wake = null;
  #follow = () => {};
  #played = null;

  constructor({ openingFails = false } = {}) {
    const bench = this;
    this.player = {
      async begin(onState) {
        bench.#follow = onState;
        if (openingFails) throw new Error("no sound here");
      },
      async push(samples) {
        bench.log.push(`play ${samples.length}`);
      },
      end() {
        bench.log.push("end");
        return new Promise((resolve) => (bench.#played = resolve));
      },
      stop() {
        bench.log.push("silence");
      },
    };
    this.server = {
      async *speak(request, signal) {
        bench.log.push(`ask ${request.text}`);
        signal.addEventListener("abort", () => {
          bench.log.push("abort");
          bench.give(new DOMException("stopped", "AbortError"));
        });
        for (;;) {
          while (!bench.#queue.length) await new Promise((resolve) => (bench.#wake = resolve));
          const next = bench.#queue.shift();
          if (next === null) return;
          if (next instanceof Error) throw next;
          yield new Float32Array(next);
        }
      },
    };
    this.utterance = new Utterance({
      server: this.server,
      player: this.player,
      now: () => this.clock,
      onChange: ({ state }) => this.states.at(-1) === state || this.states.push(state),
    });
    this.run = this.utterance.run({ text: "Hello." });
  }

  /** A number of samples, an error, or null for the end. */
  async give(next) {
    this.#queue.push(next);
    this.#wake?.();
    await settled();
  }

  async report(state) {
    this.#follow({ phase: "playing", underruns: 0, ...state });
    await settled();
  }

  async playAll() {
    this.#played();
    await this.run;
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

test("waiting, speaking, done, with the times of each", async () => {
  const bench = new Bench();
  bench.clock = 200;
  await bench.give(2400);
  bench.clock = 320;
  await bench.report({ played: 128 });
  await bench.give(2400);
  await bench.give(null);
  await bench.report({ played: 4800, underruns: 1, phase: "over" });
  await bench.playAll();
  assert.deepEqual(bench.states, ["waiting", "speaking", "done"]);
  const { figures, underruns, playedS } = bench.utterance;
  assert.deepEqual([figures.firstAudioMs, figures.heardMs, figures.audioS], [200, 320, 0.2]);
  assert.deepEqual([underruns, playedS], [1, 0.2]);
  assert.deepEqual(bench.log, ["ask Hello.", "play 2400", "play 2400", "end"]);
});

test("a stop silences first and then ends the request, and is not an error", async () => {
  const bench = new Bench();
  await bench.give(2400);
  await bench.report({ played: 1280 });
  bench.utterance.stop();
  assert.deepEqual(bench.log.slice(-2), ["silence", "abort"]);
  await bench.run;
  await bench.report({ played: 2400 });
  assert.equal(bench.utterance.state, "stopped");
  assert.equal(bench.utterance.problem, null);
  assert.equal(bench.utterance.played, 1280);
  bench.utterance.stop();
  assert.equal(bench.log.filter((line) => line === "silence").length, 1);
});

test("a stop before the first audio ends the request as well", async () => {
  const bench = new Bench();
  await settled();
  bench.utterance.stop();
  await bench.run;
  assert.deepEqual(bench.states, ["stopped"]);
  assert.ok(bench.log.includes("abort") && !bench.log.includes("end"));
});

test("a refusal fails at once", async () => {
  const bench = new Bench();
  await bench.give(new Problem({ title: "Every stream is taken", detail: "Wait.", status: 429 }));
  await bench.run;
  assert.equal(bench.utterance.state, "failed");
  assert.equal(bench.utterance.problem.status, 429);
});

test("a stream that breaks is told at once, and what has arrived is played", async () => {
  const bench = new Bench();
  await bench.give(2400);
  await bench.report({ played: 128 });
  await bench.give(new Problem({ title: "The speech was cut off", detail: "." }));
  assert.equal(bench.utterance.problem.title, "The speech was cut off");
  assert.equal(bench.utterance.state, "speaking");
  assert.equal(bench.log.at(-1), "end");
  await bench.playAll();
  assert.equal(bench.utterance.state, "failed");
});

test("a device without sound ends the request", async (t) => {
  t.mock.method(console, "error", () => {});
  const bench = new Bench({ openingFails: true });
  await bench.run;
  assert.equal(bench.utterance.state, "failed");
  assert.match(bench.utterance.problem.title, /cannot play/);
  assert.ok(bench.log.includes("abort"));
});
