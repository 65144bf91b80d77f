// What came back, as something to hear or to read. Raw samples get a WAV header, for a browser plays no bare ones.

export function wavOf(bytes, rate, isBigEndian) {
  const pcm = new Uint8Array(bytes);
  if (isBigEndian) for (let at = 0; at + 1 < pcm.length; at += 2) [pcm[at], pcm[at + 1]] = [pcm[at + 1], pcm[at]];
  const header = new DataView(new ArrayBuffer(44));
  const tag = (at, text) => [...text].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
  tag(0, "RIFF"); header.setUint32(4, 36 + pcm.length, true); tag(8, "WAVEfmt "); header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); header.setUint16(22, 1, true); header.setUint32(24, rate, true);
  header.setUint32(28, rate * 2, true); header.setUint16(32, 2, true); header.setUint16(34, 16, true);
  tag(36, "data"); header.setUint32(40, pcm.length, true);
  return new Blob([header, pcm], { type: "audio/wav" });
}

export async function show(response, firstByteMs, place) {
  const kind = response.headers.get("content-type") ?? "";
  const line = document.createElement("p");
  line.className = response.ok ? "status" : "status bad";
  line.textContent = `${response.status} ${kind} · headers after ${Math.round(firstByteMs)} ms`;
  place.replaceChildren(line);
  if (kind.startsWith("audio/")) place.append(player(await response.arrayBuffer(), kind));
  else place.append(text(await response.text(), kind));
}

function player(bytes, kind) {
  const lower = kind.toLowerCase();
  const isRaw = lower.startsWith("audio/l16") || lower.startsWith("audio/pcm;") || lower === "audio/pcm";
  const rate = Number(/rate=(\d+)/.exec(lower)?.[1] ?? 24000);
  const isBigEndian = lower.startsWith("audio/l16") && !lower.includes("little-endian");
  const blob = isRaw ? wavOf(bytes, rate, isBigEndian) : new Blob([bytes], { type: kind });
  const audio = document.createElement("audio");
  audio.controls = true;
  audio.src = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = audio.src;
  link.download = "speech";
  link.textContent = `${bytes.byteLength} bytes`;
  const box = document.createElement("div");
  box.append(audio, link);
  return box;
}

function text(content, kind) {
  const block = document.createElement("pre");
  block.textContent = kind.startsWith("application/json") ? JSON.stringify(JSON.parse(content), null, 2) : content;
  return block;
}
