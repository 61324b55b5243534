// Compiles TypeScript to dist/ and copies what is not TypeScript.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const require = createRequire(import.meta.url);

/** Runs the command-line program `name` of the package `packageName`, and stops on failure. */
function runTool(packageName, name, args) {
  const manifest = require.resolve(`${packageName}/package.json`);
  const bin = require(manifest).bin[name];
  const { status } = spawnSync(process.execPath, [join(dirname(manifest), bin), ...args], {
    stdio: "inherit",
  });
  if (status !== 0) {
    console.error(`${name} failed: see its messages above.`);
    process.exit(status ?? 1);
  }
}

/** Compiles a WebAssembly kernel to dist/kernels, unless it is up to date there, and copies it into place. */
function buildKernel(folder, name) {
  const source = join("src", folder, `${name}.as.ts`);
  const compiled = join("dist/kernels", `${name}.wasm`);
  const target = join("dist/src", folder, `${name}.wasm`);
  const changed = Math.max(statSync(source).mtimeMs, statSync("scripts/build.mjs").mtimeMs);
  if (!existsSync(compiled) || statSync(compiled).mtimeMs < changed) {
    const features = [
      "--runtime",
      "stub",
      "--enable",
      "simd",
      "--importMemory",
      "--noExportMemory",
    ];
    runTool("assemblyscript", "asc", [source, "--outFile", compiled, "-O3", ...features]);
  }
  mkdirSync(dirname(target), { recursive: true });
  cpSync(compiled, target);
}

const bundled = { bundle: true, minify: true, format: "esm", target: "es2022" };

export function build() {
  process.chdir(fileURLToPath(new URL("..", import.meta.url)));
  // A file deleted from the sources must not live on in the build.
  for (const folder of ["src", "web", "quickstart", "bench", "parity"]) {
    rmSync(join("dist", folder), { recursive: true, force: true });
  }
  runTool("typescript", "tsc", ["--project", "tsconfig.json"]);
  buildKernel("train/kernels", "optimizer");
  buildKernel("data/kernels", "pixels");
  runTool("typescript", "tsc", ["--project", "web/tsconfig.json"]);
  for (const name of ["index.html", "report.html", "style.css", "icon.svg"]) {
    cpSync(join("web", name), join("dist/web", name));
  }
  const uplot = dirname(require.resolve("uplot/package.json"));
  for (const name of ["uPlot.esm.js", "uPlot.min.css"]) {
    cpSync(join(uplot, "dist", name), join("dist/web", name));
  }
  // A report is a file of its own, so its script has to be in one piece.
  const report = "dist/web/report.js";
  buildSync({ entryPoints: [report], outfile: report, allowOverwrite: true, ...bundled });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();
