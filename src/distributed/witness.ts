import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { nameOf, type Peer } from "./peers.js";

/** For the witness to start. */
const MOST_TRIES = 200;
const TRY_MS = 25;

/** Whose process the witness is a child of: the lowest rank on the host of `rank`. */
function leadOf(rank: number, peers: readonly Peer[]): number {
  return peers.findIndex(({ host }) => host === peers[rank]!.host);
}

/** Where the ranks of a host and their witness meet. */
function folderOf(rank: number, peers: readonly Peer[]): string {
  return join(tmpdir(), `clipsmith-witness-${peers[leadOf(rank, peers)]!.process}`);
}

/**
 * Has a process on each host watch that host's ranks, and say which one is killed first. MPICH's mpirun kills
 * the others before they could, and names any of them. Every rank holds a connection, which the system closes
 * when its process ends; in the order of the ends, so no other's is closed before.
 *
 * @returns this rank's connection, which does not keep the process; undefined if the witness does not start
 */
export async function callWitness(
  rank: number,
  peers: readonly Peer[],
): Promise<Socket | undefined> {
  const folder = folderOf(rank, peers);
  if (leadOf(rank, peers) === rank) {
    try {
      mkdirSync(folder, { mode: 0o700 });
    } catch {
      return undefined;
    }
    const names = peers.map((_, rank) => nameOf(rank, peers));
    const script = fileURLToPath(new URL("./witness-process.js", import.meta.url));
    // In a session of its own, or it would be killed with the ranks.
    spawn(process.execPath, [script, folder, JSON.stringify(names)], {
      detached: true,
      stdio: ["ignore", "ignore", "inherit"],
    }).unref();
  }
  for (let i = 0; i < MOST_TRIES; i++) {
    const connection = createConnection(join(folder, "socket"));
    const isThere = await new Promise<boolean>((resolve) => {
      connection.on("error", () => resolve(false));
      // It answers when it knows whose connection this is.
      connection.once("data", () => resolve(true));
      connection.write(String(rank));
    });
    if (isThere) return connection.unref();
    await sleep(TRY_MS);
  }
  return undefined;
}

/** From now on this host's ranks may end: the reason is told, or there is none. */
export function dismissWitness(rank: number, peers: readonly Peer[]): void {
  try {
    writeFileSync(join(folderOf(rank, peers), "dismissed"), "");
  } catch {
    // There is no witness, or it has ended.
  }
}
