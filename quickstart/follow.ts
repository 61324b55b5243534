import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Model } from "../src/model/index.js";
import { type IndexBatch, type PictureIndex, writeIndex } from "../src/search/index.js";
import { type NewestModel, newestModel } from "../src/train/index.js";
import { counted } from "../src/util/counted.js";
import type { LivePage } from "./live-page.js";
import { say } from "./say.js";
import { measureUnseenStyle, type UnseenStyle } from "./unseen-style.js";

const POLL_MS = 1000;

/** Showing checkpoints takes at most this part of the machine's time from the training. */
const MOST_TIME = 1 / 20;

/** A run under way, and what is to be found by its model. */
export interface Followed {
  readonly run: string;
  /** How long it trains. */
  readonly minutes: number;
  readonly unseenStyle: UnseenStyle;
}

/** Has the page search the style never seen by the newest checkpoint of a run, until the run is over. */
export async function followRun(
  followed: Followed,
  page: Pick<LivePage, "show">,
  isOver: AbortSignal,
): Promise<void> {
  const folder = join(followed.run, "live");
  // Of a process that was killed.
  await rm(folder, { recursive: true, force: true });
  let shown = 0;
  while (!isOver.aborted) {
    const used = process.cpuUsage();
    const newest = await newestModel(followed.run, { after: shown });
    if (newest !== undefined) {
      const { url, found } = await showCheckpoint(newest, followed, folder, page);
      if (shown === 0) {
        say(`Search with the half-trained model at ${url}; it gets better as it trains.`);
      }
      say(found);
      shown = newest.step;
    }
    const { user, system } = process.cpuUsage(used);
    const took = (user + system) / 1000 / availableParallelism();
    const pause = newest === undefined ? POLL_MS : Math.max(POLL_MS, took / MOST_TIME);
    await sleep(pause, undefined, { signal: isOver }).catch(() => {});
  }
}

async function showCheckpoint(
  checkpoint: NewestModel,
  { minutes, unseenStyle }: Followed,
  folder: string,
  page: Pick<LivePage, "show">,
): Promise<{ url: string; found: string }> {
  const model = new Model(checkpoint);
  const { textToImage, embeddings } = await measureUnseenStyle(model, unseenStyle);
  const own = join(folder, String(checkpoint.step));
  const index = await indexOf(unseenStyle, embeddings, model.width, own);
  const trained = `${shortNumber(checkpoint.seconds / 60)} of ${counted(minutes, "minute")}`;
  const recall = `${(100 * textToImage.r10).toFixed(1)} %`;
  const found = `Trained for ${trained}: in a style never seen, text to image R@10 is ${recall}.`;
  const note = `${found} The model gets better as it trains.`;
  return { url: await page.show({ model, index, note, folder: own }), found };
}

async function indexOf(
  { pictures, names }: UnseenStyle,
  embeddings: Float32Array,
  width: number,
  folder: string,
): Promise<PictureIndex> {
  async function* batches(): AsyncGenerator<IndexBatch> {
    const samples = pictures.map((path, i) => ({ name: path, path, captions: [names[i]!] }));
    yield { samples, embeddings };
  }
  return (await writeIndex(folder, width, batches())).index;
}

/** With a digit after the point where it says something. */
function shortNumber(value: number): string {
  return String(Number(value.toFixed(1)));
}
