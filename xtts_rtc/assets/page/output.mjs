// The way to the loudspeaker: the audio thread where the browser has it, else a callback on the page's own thread.
//
// AudioWorklet exists on https and localhost only; a phone that opens http://server:8020 gets the callback.

import { Desk } from "./playout.mjs";

const CALLBACK_SAMPLES = 2048; // with 1024 one callback in eight came too late on two busy cores, and was not heard
const WORKLET_START_S = 0.12; // audio that waits before the first sound: less underran on a busy machine
const CALLBACK_START_S = 0.25; // the page's own thread also draws

/** {post, startS}: post takes the messages of `Desk`, whose reports go to `onReport`. */
export async function openOutput(context, onReport) {
  return context.audioWorklet ? openWorklet(context, onReport) : openCallback(context, onReport);
}

async function openWorklet(context, onReport) {
  await context.audioWorklet.addModule(new URL("playout.mjs", import.meta.url));
  const node = new AudioWorkletNode(context, "playout", { numberOfInputs: 0, outputChannelCount: [1] });
  node.port.onmessage = ({ data }) => onReport(data);
  node.connect(context.destination);
  return { post: (message, transfer) => node.port.postMessage(message, transfer), startS: WORKLET_START_S };
}

function openCallback(context, onReport) {
  const desk = new Desk(onReport);
  const node = context.createScriptProcessor(CALLBACK_SAMPLES, 0, 1);
  node.onaudioprocess = ({ outputBuffer }) => {
    const samples = outputBuffer.getChannelData(0);
    for (let begin = 0; begin < samples.length; begin += 128) desk.render(samples.subarray(begin, begin + 128));
  };
  node.connect(context.destination);
  return { post: (message) => desk.obey(message), startS: CALLBACK_START_S, node };
}
