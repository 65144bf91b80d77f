// The lines of a conversation on the page. A line is made once and then changed, so that nothing jumps.

import { asTime } from "../page/figures.mjs";
import { splitOf } from "./latency.mjs";

const NAMES = { caller: "You", agent: "Agent" };

export class Transcript {
  #list;
  #announcer;
  #shown = new Map();
  #details = null;

  /** list: an `ol`; announcer: a live region, told of each line when it is complete. */
  constructor(list, announcer) {
    this.#list = list;
    this.#announcer = announcer;
  }

  clear() {
    this.#list.replaceChildren();
    this.#announcer.replaceChildren();
    this.#shown.clear();
    this.#details = null;
  }

  show(line) {
    if (!this.#shown.has(line.id)) this.#shown.set(line.id, this.#add(line));
    const shown = this.#shown.get(line.id);
    if (line.who === "caller") this.#showCaller(shown, line);
    else this.#showAgent(shown, line);
    const words = spokenLine(line);
    if (words && !shown.isAnnounced) {
      shown.isAnnounced = true;
      this.#announcer.replaceChildren(words);
    }
  }

  #add({ who }) {
    const item = element("li", who);
    const words = element("p", "words");
    const body = element("div");
    body.append(words);
    item.append(element("span", "who", NAMES[who]), body);
    this.#list.append(item);
    return { item, words, body, unheard: null, turn: null, isAnnounced: false };
  }

  #showCaller({ words }, { text, isFinal }) {
    words.dataset.final = isFinal;
    words.textContent = text;
  }

  #showAgent(shown, line) {
    shown.item.dataset.state = line.state;
    const isOver = ["cut", "unheard"].includes(line.state);
    const rest = line.written.slice(line.heard);
    const parts = [line.written.slice(0, line.heard)];
    if (isOver) parts.push(line.heard ? " " : "", element("span", `mark ${line.state}`, markOf(line)));
    else if (rest.trim()) parts.push(element("span", "rest", rest));
    shown.words.replaceChildren(...parts);
    if (isOver && rest.trim()) {
      shown.unheard ??= shown.words.parentElement.insertBefore(element("p", "unheard"), shown.words.nextSibling);
      shown.unheard.textContent = `Never heard: ${rest.trim()}`;
    }
    if (line.turn) this.#showTurn(shown, line);
  }

  /** Where the time went. Open for the newest answer only. */
  #showTurn(shown, { turn, wayMs = 0 }) {
    if (shown.turn?.wayMs === wayMs) return;
    const { totalMs, steps } = splitOf(turn, wayMs);
    const details = shown.turn?.details ?? element("details", "turn");
    const bar = element("span", "bar");
    bar.setAttribute("aria-hidden", "true");
    const list = element("dl");
    steps.forEach(({ label, what, ms }, index) => {
      const piece = element("i", `step-${index}`);
      piece.style.flexGrow = ms;
      bar.append(piece);
      const pair = element("div", `step-${index}`);
      pair.title = what;
      pair.append(element("dt", "", label), element("dd", "", asTime(ms)));
      list.append(pair);
    });
    const summary = element("summary");
    const total = element("span", "total", asTime(totalMs));
    total.append(element("span", "unseen", " to the answer; where the time went"));
    summary.append(total, bar);
    details.replaceChildren(summary, list);
    if (!shown.turn) {
      if (this.#details) this.#details.open = false;
      this.#details = details;
      details.open = true;
      shown.body.append(details);
    }
    shown.turn = { details, wayMs };
  }
}

/** What a screen reader is told of a line, once it is complete; empty before. */
export function spokenLine(line) {
  if (line.who === "caller") return line.isFinal ? `You: ${line.text}` : "";
  const heard = line.written.slice(0, line.heard).trim();
  if (line.state === "done") return `Agent: ${heard}`;
  if (line.state === "cut") return `Agent: ${heard} – ${markOf(line)}`;
  return "";
}

function markOf({ state, cut, isLast }) {
  if (isLast) return "end of the call";
  if (state === "unheard") return "you went on";
  return cut?.afterMs == null ? "cut" : `cut in ${asTime(cut.afterMs)}`;
}

function element(kind, name = "", text = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  made.textContent = text;
  return made;
}
