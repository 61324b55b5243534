/**
 * The quickstart's pictures and texts: every emoji of Unicode as several makers draw it, rendered from the
 * icon packages that npm has installed. All makers but one are for training, each drawing also with lines
 * around its shapes, since a few styles are little to learn what styles can be; one maker is held out as
 * a drawing style never seen, and a tenth of the keywords as wordings never seen.
 */
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, parse, resolve } from "node:path";
import sharp from "sharp";
import { readCollection, type Sample } from "../src/data/index.js";
import { random } from "../src/util/random.js";
import {
  iconSvg,
  loadVendor,
  type Outline,
  packageVersion,
  TRAINING_VENDORS,
  type TrainingVendor,
  UNSEEN_VENDOR,
  type Vendor,
} from "./vendors.js";
import { comparable, type Emoji, heldOutKeywords, loadEmoji, trainingCaptions } from "./wording.js";

/** Lines are drawn dark, most of them black, and of a width between these. */
const LINE_COLOURS = ["#000", "#000", "#000", "#222", "#444", "#420", "#024"];
const LINE_WIDTHS = [0.01, 0.05] as const;

/** The maker whose pictures are searched with the held-out keywords: a style that is always trained on. */
const WORDING_VENDOR: (typeof TRAINING_VENDORS)[number] = "noto";

