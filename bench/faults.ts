/**
 * `npm run bench -- faults`: one training that is killed, runs out of disk, loses connections and bits,
 * beside the same training left in peace. Both read the same shards, with damaged pictures and a shard
 * that is cut short, from a server in this process. In the end their parameters have to be equal.
 */
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import sharp from "sharp";
import { pack } from "tar-stream";
import { openSource } from "../src/data/index.js";
import { modelFiles } from "../src/model/index.js";
import { latestCheckpoint } from "../src/train/checkpoint.js";
import { readMetrics, runFiles, train } from "../src/train/index.js";
import { type Random, random } from "../src/util/random.js";

const STEPS = 1200;
const KILLS = 30;
const SHARDS = 8;
const SHARD_SAMPLES = 50;
/** Part of the pictures that cannot be read, and of the last shard that is there. */
const CORRUPT = 0.05;
const SHARD_PART = 0.6;
/** Part of the requests that fail in the stormy run, in one of three ways. */
const FAILING_REQUESTS = 0.25;
const DISK_MB = 64;
/** A process that takes longer hangs. */
const HANGING_SECONDS = 120;

/** One process's part of the training; in a process of its own. */
export async function trainOnce(spec: string, out: string): Promise<void> {
  const begun = existsSync(join(out, modelFiles.config));
  const { steps } = await train({
    sources: [await openSource(spec, { waitMs: 5, tries: 12 })],
    out,
    resume: begun,
    overwrite: !begun,
    model: {
      clip: {
        ...{ dimText: 16, dimImage: 16, dimLatent: 16, textEncDepth: 1, visualEncDepth: 1 },
        ...{ textHeads: 2, textDimHead: 8, visualHeads: 2, visualDimHead: 8 },
        ...{ visualImageSize: 16, visualPatchSize: 4 },
        // Batch norm's statistics and patch dropout have to come back, too.
        ...{ useVisualSsl: true, visualSslProjectionSize: 16, visualSslProjectionHiddenSize: 16 },
      },
    },
    training: {
      steps: STEPS,
      batchSize: 8,
      checkpointSeconds: 0.05,
      maxSkippedRate: 0.5,
      shuffleBuffer: 64,
      augment: { rotate: 10 },
    },
    vocabularySize: 300,
    runtime: { threads: 1 },
  });
  console.log(`All ${steps} steps are taken.`);
}

interface Ended {
  readonly code: number | null;
  readonly text: string;
}

/** Starts {@link trainOnce}; `ended` fails if it hangs. */
function start(spec: string, out: string) {
  const script = `
    import { trainOnce } from ${JSON.stringify(import.meta.url)};
    try { await trainOnce(${JSON.stringify(spec)}, ${JSON.stringify(out)}); }
    catch (error) { console.error(error.name === "ClipsmithError" ? error.message : error); process.exitCode = 1; }`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`a training hangs: ${text}`));
    }, HANGING_SECONDS * 1000);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, text });
    });
  });
  return { child, ended };
}

const COLOURS = { red: [220, 30, 30], green: [30, 200, 30], blue: [30, 30, 220] } as const;

