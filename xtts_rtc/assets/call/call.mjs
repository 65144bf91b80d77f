// One call: microphone, offer and answer, sound both ways, events; and how it ends, whoever ends it.
//
// It touches no page. What it needs of the browser is given to it, so its states can be tested without one.

import { Problem } from "../page/problem.mjs";
import {
  MICROPHONE_GONE,
  SERVER_GONE,
  UNREACHABLE,
  problemOfAgent,
  problemOfEnd,
  problemOfMicrophone,
  problemOfRefusal,
} from "./problems.mjs";

export const CONNECT_S = 10;
export const WEAK_S = 2; // the server sends a packet every 20 ms, silence too
export const LOST_S = 8; // it gives up after ten, from its own side
const GATHER_MS = 1500;
const HEARING = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export class Call {
  state = "idle"; // idle, asking (for the microphone), calling, talking, over
  problem = null;
  isMuted = false;
  isWeak = false;
  roundTripMs = null;
  #browser;
  #on;
  #peer = null;
  #channel = null;
  #voice = null;
  #address = null;
  #clock = null;
  #begunMs = null;
  #endedMs = null;
  #packets = -1;
  #quietS = 0;

  /** browser: {getMicrophone, makePeer, fetch, now, every, cancel}; on: {change, event, microphone, sound}. */
  constructor({ browser, on }) {
    this.#browser = browser;
    this.#on = on;
  }

  /** Since it was answered. */
  get seconds() {
    if (this.#begunMs === null) return 0;
    return ((this.#endedMs ?? this.#browser.now()) - this.#begunMs) / 1000;
  }

  get isRunning() {
    return ["asking", "calling", "talking"].includes(this.state);
  }

  /** Until it is answered, or not: then `problem` says why. Never throws. options: {voice, language}. */
  async start(options) {
    this.#become("asking");
    try {
      this.#voice = await this.#browser.getMicrophone({ audio: HEARING });
    } catch (error) {
      this.#end(problemOfMicrophone(error));
      return;
    }
    if (!this.isRunning) {
      this.#release(); // hung up while the browser asked
      return;
    }
    this.mute(this.isMuted);
    for (const track of this.#voice.getAudioTracks()) track.onended = () => this.#end(new Problem(MICROPHONE_GONE));
    this.#on.microphone(this.#voice);
    this.#become("calling");
    try {
      await this.#connect(options);
    } catch (error) {
      if (!(error instanceof Problem)) console.error(error);
      this.#end(error instanceof Problem ? error : new Problem(UNREACHABLE));
    }
  }

  hangUp() {
    this.#end(null);
  }

  mute(isMuted) {
    this.isMuted = isMuted;
    for (const track of this.#voice?.getAudioTracks() ?? []) track.enabled = !isMuted;
    this.#on.change(this);
  }

  /** Another voice or language, from the next sentence on. */
  choose(options) {
    if (this.#channel?.readyState === "open") this.#channel.send(JSON.stringify({ type: "choose", ...options }));
  }

  async #connect(options) {
    const peer = (this.#peer = this.#browser.makePeer());
    for (const track of this.#voice.getAudioTracks()) peer.addTrack(track, this.#voice);
    this.#channel = peer.createDataChannel("events");
    this.#channel.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    this.#channel.onclose = () => this.#isGone("closed");
    peer.ontrack = ({ streams, track }) => this.#on.sound(streams[0] ?? new MediaStream([track]));
    peer.onconnectionstatechange = () => this.#isGone(peer.connectionState);
    await peer.setLocalDescription(await peer.createOffer());
    await this.#gathered(peer);
    if (!this.isRunning) return; // hung up meanwhile
    const answer = await this.#offer(peer.localDescription.sdp, options);
    if (!this.isRunning) return;
    await peer.setRemoteDescription({ type: "answer", sdp: answer });
    if (!this.isRunning) return;
    this.#begunMs = this.#browser.now();
    this.#clock = this.#browser.every(1000, () => this.#watch());
  }

  async #offer(sdp, options) {
    const wanted = new URLSearchParams(options).toString();
    const request = { method: "POST", body: sdp, headers: { "Content-Type": "application/sdp" } };
    let answer;
    try {
      answer = await this.#browser.fetch(`call?${wanted}`, request);
    } catch {
      throw new Problem(SERVER_GONE);
    }
    if (!answer.ok) throw await problemOfRefusal(answer);
    this.#address = `call/${answer.headers.get("location").split("/").at(-1)}`;
    if (!this.isRunning) this.#giveBack();
    return answer.text();
  }

  /** All candidates go along with the offer: there are no later ones. */
  async #gathered(peer) {
    if (peer.iceGatheringState === "complete") return;
    await new Promise((resolve) => {
      const timer = this.#browser.every(GATHER_MS, done);
      const cancel = this.#browser.cancel;
      function done() {
        cancel(timer);
        resolve();
      }
      peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
    });
  }

  #hear(event) {
    if (!this.isRunning) return;
    if (event.type === "ready") this.#become("talking");
    if (event.type === "error") this.problem = problemOfAgent(event);
    if (event.type === "turn") this.problem = null; // it answers again
    if (event.type === "ended") this.#end(problemOfEnd(event.reason, this.seconds));
    this.#on.event(event);
    this.#on.change(this);
  }

  #isGone(state) {
    if (!this.isRunning || !["failed", "closed"].includes(state)) return;
    if (this.state !== "talking") this.#end(new Problem(UNREACHABLE));
    else this.#end(problemOfEnd(state === "failed" ? "lost" : "closed", this.seconds));
  }

  /** Every second: does anything come? */
  async #watch() {
    const { packets, roundTripMs } = await figuresOf(this.#peer);
    if (!this.isRunning) return;
    this.roundTripMs = roundTripMs;
    this.#quietS = packets === this.#packets ? this.#quietS + 1 : 0;
    this.#packets = packets;
    this.isWeak = this.#quietS >= WEAK_S;
    if (this.state === "calling" && this.seconds >= CONNECT_S) this.#end(new Problem(UNREACHABLE));
    else if (this.state === "talking" && this.#quietS >= LOST_S) this.#end(problemOfEnd("lost", this.seconds));
    else this.#on.change(this);
  }

  #end(problem) {
    if (!this.isRunning) return;
    this.#endedMs = this.#browser.now();
    this.problem = problem;
    this.isWeak = false;
    this.#giveBack();
    this.#release();
    this.#become("over");
  }

  #giveBack() {
    if (this.#address) this.#browser.fetch(this.#address, { method: "DELETE", keepalive: true }).catch(() => {});
    this.#address = null;
  }

  #release() {
    this.#browser.cancel(this.#clock);
    for (const track of this.#voice?.getTracks() ?? []) track.stop();
    this.#peer?.close();
  }

  #become(state) {
    this.state = state;
    this.#on.change(this);
  }
}

async function figuresOf(peer) {
  let packets = 0;
  let roundTripMs = null;
  for (const report of (await peer.getStats()).values()) {
    if (report.type === "inbound-rtp") packets += report.packetsReceived ?? 0;
    const isUsed = report.type === "candidate-pair" && report.state === "succeeded" && report.nominated;
    if (isUsed && report.currentRoundTripTime !== undefined) roundTripMs = report.currentRoundTripTime * 1000;
  }
  return { packets, roundTripMs };
}
