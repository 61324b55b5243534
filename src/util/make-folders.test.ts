import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, test } from "node:test";
import { makeFolders } from "./make-folders.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-folders-"));
after(() => rmSync(folder, { recursive: true }));

test("folders are made inside of one another, where they are not there yet", async () => {
  const path = join(folder, "a", "b", "c");
  await Promise.all([makeFolders(path), makeFolders(path)]);
  await makeFolders(`${path}/`);
  assert.ok(existsSync(path));
  const beside = join(folder, "d", "e");
  await makeFolders(relative(process.cwd(), beside));
  assert.ok(existsSync(beside));
});

test("what is no folder stays as it is", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  await assert.rejects(makeFolders(file), { code: "EEXIST", path: file });
  await assert.rejects(makeFolders(join(file, "x")), { code: "ENOTDIR" });
  const link = join(folder, "link");
  symlinkSync(join(folder, "gone"), link);
  await assert.rejects(makeFolders(join(link, "x")), { code: "EEXIST", path: link });
});

test(
  "a folder that takes no others is refused at once",
  {
    skip: process.platform !== "linux" && "only Linux has such a one everywhere",
  },
  () => assert.rejects(makeFolders("/proc/x/y"), { code: "ENOENT", path: "/proc/x" }),
);
