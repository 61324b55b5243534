import assert from "node:assert/strict";
import { test } from "node:test";
import { decodePicture } from "./picture.js";

/** Of TIFF: what a sample is. */
const UNSIGNED = 1;
const SIGNED = 2;
const FLOAT = 3;

/** A TIFF of three by three pixels of `channels` samples, left black, in the middle grey, right white. */
function tiff(bits: number, format: number, columns: readonly number[], channels = 1): Buffer {
  const data = Buffer.alloc((9 * channels * bits) / 8);
  for (let i = 0; i < 9 * channels; i++) {
    const value = columns[Math.floor(i / channels) % 3]!;
    const at = (i * bits) / 8;
    if (format === FLOAT && bits === 32) data.writeFloatLE(value, at);
    else if (format === FLOAT && bits === 64) data.writeDoubleLE(value, at);
    else if (format === SIGNED) data.writeIntLE(value, at, bits / 8);
    else data.writeUIntLE(value, at, bits / 8);
  }
  const fields = [
    [256, 3],
    [257, 3],
    [258, bits],
    [259, 1],
    [262, channels === 1 ? 1 : 2],
    [273, 8],
    [277, channels],
    [278, 3],
    [279, data.length],
    [339, format],
  ] as const;
  const start = 8 + data.length + (data.length % 2);
  const file = Buffer.alloc(start + 2 + 12 * fields.length + 4 + 12);
  file.write("II*\0", "latin1");
  file.writeUInt32LE(start, 4);
  data.copy(file, 8);
  file.writeUInt16LE(fields.length, start);
  let more = start + 2 + 12 * fields.length + 4;
  for (const [i, [tag, value]] of fields.entries()) {
    const at = start + 2 + 12 * i;
    const isEach = tag === 258 || tag === 339;
    file.writeUInt16LE(tag, at);
    file.writeUInt16LE(isEach ? 3 : 4, at + 2);
    file.writeUInt32LE(isEach ? channels : 1, at + 4);
    file.writeUInt32LE(value, at + 8);
    // Numbers that don't fit stand elsewhere.
    if (!isEach || channels < 3) continue;
    file.writeUInt32LE(more, at + 8);
    for (let channel = 0; channel < channels; channel++, more += 2) file.writeUInt16LE(value, more);
  }
  return file;
}

test("samples of all formats go from black to white, or are refused with a reason", async () => {
  const noRange = /its samples have no range that is known: /;
  for (const [name, file, expected] of [
    ["8 bits", tiff(8, UNSIGNED, [0, 128, 255]), [0, 128, 255]],
    ["8 bits, signed", tiff(8, SIGNED, [0, 64, 127]), [0, 128, 254]],
    ["16 bits", tiff(16, UNSIGNED, [0, 0x8000, 0xffff]), [0, 128, 255]],
    ["16 bits, signed", tiff(16, SIGNED, [0, 0x4000, 0x7fff]), [0, 128, 255]],
    ["32 bits", tiff(32, UNSIGNED, [0, 128, 255]), [0, 128, 255]],
    ["32 bits, signed", tiff(32, SIGNED, [0, 128, 255]), [0, 128, 255]],
    ["float to 1", tiff(32, FLOAT, [0, 0.5, 1]), [0, 127, 255]],
    ["float to 255", tiff(32, FLOAT, [0, 128, 255]), [0, 128, 255]],
    ["half", tiff(16, FLOAT, [0, 0x3800, 0x3c00]), [0, 127, 255]],
    // Linear light.
    ["float, three channels", tiff(32, FLOAT, [0, 0.5, 1], 3), [0, 188, 255]],
    ["16 bits, below 0", tiff(16, SIGNED, [-32768, 0, 32767]), noRange],
    ["32 bits, large", tiff(32, UNSIGNED, [0, 2 ** 31, 2 ** 32 - 1]), noRange],
    ["32 bits, 1000", tiff(32, SIGNED, [0, 500, 1000]), noRange],
    ["float to 1000", tiff(32, FLOAT, [0, 500, 1000]), noRange],
    ["float to 10", tiff(32, FLOAT, [0, 5, 10]), noRange],
    ["float from -1", tiff(32, FLOAT, [-1, 0, 1]), noRange],
    ["float, no number", tiff(32, FLOAT, [0, 1, Number.NaN]), /some are no numbers/],
    ["float to 255, three channels", tiff(32, FLOAT, [0, 128, 255], 3), noRange],
    ["double", tiff(64, FLOAT, [0, 0.5, 1]), /its kind of TIFF cannot be read: /],
  ] as const) {
    const decoded = decodePicture(file, { size: 3, channels: 1 });
    if (expected instanceof RegExp) await assert.rejects(decoded, expected, name);
    else assert.deepEqual([...(await decoded).subarray(3, 6)], expected, name);
  }
});
