// Both sounds of a call: the agent's to the loudspeaker, and the loudness of both to who draws it.

export class Sound {
  #loudspeaker;
  #onLevel;
  #context = null;
  #meter = null;
  #sources = [];

  /** loudspeaker: an audio element; onLevel({agent, caller}): peaks, 0 to 1, every 21 ms. */
  constructor(loudspeaker, onLevel) {
    this.#loudspeaker = loudspeaker;
    this.#onLevel = onLevel;
  }

  /** In the click: a browser lets nobody make sound that was not asked for. */
  async wake() {
    this.#context ??= new AudioContext();
    this.#context.resume();
    this.#meter ??= this.#context.audioWorklet.addModule("call/level.mjs").then(() => {
      const node = new AudioWorkletNode(this.#context, "level", { numberOfInputs: 2, numberOfOutputs: 0 });
      node.port.onmessage = ({ data }) => this.#onLevel(data);
      return node;
    });
    await this.#meter;
  }

  /** The stream of the microphone, for its level only. */
  async hearCaller(stream) {
    await this.#measure(stream, 1);
  }

  async hearAgent(stream) {
    this.#loudspeaker.srcObject = stream;
    this.#loudspeaker.play().catch(() => {}); // refused only where no click began the call
    await this.#measure(stream, 0);
  }

  silence() {
    this.#loudspeaker.srcObject = null;
    for (const source of this.#sources) source.disconnect();
    this.#sources = [];
    this.#context?.suspend();
  }

  /** A call without this picture is still a call: Firefox refuses a stream of another rate than the loudspeaker's. */
  async #measure(stream, side) {
    try {
      await this.wake();
      const source = this.#context.createMediaStreamSource(stream);
      source.connect(await this.#meter, 0, side);
      this.#sources.push(source);
    } catch (error) {
      console.warn(error);
    }
  }
}
