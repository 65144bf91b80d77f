import assert from "node:assert/strict";
import { test } from "node:test";

import { CONNECT_S, Call, LOST_S, WEAK_S } from "../../xtts_rtc/assets/call/call.mjs";

/** A browser that does what a test says: it has a clock, a microphone, a peer and a server. */
class Browser {
  nowMs = 0;
  timers = [];
  requests = [];
  peer = null;
  track = { enabled: true, isStopped: false, stop: () => (this.track.isStopped = true) };
  packets = 0;
  isFlowing = true;
  answer = () => new Response("v=0 answer", { status: 201, headers: { location: "/call/c1" } });
  microphone = async () => ({ getTracks: () => [this.track], getAudioTracks: () => [this.track] });

  getMicrophone = () => this.microphone();
  now = () => this.nowMs;
  cancel = (timer) => (this.timers = this.timers.filter((other) => other !== timer));

  every = (ms, work) => {
    const timer = { ms, work };
    this.timers.push(timer);
    return timer;
  };

  fetch = async (path, options) => {
    this.requests.push([options.method, path]);
    if (options.method === "DELETE") return new Response("");
    return this.answer();
  };

  makePeer = () => {
    const browser = this;
    this.peer = {
      iceGatheringState: "complete",
      connectionState: "new",
      localDescription: { sdp: "v=0 offer" },
      isClosed: false,
      addTrack: () => {},
      createDataChannel: () => (browser.channel = { readyState: "open", sent: [], send: (text) => browser.channel.sent.push(text) }),
      createOffer: async () => ({}),
      setLocalDescription: async () => {},
      setRemoteDescription: async ({ sdp }) => (browser.peer.answer = sdp),
      getStats: async () => browser.stats(),
      close: () => (browser.peer.isClosed = true),
    };
    return this.peer;
  };

  stats() {
    this.packets += this.isFlowing ? 50 : 0;
    const pair = { type: "candidate-pair", state: "succeeded", nominated: true, currentRoundTripTime: 0.004 };
    return new Map([["in", { type: "inbound-rtp", packetsReceived: this.packets }], ["pair", pair]]);
  }

  tell(event) {
    this.channel.onmessage({ data: JSON.stringify(event) });
  }

  become(state) {
    this.peer.connectionState = state;
    this.peer.onconnectionstatechange();
  }

  async seconds(count) {
    for (let second = 0; second < count; second += 1) {
      this.nowMs += 1000;
      for (const { ms, work } of this.timers) if (ms === 1000) await work();
    }
  }
}

async function called(browser = new Browser()) {
  const events = [];
  const on = { change: () => {}, event: (event) => events.push(event), microphone: () => {}, sound: () => {} };
  const call = new Call({ browser, on });
  const states = [];
  on.change = ({ state }) => states.at(-1) !== state && states.push(state);
  await call.start({ voice: "anna", language: "en" });
  return { browser, call, events, states };
}

async function talking() {
  const made = await called();
  made.browser.tell({ type: "ready" });
  return made;
}

test("a call asks for the microphone, offers, and talks once the agent is ready", async () => {
  const { browser, call, events, states } = await talking();
  assert.deepEqual(states, ["asking", "calling", "talking"]);
  assert.deepEqual(browser.requests, [["POST", "call?voice=anna&language=en"]]);
  assert.equal(browser.peer.answer, "v=0 answer");
  assert.deepEqual(events, [{ type: "ready" }]);
  await browser.seconds(2);
  assert.equal(call.seconds, 2);
  assert.equal(call.roundTripMs, 4);
  assert.equal(call.problem, null);
});

test("hanging up frees the line, the microphone and the peer, once", async () => {
  const { browser, call } = await talking();
  call.hangUp();
  call.hangUp();
  assert.deepEqual(browser.requests.slice(1), [["DELETE", "call/c1"]]);
  assert.ok(browser.track.isStopped && browser.peer.isClosed);
  assert.equal(browser.timers.length, 0);
  assert.equal(call.state, "over");
  assert.equal(call.problem, null);
});

test("a denied microphone offers nothing to the server", async () => {
  const browser = new Browser();
  browser.microphone = async () => {
    throw new DOMException("no", "NotAllowedError");
  };
  const { call } = await called(browser);
  assert.equal(call.state, "over");
  assert.match(call.problem.title, /microphone is blocked/);
  assert.deepEqual(browser.requests, []);
});

test("who hangs up while the browser asks for the microphone leaves nothing on", async () => {
  const browser = new Browser();
  let allow;
  browser.microphone = () => new Promise((resolve) => (allow = resolve));
  const on = { change: () => {}, event: () => {}, microphone: () => assert.fail(), sound: () => {} };
  const call = new Call({ browser, on });
  const started = call.start({});
  call.hangUp();
  allow({ getTracks: () => [browser.track], getAudioTracks: () => [browser.track] });
  await started;
  assert.ok(browser.track.isStopped);
  assert.deepEqual(browser.requests, []);
});

