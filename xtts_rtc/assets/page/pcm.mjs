// Signed 16-bit little-endian bytes, cut anywhere by the network, to float samples in -1..1.

export class PcmDecoder {
  #odd = null;

  /** The samples that are whole now; an odd byte waits for its other half. */
  push(bytes) {
    let whole = bytes;
    if (this.#odd !== null) {
      whole = new Uint8Array(bytes.length + 1);
      whole[0] = this.#odd;
      whole.set(bytes, 1);
      this.#odd = null;
    }
    if (whole.length % 2) {
      this.#odd = whole[whole.length - 1];
    }
    const samples = new Float32Array(whole.length >> 1);
    const view = new DataView(whole.buffer, whole.byteOffset, samples.length * 2);
    for (let index = 0; index < samples.length; index += 1) {
      samples[index] = view.getInt16(index * 2, true) / 32768;
    }
    return samples;
  }
}

/** The rate in a content type such as "audio/L16; rate=24000; channels=1"; `otherwise` where it names none. */
export function rateOf(contentType, otherwise) {
  const found = /;\s*rate=(\d+)/i.exec(contentType ?? "");
  return found ? Number(found[1]) : otherwise;
}
