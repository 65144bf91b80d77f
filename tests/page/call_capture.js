// Runs in the page before its own scripts: keeps both sides of a call as this browser hears them, and every event,
// all with their times on one audio clock.

window.taped = { hz: 24000, context: null, sides: { agent: [], caller: [] }, events: [] };

async function tape(side, stream) {
  const { taped } = window;
  taped.context ??= new AudioContext({ sampleRate: taped.hz });
  taped.context.resume();
  const source = taped.context.createMediaStreamSource(stream);
  taped.ready ??= taped.context.audioWorklet.addModule("/page/recorder.mjs");
  await taped.ready;
  const recorder = new AudioWorkletNode(taped.context, "recorder", { numberOfOutputs: 0 });
  recorder.port.onmessage = ({ data }) => taped.sides[side].push(data);
  source.connect(recorder);
}

const { set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "srcObject");
Object.defineProperty(HTMLMediaElement.prototype, "srcObject", {
  set(stream) {
    set.call(this, stream);
    if (stream) tape("agent", stream);
  },
});

if (navigator.mediaDevices) {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await ask(wanted);
    tape("caller", stream);
    return stream;
  };
}

const open = RTCPeerConnection.prototype.createDataChannel;
RTCPeerConnection.prototype.createDataChannel = function (...options) {
  const channel = open.apply(this, options);
  channel.addEventListener("message", ({ data }) => {
    window.taped.events.push({ at: window.taped.context.currentTime, ...JSON.parse(data) });
  });
  return channel;
};

/** int16 samples of one side as base64, from the clock's zero on. */
window.side = (name) => {
  const blocks = window.taped.sides[name];
  const length = blocks.length ? blocks.at(-1).frame + 128 : 0;
  const pcm = new Int16Array(length);
  for (const { frame, samples } of blocks) {
    samples.forEach((sample, index) => (pcm[frame + index] = Math.max(-1, Math.min(1, sample)) * 32767));
  }
  const bytes = new Uint8Array(pcm.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
};
