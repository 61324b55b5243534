/**
 * Builds the project. Each state of the sources has a build of its own in a folder named after it, which never
 * changes, and `dist` is a link to the one that is current: Node takes a program's modules from the folder that
 * the link led to when it started, so a build breaks nothing that runs, and neither does one that fails.
 */
import { createHash, randomUUID } from "node:crypto";
import {
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = "dist";
/** In a build: which sources it is of, and the sizes of its files, to see whether it is whole. */
const MANIFEST = "manifest.json";
/** How long a build that has been replaced is kept for what still runs from it. */
const KEPT_MS = 7 * 24 * 60 * 60 * 1000;
/** A build that takes longer was killed. */
const KEPT_DRAFT_MS = 60 * 60 * 1000;

/** The files in a folder, by paths relative to it, in a fixed order. */
function filesIn(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1))
    .sort();
}

/** A name for all that a build depends on. */
function sourcesKey() {
  const hash = createHash("sha256");
  const folders = ["src", "quickstart", "bench", "parity", "web"];
  const inputs = folders.flatMap((folder) =>
    filesIn(folder)
      .filter((file) => /\.(ts|json|html|css|svg)$/.test(file))
      .map((file) => join(folder, file)),
  );
  const settings = ["tsconfig.json", "package.json", "package-lock.json"];
  const scripts = ["build", "compile", "bundle"].map((name) => `scripts/${name}.mjs`);
  for (const file of [...inputs, ...settings, ...scripts]) {
    const content = readFileSync(file);
    hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex").slice(0, 12);
}

/** Whether a folder holds the whole build of these sources. */
function isBuild(folder, key) {
  try {
    const manifest = JSON.parse(readFileSync(join(folder, MANIFEST), "utf8"));
    if (manifest.key !== key) return false;
    return Object.entries(manifest.sizes).every(
      ([file, size]) => statSync(join(folder, file)).size === size,
    );
  } catch {
    return false;
  }
}

/** Builds are mostly alike: files that are as in the current one take no room. */
function shareFiles(folder, other) {
  for (const file of filesIn(folder)) {
    const [own, others] = [join(folder, file), join(other, file)];
    const [now, before] = [own, others].map((path) => statSync(path, { throwIfNoEntry: false }));
    if (before?.mode !== now.mode || before.size !== now.size) continue;
    if (!readFileSync(own).equals(readFileSync(others))) continue;
    const fresh = `${own}.${randomUUID()}`;
    try {
      linkSync(others, fresh);
      renameSync(fresh, own);
    } catch {
      // This file system has no hard links.
      return;
    }
  }
}

/**
 * Makes the folder of a build, under another name until it is whole.
 *
 * @returns whether it is of these sources: they may have been edited meanwhile
 */
async function makeBuild(folder, key) {
  // It needs the packages, and is slow to import.
  const { compile } = await import("./compile.mjs");
  const draft = `${folder}.${randomUUID()}`;
  try {
    mkdirSync(draft);
    compile(draft);
    if (sourcesKey() !== key) return false;
    const sizes = Object.fromEntries(
      filesIn(draft).map((file) => [file, statSync(join(draft, file)).size]),
    );
    if (existsSync(DIST)) shareFiles(draft, DIST);
    writeFileSync(join(draft, MANIFEST), JSON.stringify({ key, sizes }));
    if (existsSync(folder) && !isBuild(folder, key)) discard(folder);
    try {
      renameSync(draft, folder);
    } catch (error) {
      // Another process may have been first.
      if (!isBuild(folder, key)) throw error;
    }
    return true;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

/** Removes a folder whose name is needed, at once. */
function discard(folder) {
  const name = `.dist-${randomUUID()}.old`;
  renameSync(folder, name);
  rmSync(name, { recursive: true, force: true });
}

const isLink = (path) => lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;

/** Puts `fresh`, a link or a folder, in the place of `dist`; a link takes that of a link in one move. */
function replaceDist(fresh) {
  if (isLink(DIST)) {
    const before = resolve(readlinkSync(DIST));
    // Its time as an old build begins.
    if (existsSync(before)) utimesSync(before, new Date(), new Date());
    if (process.platform === "win32") rmdirSync(DIST);
    else if (!isLink(fresh)) unlinkSync(DIST);
  } else if (existsSync(DIST)) {
    discard(DIST);
  }
  renameSync(fresh, DIST);
}

/** Makes `dist` a folder of its own, which npm can pack: it follows no links. */
function copyToDist(folder) {
  const fresh = `${folder}.${randomUUID()}`;
  cpSync(folder, fresh, { recursive: true });
  replaceDist(fresh);
}

/** Lets `dist` lead to a build. */
function leadDistTo(folder, key) {
  const fresh = `${folder}.${randomUUID()}`;
  try {
    // Windows lets everyone make junctions, which need a whole path.
    symlinkSync(process.platform === "win32" ? resolve(folder) : folder, fresh, "junction");
  } catch {
    // This file system has no links.
    if (!isBuild(DIST, key)) copyToDist(folder);
    return;
  }
  replaceDist(fresh);
}

/** Removes builds that were replaced long ago, and the drafts of builds that were killed. */
function removeOld(current) {
  for (const name of readdirSync(".").filter((name) => name.startsWith(".dist-"))) {
    const age = Date.now() - (lstatSync(name, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    const kept = name.includes(".", 1) ? KEPT_DRAFT_MS : KEPT_MS;
    if (name !== current && age > kept) rmSync(name, { recursive: true, force: true });
  }
}

/**
 * Builds what has changed; if nothing has, it takes a tenth of a second.
 *
 * @param options.real whether `dist` is to be a folder of its own instead of a link
 */
export async function build({ real = false } = {}) {
  process.chdir(fileURLToPath(new URL("..", import.meta.url)));
  let key = sourcesKey();
  while (!isBuild(`.dist-${key}`, key)) {
    console.log("Building ...");
    await makeBuild(`.dist-${key}`, key);
    key = sourcesKey();
  }
  const folder = `.dist-${key}`;
  if (real) copyToDist(folder);
  else if (!isLink(DIST) || !isBuild(DIST, key)) leadDistTo(folder, key);
  removeOld(folder);
}