/** Writes the shards and returns their address below a folder's, with braces. */
async function makeShards(folder: string): Promise<string> {
  mkdirSync(folder);
  for (let shard = 0; shard < SHARDS; shard++) {
    const tar = pack();
    for (let i = 0; i < SHARD_SAMPLES; i++) {
      const number = shard * SHARD_SAMPLES + i;
      const name = (["red", "green", "blue"] as const)[number % 3]!;
      const [r, g, b] = COLOURS[name];
      const background = { r: r + (number % 32), g: g + (number % 7), b };
      const png = await sharp({ create: { width: 20, height: 20, channels: 3, background } })
        .png()
        .toBuffer();
      const damaged = number % Math.round(1 / CORRUPT) === 0;
      const key = String(number).padStart(5, "0");
      tar.entry({ name: `${key}.png` }, damaged ? png.subarray(0, png.length / 2) : png);
      tar.entry({ name: `${key}.txt` }, `${name} number ${number}`);
    }
    tar.finalize();
    const chunks: Uint8Array[] = [];
    for await (const chunk of tar as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const kept = shard === SHARDS - 1 ? Math.floor(bytes.length * SHARD_PART) : bytes.length;
    writeFileSync(join(folder, `${shard}.tar`), bytes.subarray(0, kept));
  }
  return `{0..${SHARDS - 1}}.tar`;
}

/** Serves a folder's files, by ranges too. While `stormy`, some requests fail. */
async function serveFolder(folder: string, stream: Random) {
  const weather = { stormy: false, requests: 0, dropped: 0 };
  const answer = ({ url, headers }: IncomingMessage, response: ServerResponse) => {
    const bytes = readFileSync(join(folder, url!.slice(1)));
    const [, from] = /^bytes=(\d+)-/.exec(headers.range ?? "") ?? [];
    const body = bytes.subarray(Number(from ?? 0));
    weather.requests++;
    const fails = weather.stormy && stream.uniform() < FAILING_REQUESTS;
    const way = fails ? stream.integer(3) : undefined;
    if (fails) weather.dropped++;
    if (way === 0) return response.destroy();
    if (way === 1) return response.writeHead(503).end();
    response.writeHead(from === undefined ? 200 : 206, {
      "content-length": body.length,
      etag: `"${bytes.length}"`,
      ...(from !== undefined && {
        "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
      }),
    });
    if (way === undefined) return response.end(body);
    response.write(body.subarray(0, stream.integer(body.length)), () => response.destroy());
  };
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { server, weather, address: `http://127.0.0.1:${port}` };
}

/** Mounts a disk of its own, where that is allowed. */
function mountDisk(folder: string): boolean {
  mkdirSync(folder);
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_MB}m`, "tmpfs", folder]);
  return status === 0;
}

const checkpointsOf = (run: string) => join(run, runFiles.checkpoints);

/** Names of the checkpoints that are complete, by their step. */
function namesOf(run: string): string[] {
  if (!existsSync(checkpointsOf(run))) return [];
  return readdirSync(checkpointsOf(run))
    .filter((name) => /^step-\d+$/.test(name))
    .sort();
}

const stepsOf = (run: string) => readMetrics(join(run, runFiles.metrics)).at(-1)?.step ?? 0;

/** Runs the benchmark. */
export async function benchFaults() {
  const began = performance.now();
  const root = mkdtempSync(join(tmpdir(), "clipsmith-faults-"));
  const disk = join(root, "disk");
  const mounted = mountDisk(disk);
  const shards = join(root, "shards");
  const spec = await makeShards(shards);
  const stream = random("faults");
  const { server, weather, address } = await serveFolder(shards, stream);
  try {
    const calm = join(root, "calm");
    const ended = await start(`${address}/${spec}`, calm).ended;
    if (ended.code !== 0) throw new Error(ended.text);
    console.log(`calm: ${STEPS} steps, ${weather.requests} requests`);

    weather.stormy = true;
    const counts = await weatherTheStorm(`${address}/${spec}`, join(disk, "run"), disk, {
      stream,
      mounted,
    });
    const model = (run: string) => readFileSync(join(run, modelFiles.weights));
    const sameParameters = model(calm).equals(model(join(disk, "run")));
    const result = {
      steps: STEPS,
      ...counts,
      fullDisks: mounted ? counts.fullDisks : "not tried: this user may not mount a tmpfs",
      requests: weather.requests,
      droppedRequests: weather.dropped,
      sameParameters,
      seconds: Math.round((performance.now() - began) / 1000),
    };
    console.log(
      `${counts.kills} kills, ${result.fullDisks} full disks, ${counts.damagedCheckpoints} damaged checkpoints, ` +
        `${weather.dropped} dropped requests: ${counts.lostCheckpoints} checkpoints lost, ` +
        `parameters ${sameParameters ? "equal" : "DIFFERENT"}`,
    );
    return result;
  } finally {
    server.close();
    server.closeAllConnections();
    if (mounted) spawnSync("umount", [disk]);
    rmSync(root, { recursive: true, force: true });
  }
}

/** Trains to the end, through all that can happen. */
async function weatherTheStorm(
  spec: string,
  run: string,
  disk: string,
  { stream, mounted }: { stream: Random; mounted: boolean },
) {
  const counts = {
    kills: 0,
    killsBeforeTheFirstStep: 0,
    fullDisks: 0,
    damagedCheckpoints: 0,
    lostCheckpoints: 0,
  };
  let safe = 0;
  const damaged = new Set<string>();
  /** What had a checkpoint before must have one that is whole. */
  const checkSafe = async () => {
    const { latest } = await latestCheckpoint(checkpointsOf(run));
    if ((latest?.step ?? 0) < safe) counts.lostCheckpoints++;
    safe = latest?.step ?? 0;
  };
  for (let life = 1; counts.kills < KILLS; life++) {
    const { child, ended } = start(spec, run);
    const before = stepsOf(run);
    // One life in six ends before its first step, the others at any moment after it.
    const early = life % 6 === 0;
    const alive = () => child.exitCode === null && child.signalCode === null;
    if (early) await sleep(stream.between(50, 600));
    else {
      while (alive() && stepsOf(run) <= before) await sleep(5);
      await sleep(stream.between(0, 250));
    }
    const sound = namesOf(run).filter((name) => !damaged.has(name));
    safe = Math.max(safe, ...sound.map((name) => Number(name.slice(5))));
    child.kill("SIGKILL");
    const { code, text } = await ended;
    if (code !== null) throw new Error(`it ended before its ${counts.kills + 1}th kill: ${text}`);
    counts.kills++;
    if (stepsOf(run) <= before) counts.killsBeforeTheFirstStep++;
    await checkSafe();

    if (mounted && life % 8 === 0) {
      await fillDisk(spec, run, disk, stream);
      counts.fullDisks++;
      await checkSafe();
    }
    if (life % 10 === 5 && namesOf(run).length > 1) {
      damaged.add(damageNewest(run, stream));
      counts.damagedCheckpoints++;
      safe = 0;
      await checkSafe();
      if (safe === 0) counts.lostCheckpoints++;
    }
  }
  const { code, text } = await start(spec, run).ended;
  if (code !== 0) throw new Error(text);
  return counts;
}

/** Lets a process find the disk full, in the middle of a checkpoint or before; then makes room. */
async function fillDisk(spec: string, run: string, disk: string, stream: Random): Promise<void> {
  const { bavail, bsize } = statfsSync(disk);
  const checkpoint = join(checkpointsOf(run), namesOf(run).at(-1)!, "tensors.safetensors");
  const left = stream.between(0, 0.9) * statSync(checkpoint).size;
  const filler = join(disk, "filler");
  writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - left), 1));
  const { code, text } = await start(spec, run).ended;
  rmSync(filler);
  if (code !== 1 || !/No room for|Cannot write/.test(text)) {
    throw new Error(`a full disk should have stopped the training and been told: ${code} ${text}`);
  }
}

/** Flips a bit of the newest checkpoint, and returns its name. */
function damageNewest(run: string, stream: Random): string {
  const name = namesOf(run).at(-1)!;
  const files = readdirSync(join(checkpointsOf(run), name));
  const file = join(checkpointsOf(run), name, files[stream.integer(files.length)]!);
  const bytes = readFileSync(file);
  bytes[stream.integer(bytes.length)]! ^= 1 << stream.integer(8);
  writeFileSync(file, bytes);
  return name;
}
