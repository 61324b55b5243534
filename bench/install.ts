/**
 * `npm run bench -- install`: what installing the package takes on a user's disk. It packs the package, has npm
 * install it in an empty project, and makes a search index there. It needs an npm registry.
 */
import { spawnSync } from "node:child_process";
import { lstat, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** As `du -m` counts. */
const MEGABYTE = 2 ** 20;
/** Packages smaller than this, in megabytes, are counted together. */
const SMALL = 1;

export interface InstallFigures {
  readonly platform: string;
  /** On disk, in units of 2^20 bytes. */
  readonly megabytes: number;
  /** The sum of the sizes of all files. */
  readonly bytes: number;
  readonly files: number;
  /** Megabytes on disk by package, largest first. */
  readonly packages: Readonly<Record<string, number>>;
}

const CHECK = `
  import { buildIndex } from "clipsmith/search";
  const embeddings = Float32Array.of(1, 0, 0, 1);
  const embedder = { width: 2, embedPictures: async () => ({ embeddings, failed: [] }) };
  const samples = ["a", "b"].map((name) => ({ picture: \`pictures.tar/\${name}\`, captions: [name] }));
  const { index } = await buildIndex("index", embedder, samples);
  const [{ captions: [found] }] = await index.search(Float32Array.of(0, 1));
  index.close();
  if (found !== "b") throw new Error(\`The search found \${found}.\`);
`;

/** Runs a command; throws if it fails. */
function run(cwd: string, command: string, args: readonly string[]): void {
  // What onnxruntime-node downloads on top is for NVIDIA's cards.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip" };
  const shell = command === "npm" && process.platform === "win32";
  const stdio = ["ignore", "ignore", "inherit"] as const;
  const { status } = spawnSync(command, args, { cwd, env, shell, stdio: [...stdio] });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed: see its message above.`);
}

/** The package that a file is of, by its path in `node_modules`. */
function packageOf(path: string): string {
  const [first = "", second = ""] = path.split(sep);
  return first.startsWith("@") ? `${first}/${second}` : first;
}

const round = (megabytes: number) => Math.round(10 * megabytes) / 10;

/** Runs the benchmark. */
export async function benchInstall(): Promise<InstallFigures> {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const folder = await mkdtemp(join(tmpdir(), "clipsmith-bench-install-"));
  try {
    run(root, "npm", ["pack", "--silent", "--pack-destination", folder]);
    const tarball = (await readdir(folder)).find((name) => name.endsWith(".tgz"))!;
    await writeFile(join(folder, "package.json"), '{ "type": "module" }');
    run(folder, "npm", ["install", "--silent", "--no-audit", "--no-fund", `./${tarball}`]);
    await writeFile(join(folder, "check.js"), CHECK);
    run(folder, process.execPath, ["check.js"]);

    const modules = join(folder, "node_modules");
    const sizes = new Map<string, number>();
    let [onDisk, bytes, files] = [0, 0, 0];
    for (const path of await readdir(modules, { recursive: true })) {
      const stats = await lstat(join(modules, path));
      // Windows does not tell blocks.
      const taken = (stats.blocks > 0 ? stats.blocks * 512 : stats.size) / MEGABYTE;
      sizes.set(packageOf(path), (sizes.get(packageOf(path)) ?? 0) + taken);
      onDisk += taken;
      if (!stats.isFile()) continue;
      bytes += stats.size;
      files++;
    }
    const large = [...sizes].filter(([, size]) => size >= SMALL).sort((a, b) => b[1] - a[1]);
    const rest = onDisk - large.reduce((sum, [, size]) => sum + size, 0);
    const packages = Object.fromEntries(
      [...large, [`${sizes.size - large.length} others`, rest] as const].map(([name, size]) => [
        name,
        round(size),
      ]),
    );
    for (const [name, size] of Object.entries(packages)) {
      console.log(`${size.toFixed(1).padStart(7)} MB  ${name}`);
    }
    const platform = `${process.platform} ${process.arch}`;
    return { platform, megabytes: round(onDisk), bytes, files, packages };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
