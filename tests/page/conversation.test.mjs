import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation, reach } from "../../xtts_rtc/assets/call/conversation.mjs";
import { spokenLine } from "../../xtts_rtc/assets/call/transcript.mjs";

const STORY = "The garden is a beautiful example of calm. It has a gate.";

function talk(...events) {
  const conversation = new Conversation();
  for (const event of events) conversation.take(event);
  return conversation;
}

const understood = (text, isFinal = true) => ({ type: "caller", text, is_final: isFinal });
const agent = (state) => ({ type: "state", who: "agent", state });
const written = (text) => text.match(/\s*\S+/g).map((delta) => ({ type: "written", delta }));
const spoken = (text) => text.match(/\s*\S+/g).map((delta) => ({ type: "spoken", delta }));
const said = (text, isCut = false) => ({ type: "said", text, is_cut: isCut });
const heardOf = ({ written: all, heard }) => all.slice(0, heard);

test("what is understood of the caller grows in one line until it is final", () => {
  const { lines } = talk(understood("What is", false), understood("What is it", false), understood("What is it?"), understood("Stop.", false));
  assert.deepEqual(lines.map(({ who, text, isFinal }) => [who, text, isFinal]), [
    ["caller", "What is it?", true],
    ["caller", "Stop.", false],
  ]);
});

test("while it speaks, what was heard and what is written are told apart", () => {
  const { lines } = talk(...written(STORY), agent("speaking"), ...spoken("The garden is"));
  assert.equal(lines[0].state, "speaking");
  assert.equal(heardOf(lines[0]), "The garden is");
  assert.equal(lines[0].written, STORY);
});

test("a sentence that was heard to its end has nothing left over", () => {
  const { lines } = talk(...written(STORY), agent("speaking"), ...spoken("The garden"), said(STORY), agent("listening"));
  assert.equal(lines[0].state, "done");
  assert.equal(lines[0].heard, STORY.length);
});

test("a barge-in keeps what was heard, where it was cut, and what never was", () => {
  const { lines } = talk(
    ...written(STORY), agent("speaking"), ...spoken("The garden is a"), agent("listening"), understood("Stop."),
    { type: "cut", position_ms: 2385, after_ms: 151 }, said("The garden is a beautiful", true), agent("thinking"),
  );
  const [line, caller] = lines;
  assert.equal(line.state, "cut");
  assert.equal(heardOf(line), "The garden is a beautiful");
  assert.equal(line.cut.afterMs, 151);
  assert.equal(caller.text, "Stop.");
});

test("it pauses when somebody coughs, and the same line goes on", () => {
  const events = [...written(STORY), agent("speaking"), ...spoken("The garden"), agent("listening")];
  assert.equal(talk(...events).lines[0].state, "paused");
  const { lines } = talk(...events, agent("speaking"), ...spoken(" is a"), said(STORY));
  assert.equal(lines.length, 1);
  assert.equal(lines[0].state, "done");
});

test("an answer that the caller did not wait for was never heard, and the next one is another line", () => {
  const { lines } = talk(...written("I am sorry"), understood("And who are you?"), agent("thinking"), ...written("I am Ethan."));
  assert.deepEqual(lines.map(({ who, state }) => [who, state]), [["agent", "unheard"], ["caller", undefined], ["agent", "coming"]]);
  assert.equal(heardOf(lines[0]), "");
});

test("a call that ends in mid-sentence leaves a sentence that was cut there", () => {
  const conversation = talk(...written(STORY), agent("speaking"), ...spoken("The garden"));
  assert.equal(conversation.end().state, "cut");
  assert.equal(heardOf(conversation.lines[0]), "The garden");
  assert.equal(spokenLine(conversation.lines[0]), "Agent: The garden – end of the call");
  assert.equal(conversation.end(), null);
});

test("a greeting that nobody wrote is a line all the same", () => {
  const { lines } = talk(said("Hello there."));
  assert.equal(heardOf(lines[0]), "Hello there.");
});

test("the latency belongs to the answer that is beginning", () => {
  const turn = { type: "turn", total_ms: 900 };
  const { lines } = talk(...written("One."), said("One."), understood("Two?"), ...written("Two."), turn);
  assert.deepEqual(lines.map(({ turn: found }) => found?.total_ms), [undefined, undefined, 900]);
});

test("events of no line change nothing", () => {
  const conversation = new Conversation();
  for (const event of [{ type: "ready" }, { type: "spoken", delta: "x" }, { type: "cut", after_ms: 1 }, agent("speaking"), {}]) {
    assert.equal(conversation.take(event), null);
  }
  assert.equal(conversation.end(), null);
});

test("where one is in a text does not depend on its spaces and signs", () => {
  assert.equal(reach("It's **very** large, (114 feet).", 0, "It's very large,"), "It's **very** large,".length);
  assert.equal(reach("One two", 0, ""), 0);
  assert.equal(reach("小さい 庭。", 0, "小さい庭"), "小さい 庭。".length);
  assert.equal(reach("short", 0, "short and more"), 5);
});

test("a screen reader is told each line once it is complete, and where it was cut", () => {
  assert.equal(spokenLine({ who: "caller", text: "Wh", isFinal: false }), "");
  assert.equal(spokenLine({ who: "caller", text: "Why?", isFinal: true }), "You: Why?");
  const line = { who: "agent", written: "Because it is so.", heard: 7, cut: { afterMs: 151 } };
  assert.equal(spokenLine({ ...line, state: "speaking" }), "");
  assert.equal(spokenLine({ ...line, state: "cut" }), "Agent: Because – cut in 151 ms");
  assert.equal(spokenLine({ ...line, state: "done", heard: 17, cut: null }), "Agent: Because it is so.");
});