export interface PrepareOptions {
  /** Width and height of the pictures in pixels; default 64. */
  readonly size?: number;
  /** Makers to train on, noto among them; default {@link TRAINING_VENDORS}. */
  readonly vendors?: readonly TrainingVendor[];
  /** Only the emoji with these hexcodes; default all. Which keywords are held out never depends on it. */
  readonly hexcodes?: readonly string[];
  /** Called after each picture with how many of all are there. Not called when all was done before. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What {@link prepareEmoji} made. */
export interface EmojiReport {
  readonly pictures: Readonly<Partial<Record<Vendor, number>>>;
  /** The names of the emoji that a vendor doesn't draw. */
  readonly missing: Readonly<Partial<Record<Vendor, readonly string[]>>>;
  /** How many held-out keywords at least one picture of unseen-wording.jsonl has. */
  readonly heldOutKeywords: number;
  /** How many of those have each of their words somewhere within the training captions. */
  readonly heldOutKeywordsOfSeenWords: number;
}

/** What the folder holds or is about to hold; `report` is there once all is written. */
interface State {
  readonly version: string;
  readonly report?: EmojiReport;
}

const stateFile = "prepared.json";

/**
 * Renders the emoji into `folder`, as PNG on white, and writes four lists there, one JSON object a
 * line, paths relative to the folder:
 *
 * - `train.jsonl`: `{path, captions}`, the pictures of the training vendors;
 * - `outlined.jsonl`: the same pictures with lines around their shapes;
 * - `unseen-style.jsonl`: `{path, captions}`, the held-out vendor's pictures of emoji whose names are
 *   trained, with the name as the only caption;
 * - `unseen-wording.jsonl`: `{path, keywords}`, every picture of one training vendor with its held-out
 *   keywords, often none.
 *
 * A folder that is ready is left as it is; a run that was killed is continued; pictures of another size
 * or of other package versions are made anew.
 */
export async function prepareEmoji(
  folder: string,
  options: PrepareOptions = {},
): Promise<EmojiReport> {
  const { size = 64, vendors: trained = TRAINING_VENDORS, hexcodes, onProgress } = options;
  const vendors: readonly Vendor[] = [...trained, UNSEEN_VENDOR];
  const version = [
    `clipsmith-emoji-3 ${size} px`,
    ...vendors.map((vendor) => `${vendor} ${packageVersion(vendor)}`),
    ...(hexcodes === undefined ? [] : [`only ${[...hexcodes].sort().join(" ")}`]),
  ].join(", ");
  const state = await readState(folder);
  if (state?.version === version && state.report !== undefined) return state.report;
  if (state?.version !== version) {
    const folders = [...vendors, ...trained.map(outlinedFolder)];
    for (const name of folders) await rm(join(folder, name), { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await writeState(folder, { version });
  }

  const all = loadEmoji();
  const wanted = new Set(hexcodes ?? all.map(({ hexcode }) => hexcode));
  const emoji = all.filter(({ hexcode }) => wanted.has(hexcode));
  const drawn = new Map<Vendor, Emoji[]>();
  const missing: Partial<Record<Vendor, string[]>> = {};
  const rounds = vendors.length + trained.length;
  let round = 0;
  for (const vendor of vendors) {
    // One vendor's icons at a time: they take hundreds of megabytes.
    const { set, names } = loadVendor(vendor, emoji);
    const found = emoji.filter(({ hexcode }) => names.has(hexcode));
    drawn.set(vendor, found);
    missing[vendor] = emoji.filter(({ hexcode }) => !names.has(hexcode)).map(({ name }) => name);
    for (const outlined of vendor === UNSEEN_VENDOR ? [false] : [false, true]) {
      const into = outlined ? outlinedFolder(vendor) : vendor;
      await mkdir(join(folder, into), { recursive: true });
      let done = round++ * emoji.length;
      await forEachConcurrently(found, async ({ hexcode }) => {
        const outline = outlined ? outlineOf(vendor, hexcode) : undefined;
        const svg = iconSvg(set, names.get(hexcode)!, 2 * size, outline);
        await renderOnce(svg, size, join(folder, picturePath(into, hexcode)));
        onProgress?.(++done, rounds * emoji.length);
      });
    }
  }
  const report = await writeLists(folder, all, drawn, missing);
  onProgress?.(rounds * emoji.length, rounds * emoji.length);
  await writeState(folder, { version, report });
  return report;
}

function picturePath(into: string, hexcode: string): string {
  return `${into}/${hexcode}.png`;
}

function outlinedFolder(vendor: Vendor): string {
  return `${vendor}-outlined`;
}

/** The lines of one drawing, always the same. */
function outlineOf(vendor: Vendor, hexcode: string): Outline {
  const stream = random("outline", vendor, hexcode);
  return {
    width: stream.between(...LINE_WIDTHS),
    colour: LINE_COLOURS[stream.integer(LINE_COLOURS.length)]!,
  };
}

/**
 * Writes the picture unless it is there; a file under its final name is always whole. What is drawn fills
 * it, for makers leave margins of different widths, which say nothing of what is shown.
 *
 * @param svg twice as large as the picture: the SVG renderer's filters leave jagged edges at its own size.
 */
async function renderOnce(svg: string, size: number, path: string): Promise<void> {
  if (await exists(path)) return;
  const { data, info } = await sharp(Buffer.from(svg))
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const png = await sharp(data, { raw: info })
    .extract(drawnArea(data, info))
    .resize(size, size, { fit: "contain", background: "#ffffff" })
    .flatten({ background: "#ffffff" })
    .png()
    .toBuffer();
  await writeWhole(path, png);
}

/** Below this opacity, of 255, there is nothing to see. */
const VISIBLE = 16;

/** The smallest rectangle with all that is visible of [H, W, 4] pixels; all of them if nothing is. */
function drawnArea(pixels: Uint8Array, { width, height }: { width: number; height: number }) {
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (pixels[(y * width + x) * 4 + 3]! < VISIBLE) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
  if (bottom < 0) return { left: 0, top: 0, width, height };
  top = Math.min(top, bottom);
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(`${path}.part`, content);
  await rename(`${path}.part`, path);
}

async function readState(folder: string): Promise<State | undefined> {
  const path = join(folder, stateFile);
  return (await exists(path)) ? (JSON.parse(await readFile(path, "utf8")) as State) : undefined;
}

async function writeState(folder: string, state: State): Promise<void> {
  await writeWhole(join(folder, stateFile), JSON.stringify(state));
}

/** Runs `work` on every item, on as many at once as there are cores. */
async function forEachConcurrently<T>(
  items: readonly T[],
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      for (const item of queue) await work(item);
    }),
  );
}

async function writeLists(
  folder: string,
  all: readonly Emoji[],
  drawn: ReadonlyMap<Vendor, readonly Emoji[]>,
  missing: EmojiReport["missing"],
): Promise<EmojiReport> {
  const captions = trainingCaptions(all);
  const drawings = [...drawn].flatMap(([vendor, found]) =>
    vendor === UNSEEN_VENDOR ? [] : found.map(({ hexcode }) => ({ vendor, hexcode })),
  );
  const trained = (into: (vendor: Vendor) => string) =>
    drawings.map(({ vendor, hexcode }) => ({
      path: picturePath(into(vendor), hexcode),
      captions: captions.get(hexcode)!,
    }));
  const trainedHexcodes = new Set(drawings.map(({ hexcode }) => hexcode));
  const unseenStyle = drawn
    .get(UNSEEN_VENDOR)!
    .filter(({ hexcode }) => trainedHexcodes.has(hexcode))
    .map(({ hexcode, name }) => ({ path: picturePath(UNSEEN_VENDOR, hexcode), captions: [name] }));
  const heldOut = heldOutKeywords(all);
  const unseenWording = drawn.get(WORDING_VENDOR)!.map(({ hexcode, keywords }) => ({
    path: picturePath(WORDING_VENDOR, hexcode),
    keywords: keywords.filter((keyword) => heldOut.has(comparable(keyword))),
  }));
  await writeJsonLines(
    join(folder, "train.jsonl"),
    trained((vendor) => vendor),
  );
  await writeJsonLines(join(folder, "outlined.jsonl"), trained(outlinedFolder));
  await writeJsonLines(join(folder, "unseen-style.jsonl"), unseenStyle);
  await writeJsonLines(join(folder, "unseen-wording.jsonl"), unseenWording);

  const { queries } = await readHeldOutWording(folder);
  return {
    pictures: Object.fromEntries(
      [...drawn].map(([vendor, found]) => [
        vendor,
        vendor === UNSEEN_VENDOR ? unseenStyle.length : found.length,
      ]),
    ),
    missing,
    heldOutKeywords: queries.length,
    heldOutKeywordsOfSeenWords: queries.filter(({ wordsSeen }) => wordsSeen).length,
  };
}

