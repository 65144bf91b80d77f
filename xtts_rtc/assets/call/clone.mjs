// The dialogue in which a clip becomes a voice: clip, name, consent, then the report on the clip.

import { asLength } from "../page/figures.mjs";
import { Problem } from "../page/problem.mjs";
import { figuresOf, nameOf } from "./desk.mjs";

const part = (id) => document.getElementById(id);

/** desk: uploads; onVoice(id) when there is a new one. */
export function wireClone(desk, onVoice) {
  const dialog = part("clone-dialog");
  part("clone").addEventListener("click", () => open(dialog));
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  part("clip").addEventListener("change", () => showClip(part("clip").files[0]));
  wireDrop(document.querySelector(".drop"));
  part("clone-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send(desk, onVoice);
  });
}

function open(dialog) {
  part("clone-form").reset();
  part("clone-form").hidden = false;
  part("clone-report").hidden = true;
  tell(null);
  showClip(null);
  dialog.showModal();
}

function showClip(file) {
  part("clip-name").textContent = file?.name ?? "Choose a clip";
  part("clip-size").textContent = file ? sizeOf(file) : "WAV, FLAC, MP3, OGG, M4A or WebM; or drop one here";
  if (file && !part("voice-name").value) part("voice-name").value = nameOf(file.name);
}

function sizeOf({ size }) {
  return size < 1e6 ? `${Math.max(1, Math.round(size / 1e3))} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

function wireDrop(drop) {
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.toggleAttribute("data-over", kind === "dragover");
    });
  }
  drop.addEventListener("drop", ({ dataTransfer }) => {
    if (!dataTransfer.files.length) return;
    part("clip").files = dataTransfer.files;
    showClip(dataTransfer.files[0]);
  });
}

async function send(desk, onVoice) {
  const lacking = [
    [!part("clip").files.length, "clip", "There is no clip yet", "Choose one, or drop it into the frame."],
    [!part("voice-name").checkValidity(), "voice-name", "The voice needs a name", "Letters, digits, - and _, up to 64 of them."],
    [!part("consent").checked, "consent", "Permission is needed", "Clone a voice only if it is yours, or if its owner agreed."],
  ].find(([isLacking]) => isLacking);
  if (lacking) {
    tell({ title: lacking[2], detail: lacking[3] });
    part(lacking[1]).focus();
    return;
  }
  const id = part("voice-name").value;
  tell(null);
  part("upload").disabled = true;
  part("upload").textContent = "Listening to the clip…";
  try {
    const check = await desk.upload(part("clip").files[0], id);
    await onVoice(id);
    report(id, check);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    tell(problem);
  } finally {
    part("upload").disabled = false;
    part("upload").textContent = "Clone it";
  }
}

function report(id, check) {
  part("clone-form").hidden = true;
  part("clone-report").hidden = false;
  part("report-title").textContent = check.is_good ? `“${id}” is ready` : `“${id}” is ready, with doubts`;
  part("report-figures").replaceChildren(
    ...figuresOf(check).map(([label, value]) => {
      const pair = document.createElement("div");
      pair.append(make("dt", label), make("dd", value));
      return pair;
    }),
  );
  const findings = check.findings.map(({ advice }) => advice);
  part("report-findings").replaceChildren(
    ...(findings.length ? findings : [`Nothing is wrong with these ${asLength(check.duration_s)}.`]).map((text) => make("li", text)),
  );
  part("report-title").focus();
}

function tell(problem) {
  part("clone-problem").hidden = !problem;
  part("clone-problem-title").textContent = problem?.title ?? "";
  part("clone-problem-detail").textContent = problem?.detail ?? "";
}

function make(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}
