import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { posix, sep } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

/** From the ground up. A folder imports from floors below its own; folders of one floor are strangers. */
const floors: readonly (readonly string[])[] = [
  ["util"],
  ["distributed"],
  ["graph"],
  ["onnx"],
  ["runtime"],
  ["nn"],
  ["clip"],
  ["weights", "data"],
  ["model"],
  ["eval", "embed"],
  ["train", "search"],
  ["report"],
  ["server"],
  ["cli"],
];

/** These only build graphs: they work without a device. */
const strangers: Readonly<Record<string, readonly string[]>> = {
  nn: ["onnx", "runtime"],
  clip: ["onnx", "runtime"],
};

/** Files by path below src, each with the files of src it imports. */
type Imports = ReadonlyMap<string, readonly string[]>;

const isTest = (file: string) => file.endsWith(".test.ts") || posix.basename(file) === "testing.ts";
const folderOf = (file: string) => file.split("/")[0]!;
const floorOf = (file: string) => floors.findIndex((floor) => floor.includes(folderOf(file)));

/** The files of src that a source text imports, types included. */
function importsOf(file: string, text: string): string[] {
  const specifiers = text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["'](\.[^"']*)["']/g);
  return [...specifiers].map(([, path]) =>
    posix.join(posix.dirname(file), path!).replace(/\.js$/, ".ts"),
  );
}

function readSources(): Imports {
  const root = fileURLToPath(new URL("../../src/", import.meta.url));
  const files = readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((file) => file.split(sep).join("/"))
    .filter((file) => file.endsWith(".ts") && !isTest(file));
  return new Map(files.map((file) => [file, importsOf(file, readFileSync(root + file, "utf8"))]));
}

/** One line for each import that goes where it must not. */
function wrongImports(imports: Imports): string[] {
  const wrong: string[] = [];
  for (const [file, targets] of imports) {
    if (floorOf(file) < 0) wrong.push(`${file} stands on no floor`);
    for (const target of targets) {
      const line = `${file} imports ${target}`;
      const [from, to] = [folderOf(file), folderOf(target)];
      if (isTest(target)) wrong.push(`${line}, which is for tests`);
      else if (target.startsWith("..")) wrong.push(`${line}, outside src`);
      else if (from === to) continue;
      else if (floorOf(target) > floorOf(file)) wrong.push(`${line}, upward`);
      else if (floorOf(target) === floorOf(file)) wrong.push(`${line}, its sibling`);
      else if (strangers[from]?.includes(to)) wrong.push(`${line}, but ${from} only builds graphs`);
    }
  }
  return wrong;
}

/** A circle of imports, its first file again at the end; undefined if there is none. */
function findCircle(imports: Imports): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | undefined => {
    const start = path.indexOf(file);
    if (start >= 0) return [...path.slice(start), file];
    if (done.has(file)) return undefined;
    for (const target of imports.get(file) ?? []) {
      const circle = visit(target, [...path, file]);
      if (circle) return circle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const circle = visit(file, []);
    if (circle) return circle;
  }
  return undefined;
}

test("imports point downward only", () => {
  assert.deepEqual(wrongImports(readSources()), []);
});

test("no imports run in a circle", () => {
  assert.equal(findCircle(readSources())?.join(" -> "), undefined);
});

test("every import leads to a file", () => {
  const imports = readSources();
  assert.ok(imports.size > 20, `found only ${imports.size} files`);
  const lost = [...imports].flatMap(([file, targets]) =>
    targets.filter((target) => !imports.has(target)).map((target) => `${file}: ${target}`),
  );
  assert.deepEqual(lost, []);
});

test("wrong imports of every kind are found", () => {
  const imports: Imports = new Map([
    ["graph/a.ts", ["util/errors.ts", "graph/b.ts", "runtime/index.ts"]],
    ["train/a.ts", ["search/index.ts", "eval/index.ts"]],
    ["clip/a.ts", ["nn/index.ts", "onnx/index.ts"]],
    ["graph/b.ts", ["graph/testing.ts", "../package.ts"]],
    ["main.ts", []],
  ]);
  assert.deepEqual(wrongImports(imports), [
    "graph/a.ts imports runtime/index.ts, upward",
    "train/a.ts imports search/index.ts, its sibling",
    "clip/a.ts imports onnx/index.ts, but clip only builds graphs",
    "graph/b.ts imports graph/testing.ts, which is for tests",
    "graph/b.ts imports ../package.ts, outside src",
    "main.ts stands on no floor",
  ]);
});

test("circles are found", () => {
  const circle: Imports = new Map([
    ["a.ts", ["b.ts", "c.ts"]],
    ["b.ts", ["d.ts"]],
    ["c.ts", ["d.ts", "e.ts"]],
    ["e.ts", ["c.ts"]],
    ["d.ts", []],
  ]);
  assert.deepEqual(findCircle(circle), ["c.ts", "e.ts", "c.ts"]);
});

test("imports are read in every way of writing them", () => {
  const text = [
    'import { a } from "../util/a.js";',
    'import type { B } from "./b.js";',
    'import "./c.js";',
    'export * from "./d.js";',
    'const e = await import("./e.js");',
    "import {\n  f,\n} from './f.js';",
    'import { test } from "node:test";',
  ].join("\n");
  assert.deepEqual(importsOf("graph/x.ts", text), [
    "util/a.ts",
    "graph/b.ts",
    "graph/c.ts",
    "graph/d.ts",
    "graph/e.ts",
    "graph/f.ts",
  ]);
});
