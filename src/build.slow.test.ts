import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** A copy of the project. */
let clone: string;
const at = (...path: string[]) => join(clone, ...path);
const edited = () => at("src/util/names.ts");
let original: string;

before(() => {
  clone = realpathSync(mkdtempSync(join(tmpdir(), "clipsmith-build-")));
  const folders = ["src", "quickstart", "bench", "parity", "web", "scripts"];
  for (const name of [...folders, "tsconfig.json", "package.json", "package-lock.json"]) {
    cpSync(join(root, name), at(name), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), at("node_modules"), "junction");
  original = readFileSync(edited(), "utf8");
});
after(() => rmSync(clone, { recursive: true }));

function build() {
  const command = [at("scripts/setup.mjs")];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: "utf8" });
  return { status, told: stdout + stderr, current: basename(realpathSync(at("dist"))) };
}
const builds = () => readdirSync(clone).filter((name) => name.startsWith(".dist-"));
const version = () =>
  spawnSync(process.execPath, [at("dist/src/cli/main.js"), "--version"], { encoding: "utf8" });

test("a build is made once, and again for other sources, beside the old one", async () => {
  const first = build();
  assert.deepEqual([first.status, first.told], [0, "Building ...\n"]);
  assert.deepEqual(build(), { ...first, told: "" });
  assert.equal(version().status, 0);

  // A program that loads what it needs little by little.
  const program = `
    process.stdin.once("data", async () => {
      console.log(typeof (await import("./util/names.js")).added, import.meta.url);
    });`;
  writeFileSync(at("dist/src/patient.js"), program);
  const patient = spawn(process.execPath, [at("dist/src/patient.js")], { stdio: "pipe" });
  let said = "";
  patient.stdout.on("data", (text) => {
    said += text;
  });
  const ended = new Promise((resolve) => patient.on("close", resolve));

  appendFileSync(edited(), "export const added = 1;\n");
  const second = build();
  assert.deepEqual([second.status, second.told], [0, "Building ...\n"]);
  assert.notEqual(second.current, first.current);
  assert.match(readFileSync(at("dist/src/util/names.js"), "utf8"), /added = 1/);
  patient.stdin.end("go on\n");
  await ended;
  assert.match(said, new RegExp(`^undefined .*/${first.current}/`));

  writeFileSync(edited(), original);
  assert.deepEqual(build(), { ...first, told: "" });
});

test("what does not compile leaves the last build in place", () => {
  const { current } = build();
  writeFileSync(edited(), `${original}export const wrong: number = "text";\n`);
  const failed = build();
  assert.equal(failed.status, 1);
  assert.match(failed.told, /src\/util\/names\.ts.* error TS2322.*\n.*The last build stays/s);
  assert.equal(failed.current, current);
  assert.equal(version().status, 0);
  writeFileSync(edited(), original);
  assert.deepEqual(build(), { status: 0, told: "", current });
});

const damages: Readonly<Record<string, () => void>> = {
  "the link is removed": () => rmSync(at("dist")),
  "a file is removed": () => rmSync(at("dist/src/data/picture.js")),
  "a file is cut off": () => truncateSync(at("dist/web/main.js"), 10),
  "everything in it is removed": () => {
    for (const name of readdirSync(at("dist"))) rmSync(at("dist", name), { recursive: true });
  },
  "all builds are removed": () => {
    for (const name of ["dist", ...builds()]) rmSync(at(name), { recursive: true });
  },
  "a folder stands there": () => {
    rmSync(at("dist"));
    cpSync(at("src"), at("dist"), { recursive: true });
  },
};
for (const [damage, make] of Object.entries(damages)) {
  test(`a build is right again after ${damage}`, () => {
    const { current } = build();
    make();
    const mended = build();
    assert.deepEqual([mended.status, mended.current], [0, current]);
    assert.equal(version().status, 0);
    assert.deepEqual(build(), { ...mended, told: "" });
  });
}

test("builds at one time don't harm each other", async () => {
  build();
  writeFileSync(edited(), `${original}export const together = 1;\n`);
  const codes = await Promise.all(
    Array.from({ length: 3 }, () => {
      const child = spawn(process.execPath, [at("scripts/setup.mjs")], { stdio: "ignore" });
      return new Promise((resolve) => child.on("close", resolve));
    }),
  );
  assert.deepEqual(codes, [0, 0, 0]);
  assert.equal(build().told, "");
  assert.equal(version().status, 0);
  assert.ok(
    builds().every((name) => /^\.dist-[0-9a-f]+$/.test(name)),
    builds().join(),
  );
});

test("what killed builds leave goes after an hour, and old builds after a week", () => {
  const { current } = build();
  const HOUR = 3600;
  for (const [name, age, kept] of [
    [".dist-0.draft", 0.5 * HOUR, true],
    [".dist-1.draft", 2 * HOUR, false],
    [".dist-2", 6 * 24 * HOUR, true],
    [".dist-3", 8 * 24 * HOUR, false],
    [current, 8 * 24 * HOUR, true],
  ] as const) {
    if (name !== current) cpSync(at("scripts"), at(name), { recursive: true });
    const time = Date.now() / 1000 - age;
    utimesSync(at(name), time, time);
    build();
    assert.equal(existsSync(at(name)), kept, name);
  }
});

test("a packed build holds files of its own, and is a link again afterwards", () => {
  const { current } = build();
  for (const script of ["prepack", "postpack"]) {
    const run = ["npm", ["run", "--silent", script]] as const;
    const options = { cwd: clone, shell: process.platform === "win32" };
    assert.equal(spawnSync(...run, options).status, 0);
    const here = script === "prepack" ? "dist" : current;
    assert.equal(basename(realpathSync(at("dist"))), here);
    assert.equal(version().status, 0);
  }
});
