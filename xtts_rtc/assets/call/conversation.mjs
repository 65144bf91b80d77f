// What is said, as lines. In: the call's events, in order. Out: lines of both sides; of the agent's, how much was heard.

export class Conversation {
  /** {id, who: "caller", text, isFinal} or {id, who: "agent", state, written, heard, turn, cut}, oldest first.
   *
   * An agent's state: coming (written, not heard yet), speaking, paused (it holds its tongue, and may go on),
   * done, cut, unheard (the caller went on before it had begun). `heard` counts characters of `written`.
   * turn: the latency of this answer; cut: {afterMs}, null where it was not measured; isLast: the call ended in it. */
  lines = [];
  #answer = null;

  /** The line that an event has changed, or null. */
  take(event) {
    const { type } = event;
    if (type === "caller") return this.#understood(event);
    if (type === "written") return this.#written(event.delta);
    if (type === "spoken") return this.#spoken(event.delta);
    if (type === "said") return this.#said(event);
    if (type === "turn") return this.#note({ turn: event });
    if (type === "cut") return this.#note({ cut: { afterMs: event.after_ms } });
    if (type === "state" && event.who === "agent") return this.#agentIs(event.state);
    return null;
  }

  /** The call is over: what was not heard by now never will be. */
  end() {
    const line = this.#close();
    return line && Object.assign(line, { isLast: true });
  }

  #understood({ text, is_final: isFinal }) {
    let line = this.lines.findLast(({ who }) => who === "caller");
    if (!line || line.isFinal) line = this.#add({ who: "caller", text: "", isFinal: false });
    return Object.assign(line, { text, isFinal });
  }

  #written(delta) {
    this.#answer ??= this.#add({ who: "agent", state: "coming", written: "", heard: 0, turn: null, cut: null });
    this.#answer.written += delta;
    return this.#answer;
  }

  #spoken(delta) {
    if (!this.#answer) return null;
    this.#answer.heard = reach(this.#answer.written, this.#answer.heard, delta);
    return this.#answer;
  }

  #said({ text, is_cut: isCut }) {
    if (!this.#answer) this.#written(text);
    const line = this.#answer;
    if (line.written.length < text.length) line.written = text;
    line.heard = isCut ? reach(line.written, 0, text) : line.written.length;
    line.state = isCut ? "cut" : "done";
    this.#answer = null;
    return line;
  }

  #note(fact) {
    return this.#answer && Object.assign(this.#answer, fact);
  }

  #agentIs(state) {
    if (!this.#answer) return null;
    const { state: before } = this.#answer;
    if (state === "thinking") return this.#close();
    if (state === "speaking") this.#answer.state = "speaking";
    if (state === "listening" && before === "speaking") this.#answer.state = "paused";
    return this.#answer.state === before ? null : this.#answer;
  }

  #close() {
    const line = this.#answer;
    this.#answer = null;
    if (line) line.state = line.heard ? "cut" : "unheard";
    return line;
  }

  #add(line) {
    this.lines.push({ id: this.lines.length, ...line });
    return this.lines.at(-1);
  }
}

/** Where in `written` one is who stood at `from` and then heard `text`. White space and signs may differ. */
export function reach(written, from, text) {
  let at = from;
  for (const sign of text) {
    if (!/[\p{L}\p{N}]/u.test(sign)) continue;
    const found = written.indexOf(sign, at);
    if (found >= 0) at = found + sign.length;
  }
  const signs = /^[^\p{L}\p{N}\s]+/u.exec(written.slice(at)); // the full stop behind a word belongs to it
  return at + (signs ? signs[0].length : 0);
}