async function writeJsonLines(path: string, rows: readonly object[]): Promise<void> {
  await writeWhole(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

async function readJsonLines<T>(path: string): Promise<T[]> {
  const lines = (await readFile(path, "utf8")).split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as T);
}

interface Captioned {
  readonly path: string;
  readonly captions: readonly string[];
}

/** Training pictures (absolute paths) and the emoji's name of each. */
export async function readTraining(
  folder: string,
): Promise<{ pictures: string[]; names: string[] }> {
  return readNamed(folder, "train.jsonl");
}

/**
 * The samples of train.jsonl and outlined.jsonl, those of emoji that few makers draw several times, so that
 * each emoji comes about equally often.
 */
export async function readTrainingSamples(folder: string): Promise<Sample[]> {
  const lists = ["train.jsonl", "outlined.jsonl"].map((list) => readCollection(join(folder, list)));
  const ofEmoji = new Map<string, Sample[]>();
  for (const sample of (await Promise.all(lists)).flatMap(({ samples }) => samples)) {
    const hexcode = parse(sample.picture).name;
    const drawings = ofEmoji.get(hexcode) ?? [];
    ofEmoji.set(hexcode, drawings);
    drawings.push(sample);
  }
  const most = Math.max(...[...ofEmoji.values()].map((drawings) => drawings.length));
  return [...ofEmoji.values()].flatMap((drawings) =>
    Array.from({ length: Math.floor(most / drawings.length) }, () => drawings).flat(),
  );
}

/** Pictures in the held-out style (absolute paths) and the emoji's name of each; no name comes twice. */
export async function readUnseenStyle(
  folder: string,
): Promise<{ pictures: string[]; names: string[] }> {
  return readNamed(folder, "unseen-style.jsonl");
}

/** A list's pictures with their first captions, which are names: see trainingCaptions. */
async function readNamed(folder: string, file: string) {
  const rows = await readJsonLines<Captioned>(join(folder, file));
  return {
    pictures: rows.map(({ path }) => resolve(folder, path)),
    names: rows.map(({ captions }) => captions[0]!),
  };
}

/** A search for the pictures with a held-out keyword. */
export interface WordingQuery {
  readonly text: string;
  /** Indices of the pictures that have the keyword; at least one. */
  readonly positives: number[];
  /**
   * Whether each word of the text occurs within some training caption. A model trained on nothing else
   * can only guess at the others from their spelling.
   */
  readonly wordsSeen: boolean;
}

/** The searches by held-out keywords, each among all of `pictures` (absolute paths). */
export async function readHeldOutWording(
  folder: string,
): Promise<{ pictures: string[]; queries: WordingQuery[] }> {
  const training = await readJsonLines<Captioned>(join(folder, "train.jsonl"));
  const seenWords = new Set(training.flatMap(({ captions }) => captions.flatMap(wordsOf)));
  const rows = await readJsonLines<{ path: string; keywords: string[] }>(
    join(folder, "unseen-wording.jsonl"),
  );
  const queries = new Map<string, WordingQuery>();
  for (const [index, { keywords }] of rows.entries()) {
    for (const text of keywords) {
      const form = comparable(text);
      const wordsSeen = wordsOf(text).every((word) => seenWords.has(word));
      const query = queries.get(form) ?? { text, positives: [], wordsSeen };
      queries.set(form, query);
      if (query.positives.at(-1) !== index) query.positives.push(index);
    }
  }
  return {
    pictures: rows.map(({ path }) => resolve(folder, path)),
    queries: [...queries.values()],
  };
}

function wordsOf(text: string): string[] {
  return comparable(text).match(/[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]/gu) ?? [];
}
