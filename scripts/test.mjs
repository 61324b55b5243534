// Runs every compiled test file with Node's own test runner. Arguments choose files by substring.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

const wanted = process.argv.slice(2);
const files = readdirSync("dist", { recursive: true })
  .map((file) => join("dist", file))
  .filter((file) => file.endsWith(".test.js"))
  .filter((file) => wanted.length === 0 || wanted.some((word) => file.includes(word)))
  .sort();
if (files.length === 0) {
  console.error(`No test file has ${wanted.join(" or ")} in its name.`);
  process.exit(1);
}
const args = ["--enable-source-maps", "--test", "--test-concurrency=2", ...files];
process.exit(spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1);
