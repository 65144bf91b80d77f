// The page: a click becomes a call, what comes of the call becomes what is shown.

import { asTime } from "../page/figures.mjs";
import { Call } from "./call.mjs";
import { wireClone } from "./clone.mjs";
import { Conversation } from "./conversation.mjs";
import { Desk } from "./desk.mjs";
import { WayClock, median, splitOf } from "./latency.mjs";
import { problemOfPage } from "./problems.mjs";
import { Sound } from "./sound.mjs";
import { Timeline, draw } from "./timeline.mjs";
import { Transcript } from "./transcript.mjs";

const KEY = "xtts-rtc.key"; // in this tab's session storage, nowhere else; the other page's too
const RETRY_MS = 3000;
const NEAR_END_PX = 160;
const part = (id) => document.getElementById(id);
const browser = {
  getMicrophone: (wanted) => navigator.mediaDevices.getUserMedia(wanted),
  makePeer: () => new RTCPeerConnection(),
  fetch: (path, options = {}) => fetch(path, { ...options, headers: { ...options.headers, ...keyHeader() } }),
  now: () => performance.now(),
  every: (ms, work) => setInterval(work, ms),
  cancel: (timer) => clearInterval(timer),
};
const desk = new Desk({ fetch: browser.fetch, hasKey: () => Boolean(sessionStorage.getItem(KEY)) });
const sound = new Sound(part("agent-sound"), level);
const transcript = new Transcript(part("lines"), part("announcer"));
const way = new WayClock();
const names = new Intl.DisplayNames("en", { type: "language" });
let call = null;
let conversation = new Conversation();
let timeline = new Timeline();
let agentState = "";
let told = null;
let isDrawn = true;

const STATUS = {
  idle: () => "Ready",
  asking: () => "Waiting for your microphone…",
  calling: () => "Calling…",
  talking: () => ({ thinking: "Thinking", speaking: "Speaking" })[agentState] ?? "Listening",
  over: () => (call.seconds ? "The call is over" : "Ready"),
};

function keyHeader() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function begin() {
  tell(null);
  const [voice, language] = [part("voice").value, part("language").value];
  conversation = new Conversation();
  timeline = new Timeline();
  transcript.clear();
  agentState = "";
  sound.wake().catch(() => {}); // without it there is no picture, but a call
  const on = { change: show, event: hear, microphone: (stream) => sound.hearCaller(stream), sound: (stream) => sound.hearAgent(stream) };
  call = new Call({ browser, on });
  call.start({ voice, language });
}

function show(changed) {
  if (changed !== call) return;
  const { state, isRunning, isMuted, isWeak, problem } = call;
  document.body.dataset.state = state === "over" && !call.seconds ? "idle" : state;
  document.body.dataset.agent = state === "talking" ? agentState : "";
  document.body.toggleAttribute("data-running", isRunning);
  part("toggle-label").textContent = isRunning ? "Hang up" : "Call";
  part("mute").hidden = !isRunning;
  part("mute").setAttribute("aria-pressed", isMuted);
  part("empty").hidden = isRunning || conversation.lines.length > 0;
  write("status", statusOf({ state, isMuted, isWeak }));
  write("clock", call.seconds ? minutesOf(call.seconds) : "");
  showFigures();
  tell(problem);
  if (state === "over") finish();
  redraw();
}

function statusOf({ state, isMuted, isWeak }) {
  if (isWeak) return "Nothing comes from the server…";
  return isMuted && state === "talking" && agentState === "listening" ? "You are muted" : STATUS[state]();
}

