import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Lock } from "./lock.js";

const root = mkdtempSync(join(tmpdir(), "clipsmith-lock-"));
after(() => rmSync(root, { recursive: true }));
const newFolder = () => mkdtempSync(join(root, "run-"));
const lockOf = (folder: string) => join(folder, "train.lock");
const take = (folder: string) => Lock.take(lockOf(folder), `${folder} is being trained`);
const holderOf = (folder: string) => JSON.parse(readFileSync(lockOf(folder), "utf8"));

/** A process that has taken a folder's lock and keeps it. */
async function holder(folder: string): Promise<ChildProcess> {
  const script = `
    import { Lock } from ${JSON.stringify(new URL("lock.js", import.meta.url))};
    await Lock.take(${JSON.stringify(lockOf(folder))}, "the folder is in use");
    console.log("taken");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout!, "data");
  return child;
}

test("a lock is taken by one at a time, and leaves nothing behind", async () => {
  const folder = newFolder();
  const lock = await take(folder);
  await assert.rejects(take(folder), {
    name: "ClipsmithError",
    message: new RegExp(`^${folder} is being trained by the process ${process.pid}, since 20`),
  });
  await lock.check();
  await lock.release();
  assert.deepEqual(readdirSync(folder), []);
  await (await take(folder)).release();
});

test("another process's lock is refused while it lives, and is stale once it was killed", async () => {
  const folder = newFolder();
  const child = await holder(folder);
  await assert.rejects(take(folder), {
    message: new RegExp(`by the process ${child.pid}, .* stop it: kill ${child.pid}$`),
  });
  child.kill("SIGKILL");
  await once(child, "exit");
  const lock = await take(folder);
  assert.equal(holderOf(folder).pid, process.pid);
  await lock.release();
});

test("a number that another process has now does not hold a lock", async () => {
  const folder = newFolder();
  const lock = await take(folder);
  const mine = holderOf(folder);
  await lock.release();
  writeFileSync(lockOf(folder), JSON.stringify({ ...mine, started: "before the last boot 7" }));
  await (await take(folder)).release();
});

test("a lock of another machine holds as long as it is touched", async () => {
  const folder = newFolder();
  const other = { pid: process.pid, machine: "elsewhere", started: "", id: "", since: "" };
  writeFileSync(lockOf(folder), JSON.stringify(other));
  await assert.rejects(take(folder), {
    name: "ClipsmithError",
    message: /of elsewhere, last seen \d s ago\. If it does not run any more, remove .*train\.lock/,
  });
  const longAgo = Date.now() / 1000 - 301;
  utimesSync(lockOf(folder), longAgo, longAgo);
  await (await take(folder)).release();
});

test("a torn lock is nobody's", async () => {
  for (const text of ["", '{"pid": 1', "[]\n"]) {
    const folder = newFolder();
    writeFileSync(lockOf(folder), text);
    await (await take(folder)).release();
    assert.ok(!existsSync(lockOf(folder)));
  }
});

test("who lost the lock is told, and leaves the other's alone", async () => {
  const folder = newFolder();
  const lock = await take(folder);
  rmSync(lockOf(folder));
  await assert.rejects(lock.check(), { name: "ClipsmithError", message: /saves no more/ });
  const other = await take(folder);
  await lock.release();
  await other.check();
  await other.release();
});

test("of many that take a stale lock at once, the one that has it in the end alone may save", async () => {
  const folder = newFolder();
  const dead = { pid: 2 ** 30, machine: "", started: "", id: "", since: "" };
  writeFileSync(lockOf(folder), JSON.stringify(dead));
  utimesSync(lockOf(folder), 0, 0);
  const taken = await Promise.allSettled(Array.from({ length: 20 }, () => take(folder)));
  const locks = taken.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  assert.ok(locks.length >= 1);
  const checks = await Promise.allSettled(locks.map((lock) => lock.check()));
  assert.equal(checks.filter(({ status }) => status === "fulfilled").length, 1);
  for (const lock of locks) await lock.release();
});
