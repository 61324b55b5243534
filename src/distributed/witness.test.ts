import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("./witness-process.js", import.meta.url));

/** A connection of a rank, as soon as the witness is there and knows it. */
async function connect(folder: string, rank: number): Promise<Socket> {
  for (;;) {
    const connection = createConnection(join(folder, "socket"));
    connection.write(String(rank));
    const isThere = await Promise.race([
      once(connection, "data").then(() => true),
      once(connection, "close").then(() => false),
    ]).catch(() => false);
    if (isThere) return connection;
    await sleep(10);
  }
}

const skip = process.platform === "win32" && "Windows cannot stop a process";

for (const first of [0, 1, 2]) {
  test(`a witness that sees all ranks end at once names rank ${first}, the first`, {
    skip,
  }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "clipsmith-witness-test-"));
    const names = JSON.stringify(["rank 0", "rank 1", "rank 2"]);
    const witness = spawn(process.execPath, [script, folder, names]);
    let said = "";
    witness.stderr.on("data", (data) => {
      said += data;
    });
    const connections = [];
    for (const rank of [0, 1, 2]) connections.push(await connect(folder, rank));
    // Until it waits for what comes next.
    await sleep(100);
    witness.kill("SIGSTOP");
    const [others, ended] = [connections.toSpliced(first, 1), once(witness, "close")];
    for (const connection of [connections[first]!, ...others]) {
      connection.destroy();
      await once(connection, "close");
    }
    witness.kill("SIGCONT");
    await ended;
    assert.match(
      said,
      new RegExp(`^clipsmith: rank ${first} was killed, as the first on its host`),
    );
    assert.equal(said.match(/was killed/g)?.length, 1);
  });
}