/** "0:42" */
function minutesOf(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function showFigures() {
  const answers = conversation.lines.filter(({ turn }) => turn);
  const cuts = conversation.lines.map(({ cut }) => cut?.afterMs).filter((ms) => ms != null);
  write("answers-in", asTime(median(answers.map(({ turn, wayMs }) => splitOf(turn, wayMs).totalMs))));
  write("stops-in", asTime(median(cuts)));
  write("network", call?.roundTripMs == null ? "–" : asTime(Math.max(1, call.roundTripMs)));
}

function hear(event) {
  if (event.type === "state" && event.who === "agent") {
    if (agentState === "speaking") timeline.fallSilent();
    agentState = event.state;
  }
  if (event.type === "cut") timeline.markCut();
  const line = conversation.take(event);
  if (event.type === "turn" && line) {
    way.begin(browser.now(), (ms) => {
      line.wayMs = ms;
      transcript.show(line);
      showFigures();
    });
  }
  if (line) follow(() => transcript.show(line));
}

function finish() {
  sound.silence();
  const line = conversation.end();
  if (line) transcript.show(line);
  if (call.problem?.wantsKey) load(); // the server has another key by now: ask for it
}

/** Change the transcript; who was at its end stays there. */
function follow(change) {
  const page = document.scrollingElement;
  const isAtEnd = page.scrollHeight - page.scrollTop - page.clientHeight < NEAR_END_PX;
  change();
  if (isAtEnd) page.scrollTop = page.scrollHeight;
}

function level(levels) {
  way.level(browser.now(), levels.agent);
  timeline.push(call?.isMuted ? { ...levels, caller: 0 } : levels);
  redraw();
}

function redraw() {
  if (!isDrawn) return;
  isDrawn = false;
  requestAnimationFrame(() => {
    isDrawn = true;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    draw(part("wave"), timeline, { agent: colour("accent"), caller: colour("you"), none: colour("line"), cut: colour("stop") });
  });
}

function write(id, text) {
  if (part(id).textContent !== text) part(id).textContent = text; // a live region says every change
}

function tell(problem) {
  if (problem === told) return;
  told = problem;
  part("problem").hidden = !problem;
  if (!problem) return;
  part("problem").dataset.kind = problem.isAsking ? "ask" : "failure";
  part("problem-title").textContent = problem.title;
  part("problem-detail").textContent = problem.detail;
  part("problem").scrollIntoView({ block: "center" }); // on a phone the page stands at its end
}

/** The first of the wishes that is an option is chosen. */
function fill(id, options, wishes) {
  const chosen = wishes.find((wish) => options.some(([value]) => value === wish));
  part(id).replaceChildren(...options.map(([value, label]) => new Option(label, value, false, value === chosen)));
  part(id).disabled = options.length < 2;
}

async function load(wanted = null) {
  const hopeless = problemOfPage({
    isSecureContext,
    hasMicrophones: Boolean(navigator.mediaDevices?.getUserMedia),
    hasCalls: Boolean(globalThis.RTCPeerConnection),
    address: location.host,
  });
  try {
    const { voices, languages, voice, language } = await desk.choices();
    fill("voice", voices.map((id) => [id, id]), [wanted, part("voice").value, voice]);
    fill("language", languages.map((code) => [code, names.of(code)]), [part("language").value, language]);
    part("toggle").disabled = Boolean(hopeless);
    if (!call) write("status", hopeless ? "" : "Ready");
    if (!call?.isRunning && (!call?.problem || told?.wantsKey)) tell(hopeless);
    part("key-form").hidden = true;
  } catch (problem) {
    const { status, wantsKey } = problem;
    write("status", status === 503 ? "Loading the models…" : wantsKey ? "Waiting for the key" : "Trying again…");
    if (status !== 503) tell(problem);
    if (!wantsKey) setTimeout(() => load(), RETRY_MS);
    else if (part("key-form").hidden) {
      part("key-form").hidden = false;
      part("key").focus();
    }
  }
}

part("toggle").addEventListener("click", () => (call?.isRunning ? call.hangUp() : begin()));
part("mute").addEventListener("click", () => call?.mute(!call.isMuted));
for (const id of ["voice", "language"]) {
  part(id).addEventListener("change", () => call?.choose({ [id]: part(id).value }));
}
part("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, part("key").value.trim());
  part("key").value = "";
  load();
});
wireClone(desk, async (voice) => {
  await load(voice);
  call?.choose({ voice });
});
addEventListener("pagehide", () => call?.hangUp());
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
setInterval(() => call?.state === "talking" && show(call), 200);

load();
redraw();
