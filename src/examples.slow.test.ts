import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import sharp from "sharp";

const root = fileURLToPath(new URL("../..", import.meta.url));
const pages = [
  "README.md",
  ...readdirSync(join(root, "docs"))
    .filter((file) => file.endsWith(".md"))
    .map((file) => `docs/${file}`),
];
const examples = pages.flatMap((page) =>
  [...readFileSync(join(root, page), "utf8").matchAll(/```ts\n(.*?)```/gs)].map(([, code], i) => ({
    name: `example ${i + 1} of ${page}`,
    code: code!,
  })),
);

const tsc = join(root, "node_modules/typescript/lib/tsc.js");
const compilerOptions =
  "--ignoreConfig --strict --skipLibCheck --module nodenext --target es2022 --types node".split(
    " ",
  );

/** A folder `photos` of coloured pictures with captions, as the examples assume one. */
async function drawPhotos(folder: string): Promise<void> {
  const photos = join(folder, "photos");
  await mkdir(photos);
  for (const [i, colour] of ["red", "green", "blue", "gold", "black", "white"].entries()) {
    const picture = sharp({ create: { width: 64, height: 64, channels: 3, background: colour } });
    await picture.png().toFile(join(photos, `${i}.png`));
    writeFileSync(join(photos, `${i}.txt`), `a ${colour} square\n`);
  }
}

for (const [i, { name, code }] of examples.entries()) {
  test(`${name} compiles and runs`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "clipsmith-example-"));
    // Inside the package, so that it finds the package by its own name.
    const file = join(root, "dist", `example-${i + 1}`);
    try {
      await drawPhotos(folder);
      writeFileSync(`${file}.ts`, code.replace(/minutes: \d+/, "steps: 2"));
      const compiler = spawnSync(process.execPath, [tsc, ...compilerOptions, `${file}.ts`], {
        encoding: "utf8",
      });
      assert.equal(compiler.status, 0, compiler.stdout);
      const { status, stdout, stderr } = spawnSync(process.execPath, [`${file}.js`], {
        cwd: folder,
        encoding: "utf8",
      });
      assert.equal(status, 0, stderr);
      assert.notEqual(stdout, "", "it prints something");
    } finally {
      for (const extension of ["ts", "js"]) rmSync(`${file}.${extension}`, { force: true });
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test("the README and docs/x-clip.md have examples", () => {
  for (const page of ["README.md", "docs/x-clip.md"]) {
    assert.ok(examples.some(({ name }) => name.endsWith(page)));
  }
});
