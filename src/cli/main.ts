#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { ClipsmithError } from "../util/errors.js";
import { configCommand } from "./config.js";
import { embedCommand } from "./embed.js";
import { evalCommand } from "./eval.js";
import { exportCommand } from "./export.js";
import { importCommand } from "./import.js";
import { indexCommand } from "./index-pictures.js";
import { reportCommand } from "./report.js";
import { searchCommand } from "./search.js";
import { serveCommand } from "./serve.js";
import { trainCommand } from "./train.js";

const manifest = new URL("../../../package.json", import.meta.url);
const { version, description } = JSON.parse(readFileSync(manifest, "utf8")) as {
  version: string;
  description: string;
};

const program = new Command("clipsmith")
  .description(description)
  .version(version)
  .showHelpAfterError("Add --help for the options.")
  .addHelpText(
    "after",
    `
From a folder of pictures, each with a .txt file of captions beside it, to a search page:
  clipsmith train photos --minutes 10
  clipsmith index runs/photos photos
  clipsmith serve runs/photos`,
  );
const commands = [
  trainCommand,
  configCommand,
  evalCommand,
  reportCommand,
  embedCommand,
  indexCommand,
  searchCommand,
  serveCommand,
  importCommand,
  exportCommand,
];
for (const command of commands) {
  program.addCommand(command().copyInheritedSettings(program));
}

for (const stream of [process.stdout, process.stderr]) {
  // Whoever reads the output may have read enough.
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof ClipsmithError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
