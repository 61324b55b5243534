import assert from "node:assert/strict";
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ClipsmithError } from "../../util/errors.js";
import { maskedCrc } from "./records.js";
import { TensorBoardWriter } from "./writer.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-tensorboard-"));
after(() => rmSync(folder, { recursive: true }));
let folders = 0;
const newFolder = () => join(folder, String(folders++));

/** CRC-32C bit by bit, as RFC 3720 defines it. */
function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function slowMask(crc: number): number {
  const turned = (BigInt(crc) >> 15n) | ((BigInt(crc) << 17n) & 0xffffffffn);
  return Number((turned + 0xa282ead8n) & 0xffffffffn);
}

type Field = { field: number; value: number | Uint8Array };

/** The fields of a protobuf message: integers, fixed numbers as their bytes, and lengths of bytes. */
function parseMessage(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]!;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const take = (length: number) => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = varint();
    const [field, wire] = [key >>> 3, key & 7];
    if (wire === 0) fields.push({ field, value: varint() });
    else if (wire === 1) fields.push({ field, value: take(8) });
    else if (wire === 5) fields.push({ field, value: take(4) });
    else fields.push({ field, value: take(varint()) });
  }
  return fields;
}

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

interface Read {
  wallTime: number;
  step: number;
  version?: string;
  sessionStatus?: number;
  scalars?: Record<string, number>;
}

/** All events of all files, read by nothing of what wrote them; every checksum is compared. */
function readEvents(run: string): Read[] {
  return readdirSync(run)
    .toSorted()
    .flatMap((name) => {
      assert.match(name, /^events\.out\.tfevents\.\d{10}\./);
      const file = readFileSync(join(run, name));
      const events: Read[] = [];
      for (let at = 0; at < file.length; ) {
        const length = Number(file.readBigUInt64LE(at));
        assert.equal(file.readUInt32LE(at + 8), slowMask(slowCrc32c(file.subarray(at, at + 8))));
        const data = file.subarray(at + 12, at + 12 + length);
        at += 12 + length;
        assert.equal(file.readUInt32LE(at), slowMask(slowCrc32c(data)));
        at += 4;
        const event: Read = { wallTime: 0, step: 0 };
        for (const { field, value } of parseMessage(data)) {
          const bytes = value as Uint8Array;
          if (field === 1) event.wallTime = view(bytes).getFloat64(0, true);
          else if (field === 2) event.step = value as number;
          else if (field === 3) event.version = Buffer.from(bytes).toString();
          else if (field === 7) event.sessionStatus = parseMessage(bytes)[0]!.value as number;
          else if (field === 5) {
            event.scalars = Object.fromEntries(
              parseMessage(bytes).map(({ value: scalar }) => {
                const [tag, number] = parseMessage(scalar as Uint8Array);
                assert.deepEqual([tag!.field, number!.field], [1, 2]);
                return [
                  Buffer.from(tag!.value as Uint8Array).toString(),
                  view(number!.value as Uint8Array).getFloat32(0, true),
                ];
              }),
            );
          } else assert.fail(`field ${field}`);
        }
        events.push(event);
      }
      assert.deepEqual([events[0]!.version, events[0]!.step], ["brain.Event:2", 0]);
      return events;
    });
}

const scalarsOf = (run: string) =>
  readEvents(run).flatMap(({ step, scalars }) => (scalars ? [[step, scalars] as const] : []));

test("checksums are those of RFC 3720's examples, masked as TensorFlow masks them", () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  for (const [bytes, crc] of [
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(255), 0x62a8ab43],
    [ascending, 0x46dd794e],
    [ascending.toReversed(), 0x113fdb5c],
    [Buffer.from("123456789"), 0xe3069283],
  ] as const) {
    assert.equal(slowCrc32c(bytes), crc);
    assert.equal(maskedCrc(bytes), slowMask(crc));
  }
});

test("every number becomes a scalar, zero too, at its step and time", () => {
  const run = newFolder();
  const before = Date.now() / 1000;
  const writer = new TensorBoardWriter(run);
  writer.write({ step: 1, loss: 2.5, zero: 0, "validation.textToImage.r10": 0.25 });
  writer.write({ step: 3_000_000_000, loss: 1, note: "text", broken: null });
  writer.write({ step: 3_000_000_001, note: "nothing to draw" });
  assert.deepEqual(scalarsOf(run), [
    [1, { loss: 2.5, zero: 0, "validation/textToImage/r10": 0.25 }],
    [3_000_000_000, { loss: 1 }],
  ]);
  writer.close();
  for (const { wallTime } of readEvents(run)) {
    assert.ok(wallTime >= before && wallTime <= Date.now() / 1000);
  }
});

test("a resumed run has no step twice, whatever a kill left behind", () => {
  const run = newFolder();
  const write = (steps: readonly number[], resumedStep?: number) => {
    const writer = new TensorBoardWriter(run, resumedStep === undefined ? {} : { resumedStep });
    for (const step of steps) writer.write({ step, loss: step + (resumedStep ?? 0) / 100 });
    writer.close();
  };
  write([1, 2, 3, 4]);
  const [first] = readdirSync(run);
  appendFileSync(join(run, first!), new Uint8Array([9, 0, 0, 0, 0]));
  write([3, 4, 5], 2);
  const expected = [1, 2, 3.02, 4.02, 5.02].map((loss, i) => [i + 1, { loss: Math.fround(loss) }]);
  assert.deepEqual(scalarsOf(run), expected);
  assert.deepEqual(
    readEvents(run).flatMap(({ step, sessionStatus }) => (sessionStatus ? [step] : [])),
    [3],
  );
  // Back before all that the second session wrote: its file goes.
  write([2], 1);
  assert.deepEqual(scalarsOf(run), [expected[0], [2, { loss: Math.fround(2.01) }]]);
  assert.equal(readdirSync(run).length, 2);
  // A new run has nothing of an earlier one.
  writeFileSync(join(run, "other.txt"), "kept");
  write([1]);
  rmSync(join(run, "other.txt"));
  assert.deepEqual(scalarsOf(run), [[1, { loss: 1 }]]);
});

test("a damaged record and what follows it are left out on resuming", () => {
  const run = newFolder();
  const writer = new TensorBoardWriter(run);
  for (const step of [1, 2, 3]) writer.write({ step, loss: step });
  writer.close();
  const [name] = readdirSync(run);
  const file = readFileSync(join(run, name!));
  file[file.length - 10]! ^= 1;
  writeFileSync(join(run, name!), file);
  new TensorBoardWriter(run, { resumedStep: 3 }).close();
  assert.deepEqual(scalarsOf(run), [
    [1, { loss: 1 }],
    [2, { loss: 2 }],
  ]);
});

test("a folder that cannot be made is an error that names it", () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  assert.throws(
    () => new TensorBoardWriter(join(file, "tensorboard")),
    (error) => error instanceof ClipsmithError && error.message.includes(file),
  );
});
