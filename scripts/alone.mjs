import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Nothing that is done alone takes longer. */
const MOST_MS = 10 * 60 * 1000;

/** Whether the process that made a lock still works. A number may be another process's by now. */
function isHeld(path) {
  try {
    const holder = Number(readFileSync(path, "utf8"));
    if (holder === process.pid || Date.now() - statSync(path).mtimeMs > MOST_MS) return false;
    process.kill(holder, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Does something that no other process may do at the same time; `path` is the lock's file. */
export async function alone(path, work) {
  mkdirSync(dirname(path), { recursive: true });
  for (let told = false; ; told = true) {
    try {
      writeFileSync(path, String(process.pid), { flag: "wx" });
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (!isHeld(path)) {
      rmSync(path, { force: true });
      continue;
    }
    if (!told) console.log(`Waiting for another process that holds ${path} ...`);
    await sleep(500);
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}
