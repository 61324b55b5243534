// Puts packages into the modules that export them, so that they and what they need are not installed for users.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, sep } from "node:path";
import { buildSync } from "esbuild";

const require = createRequire(import.meta.url);

/**
 * Modules of `src`. LanceDB makes npm install packages that weigh as much as all the rest and that nothing here
 * uses, and only a user's own package.json could keep npm from it. What it needs of them is the library for the
 * user's system. tar-stream brings libraries for another runtime; of protobufjs little is used.
 */
const BUNDLED = ["search/lancedb", "data/tar-stream", "util/protobuf"];

/** What makes `require` known to packages that are CommonJS. */
const REQUIRE =
  'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

const readJson = (file) => JSON.parse(readFileSync(file, "utf8"));

/** The folder of the package that a file in `node_modules` is of. */
const packageOf = (file) => file.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)[0];

/** LanceDB's libraries are packages of their own, and have to be of its version. */
function checkLibraries() {
  const home = packageOf(require.resolve("@lancedb/lancedb").replaceAll(sep, "/"));
  const { optionalDependencies: ours } = readJson("package.json");
  const { optionalDependencies: theirs } = readJson(`${home}/package.json`);
  const missing = Object.entries(theirs).filter(
    ([name, version]) => name.startsWith("@lancedb/") && ours[name] !== version,
  );
  if (missing.length > 0) {
    const list = missing.map(([name, version]) => `"${name}": "${version}"`).join(", ");
    throw new Error(`LanceDB needs these optionalDependencies in package.json: ${list}`);
  }
}

/** The licenses of the packages that `files`, their paths with slashes, are of. */
function licensesOf(files) {
  const folders = [...new Set(files.map(packageOf))].sort();
  const licenses = folders.map((folder) => {
    const { name, version, license } = readJson(`${folder}/package.json`);
    const texts = readdirSync(folder)
      .filter((file) => /^(licen[cs]e|notice|copyright)/i.test(file))
      .map((file) => readFileSync(`${folder}/${file}`, "utf8").trim());
    // LanceDB's package has no license file, only a line in each module.
    const lines = files
      .filter((file) => packageOf(file) === folder)
      .map((file) => readFileSync(file, "utf8").match(/SPDX-FileCopyrightText: (.*)/)?.[1]);
    const holders = [...new Set(lines.filter((line) => line !== undefined))];
    return [`${name} ${version}, ${license}`, ...holders, ...texts].join("\n\n");
  });
  return `${licenses.join(`\n\n${"-".repeat(80)}\n\n`)}\n`;
}

/** Bundles what was compiled into a folder. */
export function bundlePackages(folder) {
  checkLibraries();
  for (const name of BUNDLED) {
    const file = join(folder, "src", `${name}.js`);
    const { metafile } = buildSync({
      entryPoints: [file],
      outfile: file,
      allowOverwrite: true,
      bundle: true,
      metafile: true,
      platform: "node",
      target: "node20",
      format: "esm",
      minifyWhitespace: true,
      // The licenses are in a file beside it.
      legalComments: "none",
      banner: { js: REQUIRE },
      // One Arrow, not one for `import` and another for `require`.
      alias: { "apache-arrow": require.resolve("apache-arrow") },
      external: ["*.node", "@lancedb/lancedb-*", "openai", "@huggingface/transformers"],
    });
    rmSync(`${file}.map`, { force: true });
    const inputs = Object.keys(metafile.inputs).filter((path) => path.includes("node_modules/"));
    writeFileSync(join(folder, "src", `${name}.LICENSES.txt`), licensesOf(inputs));
  }
}
