import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ClipsmithError } from "../util/errors.js";
import { random } from "../util/random.js";
import { type Checkpoint, latestCheckpoint, loadCheckpoint, saveCheckpoint } from "./checkpoint.js";

const root = mkdtempSync(join(tmpdir(), "clipsmith-checkpoint-"));
after(() => rmSync(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, `run-${folders++}`);

/** Every number of it is the step, so that a mixture of two would show. */
function checkpoint(step: number, count = 100): Checkpoint {
  return {
    step,
    tensors: new Map([
      ["weight", { shape: [count / 4, 4], data: new Float32Array(count).fill(step) }],
      ["adamw.step.weight", { shape: [], data: Int32Array.of(step) }],
    ]),
    state: { seed: 7, epoch: step / 2, best: null, nested: { name: "größe" } },
  };
}

async function latestOf(folder: string): Promise<{ loaded: Checkpoint; warnings: string[] }> {
  const { latest, warnings } = await latestCheckpoint(folder);
  assert.ok(latest, "there is a checkpoint");
  assert.deepEqual(await loadCheckpoint(latest.path), latest);
  return { loaded: latest, warnings };
}

test("a checkpoint comes back as saved", async () => {
  const folder = join(newFolder(), "deeper");
  const saved = checkpoint(1234);
  const path = await saveCheckpoint(folder, saved);
  assert.equal(path, join(folder, "step-00001234"));
  const { loaded, warnings } = await latestOf(folder);
  assert.deepEqual(loaded.state, saved.state);
  assert.deepEqual(new Map([...loaded.tensors].sort()), new Map([...saved.tensors].sort()));
  assert.deepEqual(warnings, []);
});

test("a folder without checkpoints, or none at all, has no latest one", async () => {
  const folder = newFolder();
  assert.deepEqual(await latestCheckpoint(folder), { latest: undefined, warnings: [] });
  mkdirSync(join(folder, "step-best"), { recursive: true });
  assert.deepEqual(await latestCheckpoint(folder), { latest: undefined, warnings: [] });
});

test("the newest ones are kept, and other files are left alone", async () => {
  const folder = newFolder();
  mkdirSync(folder);
  writeFileSync(join(folder, "notes.txt"), "mine");
  for (const step of [1, 2, 3]) await saveCheckpoint(folder, checkpoint(step));
  assert.deepEqual(readdirSync(folder).sort(), ["notes.txt", "step-00000002", "step-00000003"]);
  await saveCheckpoint(folder, checkpoint(123456789), { keep: 1 });
  assert.deepEqual(readdirSync(folder).sort(), ["notes.txt", "step-123456789"]);
});

test("a damaged checkpoint does not count as kept", async () => {
  const folder = newFolder();
  for (const step of [1, 2]) await saveCheckpoint(folder, checkpoint(step));
  truncateSync(join(folder, "step-00000002", "tensors.safetensors"), 100);
  await saveCheckpoint(folder, checkpoint(3));
  assert.deepEqual(readdirSync(folder).sort(), ["step-00000001", "step-00000003"]);
});

test("checkpoints of later steps are left alone", async () => {
  const folder = newFolder();
  for (const step of [8, 9]) await saveCheckpoint(folder, checkpoint(step));
  await saveCheckpoint(folder, checkpoint(5));
  assert.deepEqual(
    readdirSync(folder).sort(),
    [5, 8, 9].map((step) => `step-0000000${step}`),
  );
});

test("the best one is kept, however old", async () => {
  const folder = newFolder();
  for (const step of [1, 2, 3, 4]) await saveCheckpoint(folder, checkpoint(step), { best: 2 });
  const names = (steps: number[]) => steps.map((step) => `step-0000000${step}`);
  assert.deepEqual(readdirSync(folder).sort(), names([2, 3, 4]));
  await saveCheckpoint(folder, checkpoint(5), { best: 5, keep: 1 });
  assert.deepEqual(readdirSync(folder), names([5]));
  await saveCheckpoint(folder, checkpoint(6), { best: 5 });
  assert.deepEqual(readdirSync(folder).sort(), names([5, 6]));
});

test("damaged and temporary checkpoints are passed over with a warning that names them", async () => {
  const folder = newFolder();
  const damage: [name: string, harm: (path: string) => void, warning: RegExp][] = [
    ["step-00000002", (path) => truncateSync(join(path, "tensors.safetensors"), 300), /bytes of/],
    ["step-00000003", (path) => truncateSync(join(path, "tensors.safetensors"), 0), /bytes of/],
    ["step-00000004", (path) => truncateSync(join(path, "state.json"), 20), /bytes of .*state/],
    ["step-00000005", (path) => rmSync(join(path, "tensors.safetensors")), /ENOENT/],
    ["step-00000006", (path) => rmSync(join(path, "state.json")), /ENOENT/],
    ["step-00000007", (path) => rmSync(join(path, "SHA256SUMS")), /ENOENT/],
    ["step-00000008", (path) => appendFileSync(join(path, "SHA256SUMS"), "\n"), /holds more/],
    ["step-00000009", (path) => rmSync(path, { recursive: true }), /is of step 1/],
    ["step-00000010.tmp", () => {}, /stopped before the end/],
  ];
  await saveCheckpoint(folder, checkpoint(1));
  for (const [name] of damage) {
    await saveCheckpoint(folder, checkpoint(Number(name.slice(5, 13))), { keep: 20 });
  }
  for (const [name, harm] of damage) {
    const path = join(folder, name);
    if (name.endsWith(".tmp")) renameSync(path.slice(0, -4), path);
    harm(path);
    if (!existsSync(path)) cpSync(join(folder, "step-00000001"), path, { recursive: true });
  }
  const { loaded, warnings } = await latestOf(folder);
  assert.deepEqual(loaded.tensors, checkpoint(1).tensors);
  assert.equal(warnings.length, damage.length);
  for (const [name, , expected] of damage) {
    const warning = warnings.find((text) => text.includes(join(folder, name)))!;
    assert.match(warning, expected, name);
    if (!name.endsWith(".tmp")) assert.match(warning, /Starting from step 1 instead\.$/);
  }
  await saveCheckpoint(folder, checkpoint(11));
  assert.equal((await latestOf(folder)).loaded.step, 11);
});

test("any changed or missing byte of any file is found, and the checkpoint before is taken", async () => {
  const folder = newFolder();
  await saveCheckpoint(folder, checkpoint(1, 4));
  const path = await saveCheckpoint(folder, checkpoint(2, 4));
  const stream = random("bits");
  for (const name of ["tensors.safetensors", "state.json", "SHA256SUMS"]) {
    const file = join(path, name);
    const whole = readFileSync(file);
    const assertFound = async (what: string) => {
      const { latest, warnings } = await latestCheckpoint(folder);
      assert.deepEqual([latest?.step, warnings.length], [1, 1], what);
      assert.ok(warnings[0]!.startsWith(`${path} is ignored: it is damaged. `), warnings[0]);
      assert.ok(warnings[0]!.endsWith("Starting from step 1 instead."), warnings[0]);
    };
    for (let place = 0; place < whole.length; place++) {
      const bit = stream.integer(8);
      const flipped = Buffer.from(whole);
      flipped[place]! ^= 1 << bit;
      writeFileSync(file, flipped);
      await assertFound(`${name}: bit ${bit} of byte ${place}`);
      if (place % 4 > 0) continue;
      truncateSync(file, place);
      await assertFound(`${name}: cut at ${place}`);
    }
    writeFileSync(file, whole);
  }
  assert.equal((await latestOf(folder)).loaded.step, 2);
});

test("checkpoints that are all damaged are not taken for a run's start", async () => {
  const folder = newFolder();
  const path = await saveCheckpoint(folder, checkpoint(5));
  truncateSync(join(path, "tensors.safetensors"), 7);
  await assert.rejects(latestCheckpoint(folder), {
    name: "ClipsmithError",
    message: /^No checkpoint in .* is whole:\n {2}.*step-00000005 is ignored: it is damaged\. /,
  });
});

test("the sums are those of sha256sum", async () => {
  const path = await saveCheckpoint(newFolder(), checkpoint(3));
  const sum = (name: string) =>
    createHash("sha256")
      .update(readFileSync(join(path, name)))
      .digest("hex");
  const expected = ["tensors.safetensors", "state.json"].map((name) => `${sum(name)}  ${name}\n`);
  assert.equal(readFileSync(join(path, "SHA256SUMS"), "utf8"), expected.join(""));
});

test("saving a step again replaces its checkpoint", async () => {
  const folder = newFolder();
  await saveCheckpoint(folder, checkpoint(4));
  await saveCheckpoint(folder, { ...checkpoint(4), state: "second" });
  assert.equal((await latestOf(folder)).loaded.state, "second");
  truncateSync(join(folder, "step-00000004", "state.json"), 1);
  await saveCheckpoint(folder, { ...checkpoint(4), state: "third" });
  assert.equal((await latestOf(folder)).loaded.state, "third");
  assert.deepEqual(readdirSync(folder), ["step-00000004"]);
});

test("killed while a checkpoint is replaced, the one before it is found", async () => {
  const folder = newFolder();
  const path = await saveCheckpoint(folder, checkpoint(4));
  renameSync(path, `${path}.old`);
  mkdirSync(`${path}.tmp`);
  const { loaded, warnings } = await latestOf(folder);
  assert.deepEqual(loaded.tensors, checkpoint(4).tensors);
  assert.equal(warnings.length, 1);
  await saveCheckpoint(folder, checkpoint(6));
  assert.deepEqual(readdirSync(folder).sort(), ["step-00000004.old", "step-00000006"]);
});

test("a save that fails leaves nothing behind", async () => {
  const folder = newFolder();
  await saveCheckpoint(folder, checkpoint(1));
  const wrong = {
    ...checkpoint(2),
    tensors: new Map([["w", { shape: [3], data: new Float32Array(2) }]]),
  };
  await assert.rejects(saveCheckpoint(folder, wrong), ClipsmithError);
  assert.deepEqual(readdirSync(folder), ["step-00000001"]);
});

test("whatever call finds the disk full, the checkpoints before stay and the message says how full", async () => {
  const folder = newFolder();
  await saveCheckpoint(folder, checkpoint(1));
  const probe = await open(join(root, "probe"), "w");
  const file = Object.getPrototypeOf(probe) as FileHandle;
  await probe.close();
  const { write, sync } = file;
  let calls = 0;
  let failing = 0;
  const full = (call: string) =>
    Object.assign(new Error(`ENOSPC: no space left on device, ${call}`), { code: "ENOSPC" });
  for (failing = 1; ; failing++) {
    calls = 0;
    file.write = async function (this: FileHandle, ...args: Parameters<typeof write>) {
      if (++calls >= failing) throw full("write");
      return write.apply(this, args);
    } as typeof write;
    file.sync = async function (this: FileHandle) {
      // A disk over quota may say so only when it is flushed.
      if (++calls >= failing) throw full("fsync");
      return sync.call(this);
    };
    try {
      await saveCheckpoint(folder, checkpoint(2));
      break;
    } catch (error) {
      assert.ok(error instanceof ClipsmithError, String(error));
      assert.match(
        error.message,
        /^No room for .*step-00000002: it needs \d+ bytes, and \d+ are free .*ENOSPC/,
      );
    } finally {
      Object.assign(file, { write, sync });
    }
    const { loaded, warnings } = await latestOf(folder);
    // The last call flushes the name of a new checkpoint that is whole.
    const found = readdirSync(folder).length;
    assert.deepEqual(
      [loaded.step, loaded.tensors, warnings],
      [found, checkpoint(found).tensors, []],
    );
    assert.ok(existsSync(join(folder, "step-00000001")));
  }
  assert.ok(failing > 6, `only ${failing} calls`);
  assert.equal((await latestOf(folder)).loaded.step, 2);
});

test("a folder that cannot be made is named", async () => {
  const file = newFolder();
  writeFileSync(file, "");
  await assert.rejects(
    saveCheckpoint(join(file, "run"), checkpoint(1)),
    (error) => error instanceof ClipsmithError && error.message.includes(join(file, "run")),
  );
});

test("what is not a checkpoint is refused", async () => {
  const path = newFolder();
  mkdirSync(path);
  await assert.rejects(loadCheckpoint(path), ClipsmithError);
  const sums = ["tensors.safetensors", "state.json"].map((name) => {
    writeFileSync(join(path, name), "[]");
    return `${createHash("sha256").update("[]").digest("hex")}  ${name}\n`;
  });
  writeFileSync(join(path, "SHA256SUMS"), sums.join(""));
  await assert.rejects(loadCheckpoint(path), /expected a step and a state/);
});

test("a process killed while it saves leaves the last complete checkpoint usable", async () => {
  const folder = newFolder();
  const count = 400_000;
  // Saves each step twice, so that replacing is cut short as well.
  const script = `
    import { saveCheckpoint } from ${JSON.stringify(new URL("checkpoint.js", import.meta.url))};
    for (let step = Number(process.argv[1]); ; step++) {
      const data = new Float32Array(${count}).fill(step);
      const tensors = new Map([["weight", { shape: [${count}], data }]]);
      for (let i = 0; i < 2; i++) await saveCheckpoint(${JSON.stringify(folder)}, { step, tensors, state: { step } });
      console.log(step);
    }`;
  const delays = random("delays before the kill");
  let first = 1;
  for (let round = 0; round < 8; round++) {
    const args = ["--input-type=module", "--eval", script, String(first)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    let reported = 0;
    const lines = createInterface(child.stdout);
    lines.on("line", (line) => {
      reported = Number(line);
    });
    await once(lines, "line");
    await sleep(delays.between(0, 60));
    child.kill("SIGKILL");
    await once(child, "close");
    const { loaded, warnings } = await latestOf(folder);
    assert.ok(loaded.step >= reported, `found ${loaded.step}, saved ${reported}`);
    assert.deepEqual(loaded.state, { step: loaded.step });
    const { data } = loaded.tensors.get("weight")!;
    assert.equal(data.length, count);
    assert.ok(data.every((value) => value === loaded.step));
    assert.ok(
      warnings.every((warning) => warning.includes(".tmp")),
      warnings.join("\n"),
    );
    first = loaded.step + 1;
  }
  await saveCheckpoint(folder, checkpoint(first));
  assert.ok(existsSync(join(folder, `step-${String(first).padStart(8, "0")}`)));
  assert.equal(readdirSync(folder).length, 2, "leftovers are cleared away");
});
