// The page: what is clicked and typed becomes an utterance, and what that utterance is becomes what is shown.

import { asFactor, asLength, asTime } from "./figures.mjs";
import { Player } from "./player.mjs";
import { SAMPLE_RATE, Server } from "./server.mjs";
import { Utterance } from "./utterance.mjs";
import { draw } from "./waveform.mjs";

const KEY = "xtts-rtc.key"; // in this tab's session storage, nowhere else
const RETRY_MS = 3000;

const part = (id) => document.getElementById(id);
const server = new Server({ fetch: (...request) => fetch(...request), keyOf: () => sessionStorage.getItem(KEY) ?? "" });
const player = new Player(SAMPLE_RATE);
let current = null;
let isDrawn = true;
let told = null;

const STATUS = {
  waiting: () => "Waiting for the first audio…",
  speaking: () => "Speaking. Press Stop to interrupt.",
  done: ({ audioS }) => `Finished: ${asLength(audioS)} of speech.`,
  stopped: ({ playedS }) => (playedS ? `Stopped after ${asLength(playedS)}.` : "Stopped before the first audio."),
  failed: ({ playedS }) => (playedS ? `Broke off after ${asLength(playedS)}.` : "Nothing was spoken."),
};

function speak() {
  const text = part("text").value.trim();
  if (!text) {
    part("text").reportValidity();
    return;
  }
  tell(null);
  player.wake();
  const made = new Utterance({ server, player, now: () => performance.now(), onChange: show });
  current = made;
  show(made);
  made.run({ text, voice: part("voice").value, language: part("language").value });
}

function stop() {
  current?.stop();
}

function show(utterance) {
  if (utterance !== current) return;
  const { state, figures, problem } = utterance;
  const isRunning = !utterance.isOver;
  if (document.body.dataset.state !== state) {
    document.body.dataset.state = state;
    part("status").textContent = STATUS[state]({ audioS: figures.audioS, playedS: utterance.playedS });
    part("toggle-label").textContent = isRunning ? "Stop" : "Speak";
  }
  part("first-audio").textContent = asTime(figures.firstAudioMs);
  part("heard").textContent = asTime(figures.heardMs);
  part("factor").textContent = asFactor(figures.realTimeFactor);
  part("underruns").textContent = figures.audioS ? String(utterance.underruns) : "–";
  part("clock").textContent = figures.audioS ? `${asLength(utterance.playedS)} of ${asLength(figures.audioS)}` : "";
  if (problem) tell(problem);
  redraw();
}

function tell(problem) {
  if (problem?.message === told?.message && !part("problem").hidden === Boolean(problem)) return; // said once, read once
  told = problem;
  part("problem").hidden = !problem;
  if (!problem) return;
  part("problem").dataset.kind = problem.isAsking ? "ask" : "failure";
  part("problem-title").textContent = problem.title;
  part("problem-detail").textContent = problem.detail;
  if (problem.wantsKey && part("key-form").hidden) {
    part("key-form").hidden = false;
    part("key").focus();
  }
}

function redraw() {
  if (!isDrawn) return;
  isDrawn = false;
  requestAnimationFrame(() => {
    isDrawn = true;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const colours = { heard: colour("heard"), made: colour("made"), none: colour("none") };
    draw(part("wave"), current?.peaks, current?.playedS ?? 0, colours);
    const length = current?.figures.audioS;
    part("wave").setAttribute("aria-label", length ? `Waveform, ${asLength(length)} of speech` : "Waveform, empty");
  });
}

async function loadVoices() {
  part("toggle").disabled = part("voice").disabled = true;
  try {
    const voices = await server.voices();
    part("voice").replaceChildren(...voices.map((voice) => new Option(voice, voice, voice === "default", voice === "default")));
    part("toggle").disabled = part("voice").disabled = !voices.length;
    part("key-form").hidden = true;
    if (!current) part("status").textContent = voices.length ? "Ready." : "";
    tell(voices.length ? null : { title: "This server has no voices", detail: "Put a clip into its speakers folder." });
  } catch (problem) {
    part("voice").replaceChildren(new Option("None yet"));
    part("status").textContent = problem.wantsKey ? "Waiting for the key." : "Trying again…";
    tell(problem);
    if (!problem.wantsKey) setTimeout(loadVoices, RETRY_MS);
  }
}

part("speech").addEventListener("submit", (event) => {
  event.preventDefault();
  if (current && !current.isOver) stop();
  else speak();
});
part("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, part("key").value.trim());
  part("key").value = "";
  loadVoices();
});
part("wave").addEventListener("click", stop);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !part("toggle").disabled) {
    event.preventDefault();
    stop();
    speak();
  }
});
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

loadVoices();
redraw();