test("who hangs up while the offer is made takes no line", async () => {
  const browser = new Browser();
  const on = { change: () => {}, event: () => {}, microphone: () => {}, sound: () => {} };
  const call = new Call({ browser, on });
  const { makePeer } = browser;
  browser.makePeer = () => Object.assign(makePeer(), { setLocalDescription: async () => call.hangUp() });
  await call.start({});
  assert.deepEqual(browser.requests, []);
});

test("who hangs up while the answer is taken in leaves no clock ticking", async () => {
  const browser = new Browser();
  const on = { change: () => {}, event: () => {}, microphone: () => {}, sound: () => {} };
  const call = new Call({ browser, on });
  const { makePeer } = browser;
  browser.makePeer = () => Object.assign(makePeer(), { setRemoteDescription: async () => call.hangUp() });
  await call.start({});
  assert.equal(browser.timers.length, 0);
  assert.equal(call.seconds, 0);
});

test("who hangs up before the server answers gives the line back", async () => {
  const browser = new Browser();
  const on = { change: () => {}, event: () => {}, microphone: () => {}, sound: () => {} };
  const call = new Call({ browser, on });
  browser.answer = () => {
    call.hangUp();
    return new Response("v=0 answer", { status: 201, headers: { location: "/call/c1" } });
  };
  await call.start({});
  assert.deepEqual(browser.requests.at(-1), ["DELETE", "call/c1"]);
  assert.equal(browser.peer.answer, undefined);
});

test("a full server is told in plain words, with the time to wait", async () => {
  const browser = new Browser();
  const body = JSON.stringify({ error: "all 4 lines are taken", code: "lines_busy" });
  browser.answer = () => new Response(body, { status: 503, headers: { "retry-after": "5" } });
  const { call } = await called(browser);
  assert.equal(call.problem.title, "Every line is taken");
  assert.match(call.problem.detail, /in 5 s/);
  assert.ok(browser.track.isStopped && browser.peer.isClosed);
});

test("a server that is not there is told apart from one that does not get through", async () => {
  const browser = new Browser();
  browser.answer = () => {
    throw new TypeError("Failed to fetch");
  };
  assert.match((await called(browser)).call.problem.title, /No connection/);
  const { browser: silent, call } = await called();
  await silent.seconds(CONNECT_S);
  assert.match(call.problem.detail, /UDP/);
});

test("a connection that falls silent is weak, then lost, and comes back in between", async () => {
  const { browser, call } = await talking();
  await browser.seconds(1);
  browser.isFlowing = false;
  await browser.seconds(WEAK_S);
  assert.ok(call.isWeak);
  browser.isFlowing = true;
  await browser.seconds(1);
  assert.ok(!call.isWeak);
  browser.isFlowing = false;
  await browser.seconds(LOST_S);
  assert.equal(call.state, "over");
  assert.match(call.problem.title, /connection was lost/);
  assert.match(call.problem.detail, /lasted 12\.0 s/);
});

test("every end from the other side has its own words", async () => {
  for (const [end, words] of [
    [(browser) => browser.become("failed"), /connection was lost/],
    [(browser) => browser.channel.onclose(), /server ended the call/],
    [(browser) => browser.tell({ type: "ended", reason: "idle" }), /It hung up/],
    [(browser) => browser.tell({ type: "ended", reason: "failed" }), /server ended the call/],
  ]) {
    const { browser, call } = await talking();
    end(browser);
    assert.match(call.problem.title, words);
    assert.ok(browser.track.isStopped && browser.peer.isClosed);
  }
});

test("an agent's error is told while the call goes on", async () => {
  const { browser, call } = await talking();
  browser.tell({ type: "error", code: "voice_not_found", message: "it was deleted: choose another voice" });
  assert.equal(call.problem.title, "The voice was not found");
  assert.equal(call.problem.detail, "It was deleted: choose another voice.");
  assert.equal(call.state, "talking");
  browser.tell({ type: "turn" });
  assert.equal(call.problem, null);
});

test("a microphone that is unplugged ends the call with its own words", async () => {
  const { browser, call } = await talking();
  browser.track.onended();
  assert.match(call.problem.title, /microphone is gone/);
  assert.deepEqual(browser.requests.at(-1), ["DELETE", "call/c1"]);
});

test("muted is muted, before the call too", async () => {
  const { browser, call } = await talking();
  call.mute(true);
  assert.equal(browser.track.enabled, false);
  call.mute(false);
  assert.equal(browser.track.enabled, true);
});

test("another voice is chosen over the data channel, and only while it is open", async () => {
  const { browser, call } = await talking();
  call.choose({ voice: "george" });
  assert.deepEqual(browser.channel.sent.map(JSON.parse), [{ type: "choose", voice: "george" }]);
  browser.channel.readyState = "closed";
  call.choose({ voice: "anna" });
  assert.equal(browser.channel.sent.length, 1);
});
