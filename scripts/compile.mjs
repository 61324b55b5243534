// Compiles TypeScript into a folder, and copies there what is not TypeScript.
import { spawnSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { buildSync } from "esbuild";
import { bundlePackages } from "./bundle.mjs";

const require = createRequire(import.meta.url);

/** Not `bin/tsc`: early versions of Node 20 start no modules without an extension. */
const TSC = "lib/tsc.js";

/** What the compiler knows of the last build: without it all types are checked anew. */
const CACHE = ".cache/types.tsbuildinfo";

/** Runs a program of a package; throws if it fails. */
function runTool(packageName, file, args) {
  const program = join(dirname(require.resolve(`${packageName}/package.json`)), file);
  const { status } = spawnSync(process.execPath, [program, ...args], { stdio: "inherit" });
  if (status !== 0) {
    throw new Error(
      `${packageName} failed: see its messages above. The last build stays as it was.`,
    );
  }
}

/** Writes every module anew, since the compiler sees that their folder is another. */
function compileModules(folder) {
  // Builds at one time have a file each.
  const cache = `${CACHE}.${randomUUID()}`;
  mkdirSync(dirname(CACHE), { recursive: true });
  try {
    if (existsSync(CACHE)) copyFileSync(CACHE, cache);
    const incremental = ["--incremental", "--tsBuildInfoFile", cache];
    runTool("typescript", TSC, ["--project", ".", "--outDir", folder, ...incremental]);
    renameSync(cache, CACHE);
  } finally {
    rmSync(cache, { force: true });
  }
}

/** Compiles a WebAssembly kernel, unless the same was compiled before: that takes seconds. */
function compileKernel(folder, name) {
  const source = `src/${name}.as.ts`;
  const hash = createHash("sha256");
  for (const file of [source, "scripts/compile.mjs", "package-lock.json"]) {
    hash.update(readFileSync(file));
  }
  const compiled = `.cache/${basename(name)}-${hash.digest("hex").slice(0, 12)}.wasm`;
  if (!existsSync(compiled)) {
    const fresh = `${compiled}.${randomUUID()}.wasm`;
    const flags = ["--runtime", "stub", "--enable", "simd", "--importMemory", "--noExportMemory"];
    runTool("assemblyscript", "bin/asc.js", [source, "--outFile", fresh, "-O3", ...flags]);
    renameSync(fresh, compiled);
  }
  copyFileSync(compiled, join(folder, "src", `${name}.wasm`));
}

function compilePages(folder) {
  const web = join(folder, "web");
  runTool("typescript", TSC, ["--project", "web"]);
  const modules = readdirSync("web").filter((name) => /(?<!\.d)\.ts$/.test(name));
  const language = { format: "esm", target: "es2022" };
  buildSync({ entryPoints: modules.map((name) => `web/${name}`), outdir: web, ...language });
  for (const name of ["index.html", "report.html", "style.css", "icon.svg"]) {
    copyFileSync(join("web", name), join(web, name));
  }
  const uplot = join(dirname(require.resolve("uplot/package.json")), "dist");
  for (const name of ["uPlot.esm.js", "uPlot.min.css"]) {
    copyFileSync(join(uplot, name), join(web, name));
  }
  // A report is a file of its own, so its script has to be in one piece.
  const report = { entryPoints: [join(web, "report.js")], outfile: join(web, "report.js") };
  buildSync({ ...report, allowOverwrite: true, bundle: true, minify: true, ...language });
}

/** Compiles the project, which is the current folder. */
export function compile(folder) {
  compileModules(folder);
  for (const name of ["train/kernels/optimizer", "data/kernels/pixels"]) {
    compileKernel(folder, name);
  }
  compilePages(folder);
  bundlePackages(folder);
  // npm makes a package's programs executable when it links them, and not again.
  chmodSync(join(folder, "src/cli/main.js"), 0o755);
}
