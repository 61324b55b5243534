/** The process behind callWitness. Arguments: its folder, and the ranks' names as JSON. */
import { existsSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { tell } from "./tell.js";

/** For the first rank to connect. */
const START_MS = 30_000;

const [folder, names] = process.argv.slice(2) as [string, string];
let open = 0;
let isOver = false;

const server = createServer((connection) => {
  let rank: number | undefined;
  open++;
  clearTimeout(timer);
  connection.on("data", (data) => {
    rank = Number(data.toString());
    connection.write(".");
  });
  const end = () => {
    // What ends after the first one was killed because of it. So were other hosts' ranks; times tell.
    if (rank === undefined || isOver) return;
    isOver = true;
    const name = (JSON.parse(names) as string[])[rank];
    if (!existsSync(join(folder, "dismissed")))
      tell(`${name} was killed, as the first on its host, at ${new Date().toISOString()}`);
  };
  // Connections that end together come here in the order of their ends, but are closed in the reverse one.
  connection.on("end", end);
  connection.on("error", end);
  connection.on("close", () => {
    end();
    open--;
    if (open === 0 && isOver) server.close();
  });
});
const timer = setTimeout(() => server.close(), START_MS);
server.on("close", () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
server.listen(join(folder, "socket"));
