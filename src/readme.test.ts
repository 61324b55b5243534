import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import sharp from "sharp";

const root = fileURLToPath(new URL("../..", import.meta.url));
const readme = readFileSync(join(root, "README.md"), "utf8");
const examples = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code!);

const tsc = join(root, "node_modules/typescript/bin/tsc");
const compilerOptions =
  "--ignoreConfig --strict --skipLibCheck --module nodenext --target es2022 --types node".split(
    " ",
  );

/** A folder `photos` of coloured pictures with captions, as the README assumes one. */
async function drawPhotos(folder: string): Promise<void> {
  const photos = join(folder, "photos");
  await mkdir(photos);
  for (const [i, colour] of ["red", "green", "blue", "gold", "black", "white"].entries()) {
    const picture = sharp({ create: { width: 64, height: 64, channels: 3, background: colour } });
    await picture.png().toFile(join(photos, `${i}.png`));
    writeFileSync(join(photos, `${i}.txt`), `a ${colour} square\n`);
  }
}

for (const [i, example] of examples.entries()) {
  test(`example ${i + 1} of the README compiles and runs`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "clipsmith-readme-"));
    // Inside the package, so that it finds the package by its own name.
    const file = join(root, "dist", `readme-example-${i + 1}`);
    try {
      await drawPhotos(folder);
      writeFileSync(`${file}.ts`, example.replace(/minutes: \d+/, "steps: 2"));
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

test("the README has examples", () => {
  assert.ok(examples.length >= 1);
});
