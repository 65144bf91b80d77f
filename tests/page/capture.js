// Runs in the page before its own scripts: keeps what reaches the loudspeaker, sample for sample, and when Stop was hit.

window.captured = { blocks: [], stops: [], streams: [], context: null };

if (window.isSecureContext) {
  const addModule = AudioWorklet.prototype.addModule;
  AudioWorklet.prototype.addModule = async function (url, ...more) {
    await addModule.call(this, "/page/recorder.mjs"); // before the page connects anything
    return addModule.call(this, url, ...more);
  };
}

const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...more) {
  const { blocks } = window.captured;
  if (target === this.context.destination) {
    window.captured.context = this.context;
    if (this instanceof ScriptProcessorNode) {
      let frame = 0; // as if no callback were ever late: a busy machine drops some, which is why it is the second choice
      this.addEventListener("audioprocess", ({ outputBuffer }) => {
        const samples = outputBuffer.getChannelData(0).slice();
        for (let at = 0; at < samples.length; at += 128, frame += 128) {
          blocks.push({ frame, samples: samples.subarray(at, at + 128) });
        }
      });
    } else {
      const recorder = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
      recorder.port.onmessage = ({ data }) => blocks.push(data);
      connect.call(this, recorder);
    }
  }
  return connect.call(this, target, ...more);
};

const ask = window.fetch;
window.fetch = async function (...request) {
  const answer = await ask(...request);
  if (answer.ok && String(request[0]).includes("tts_stream")) {
    window.captured.streams.push(answer.clone().arrayBuffer().catch(() => null));
  }
  return answer;
};

function markStop() {
  const { stops, context } = window.captured;
  if (context && document.body.dataset.state === "speaking") stops.push(context.currentTime);
}
addEventListener("pointerdown", markStop, true);
addEventListener("keydown", markStop, true);

window.heard = () => {
  const blocks = window.captured.blocks.filter(({ samples }) => samples.some((sample) => sample !== 0));
  return blocks.map(({ frame, samples }) => ({ frame, samples: [...samples] }));
};

window.sent = async (index) => {
  const bytes = await window.captured.streams[index];
  return [...new Int16Array(bytes)];
};
