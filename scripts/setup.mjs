// Makes a fresh clone ready: installs the locked packages when they are missing or stale, then builds.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { alone } from "./alone.mjs";
import { build } from "./build.mjs";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 9)) {
  console.error(`Clipsmith needs Node 20.9 or newer; this is ${process.version}.`);
  process.exit(1);
}

const STAMP = "node_modules/.clipsmith-lock";
const lock = createHash("sha256").update(readFileSync("package-lock.json")).digest("hex");
const isInstalled = () => existsSync(STAMP) && readFileSync(STAMP, "utf8") === lock;

function install() {
  // Another process may have done it while this one waited.
  if (isInstalled()) return;
  console.log("Installing packages (once) ...");
  // onnxruntime-node would otherwise download CUDA libraries; see the README for a GPU.
  const env = { ONNXRUNTIME_NODE_INSTALL: "skip", ...process.env };
  const npm = spawnSync("npm", ["ci", "--loglevel=error"], {
    env,
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (npm.status !== 0) {
    throw new Error(
      "npm ci failed: see its message above. It needs to reach an npm registry once; run the command again to retry.",
    );
  }
  writeFileSync(STAMP, lock);
}

try {
  if (!isInstalled()) await alone(".cache/install.lock", install);
  await build();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
