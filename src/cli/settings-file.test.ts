import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { readSettingsFile } from "./settings-file.js";

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-settings-"));
});
after(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const readText = (name: string, text: string) => readSettingsFile(write(name, text));

test("YAML, JSON, TypeScript and JavaScript say the same", async () => {
  const settings = { training: { minutes: 90, betas: [0.9, 0.99] } };
  const json = JSON.stringify(settings, undefined, "\t");
  const files = {
    "a.yaml": "training: # of a test\n  minutes: 90\n  betas: [0.9, 0.99]\n",
    "a.yml": `--- ${json}`,
    "a.json": json,
    "a.ts":
      'import { defineConfig } from "clipsmith/train";\nconst hours: number = 1.5;\n' +
      "export default defineConfig({ training: { minutes: 60 * hours, betas: [0.9, 0.99] } });\n",
    "a.mjs": `export default ${json};`,
    "a.cjs": `module.exports = ${json};`,
  };
  for (const [name, text] of Object.entries(files)) {
    assert.deepEqual((await readText(name, text)).tree, settings, name);
  }
  assert.deepEqual((await readText("b.yaml", "# nothing yet\n")).tree, {});
});

test("a setting in YAML is told with its line and column", async () => {
  const { place } = await readText("c.yaml", "training:\n  seed: 3\n  augment: { flip: 1 }\n");
  const path = join(folder, "c.yaml");
  assert.equal(place(["training", "seed"]), `${path}:2:3`);
  assert.equal(place(["training", "augment", "flip"]), `${path}:3:14`);
  assert.equal(place(["training", "augment", "blur"]), `${path}:3:3`, "the nearest there is");
  assert.equal(place([]), path);
});

test("what cannot be understood is told with its place", async () => {
  const cases: readonly [name: string, text: string, message: string][] = [
    ["d.yaml", "a: [1\n", "d.yaml:2:1: Flow sequence in block collection must be sufficiently"],
    ["e.yaml", "a: 1\na: 2\n", "e.yaml:2:1: Map keys must be unique"],
    ["f.yaml", "a:\n\tb: 1\n", "f.yaml:2:1: Tabs are not allowed as indentation"],
    ["g.yaml", "a: *b\n", "Cannot read the settings in g.yaml: Unresolved alias"],
    ["h.yaml", "steps\n", 'h.yaml: expected settings by name, such as training.steps, got "steps"'],
    ["d.json", '{"a": 1', "d.json:1:8: Flow map must end with a }"],
    ["d.ts", "export default {\n  a: 1,,\n};\n", "d.ts:2:7: Unexpected token"],
    ["e.ts", "\nexport default { a: nope };\n", "e.ts:2: nope is not defined"],
    ["f.ts", "export const a = 1;\n", "f.ts has no default export. Write: export default { ... }"],
    ["g.ts", 'import "./none.js";\n', "g.ts:1: Cannot find module './none.js'"],
    ["d.toml", "a = 1\n", "Cannot read the settings in d.toml: expected a file that ends in .yaml"],
  ];
  for (const [name, text, expected] of cases) {
    await assert.rejects(readText(name, text), ({ name: kind, message }: Error) => {
      assert.equal(kind, "ClipsmithError");
      const told = message.replaceAll(`${folder}/`, "");
      assert.equal(told.slice(0, expected.length), expected);
      return true;
    });
  }
  await assert.rejects(readSettingsFile(join(folder, "none.ts")), /none\.ts: ENOENT/);
});
