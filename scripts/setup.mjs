// Makes a fresh clone ready: installs the locked packages when they are missing or stale, then builds.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
process.chdir(root);

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 9)) {
  console.error(`Clipsmith needs Node 20.9 or newer; this is ${process.version}.`);
  process.exit(1);
}

const stamp = "node_modules/.clipsmith-lock";
const lock = createHash("sha256").update(readFileSync("package-lock.json")).digest("hex");
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== lock) {
  console.log("Installing packages (once) ...");
  // onnxruntime-node would otherwise download CUDA libraries; see the README for a GPU.
  const env = {
    ONNXRUNTIME_NODE_INSTALL: "skip",
    // The same for the older one that a dependency of LanceDB brings.
    ONNXRUNTIME_NODE_INSTALL_CUDA: "skip",
    ...process.env,
  };
  const npm = spawnSync("npm", ["ci", "--loglevel=error"], {
    env,
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (npm.status !== 0) {
    console.error(
      "npm ci failed: see its message above. It needs to reach an npm registry once; run the command again to retry.",
    );
    process.exit(npm.status ?? 1);
  }
  writeFileSync(stamp, lock);
}
// It needs the packages, so it cannot be imported before.
const { build } = await import("./build.mjs");
build();
