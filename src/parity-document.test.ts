import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const rows = readFileSync(join(root, "PARITY.md"), "utf8")
  .split("\n")
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .filter(([, number]) => /^\d+$/.test(number ?? ""));

test("PARITY.md has a whole row for each of the 51 points", () => {
  assert.deepEqual(
    rows.map(([, number]) => Number(number)),
    Array.from({ length: 51 }, (_, i) => i + 1),
  );
  for (const cells of rows) {
    assert.equal(cells.length, 6, `columns of row ${cells[1]}`);
    assert.ok(
      cells.slice(1, 5).every((cell) => cell !== ""),
      `row ${cells[1]} has an empty cell`,
    );
  }
});

test("every test that PARITY.md names is there", () => {
  for (const [, number, , , tests] of rows) {
    // `file`: "title", "title"; `file`: "title"
    const files = [...tests!.matchAll(/`([^`]+\.test\.ts)`: ((?:"[^"]+"(?:, )?)+)/g)];
    assert.equal(files.map(([whole]) => whole).join("; "), tests, `form of row ${number}`);
    for (const [, file, titles] of files) {
      const path = join(root, file!);
      assert.ok(existsSync(path), `row ${number}: there is no ${file}`);
      const source = readFileSync(path, "utf8");
      for (const [, title] of titles!.matchAll(/"([^"]+)"/g)) {
        assert.ok(source.includes(title!), `row ${number}: ${file} has no test "${title}"`);
      }
    }
  }
});
