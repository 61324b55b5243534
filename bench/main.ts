/** `npm run bench -- NAME [OPTIONS]`: prints for people, and as its last line one JSON object. */
import { benchBinding } from "./binding/binding.js";
import { benchChunks } from "./chunks.js";
import { benchData } from "./data.js";
import { benchDistributed } from "./distributed.js";
import { benchEpoch } from "./epoch.js";
import { benchFaults } from "./faults.js";
import { benchInstall } from "./install.js";
import { benchMinutes } from "./minutes.js";
import { benchObjectives } from "./objectives.js";
import { benchOptimizer } from "./optimizer.js";
import { benchProvider } from "./provider.js";
import { benchRecompute } from "./recompute.js";
import { benchStep } from "./step.js";
import { benchTiles } from "./tiles.js";

const benchmarks: Record<string, (options: readonly string[]) => Promise<object>> = {
  step: benchStep,
  objectives: benchObjectives,
  recompute: benchRecompute,
  binding: benchBinding,
  optimizer: benchOptimizer,
  faults: benchFaults,
  epoch: benchEpoch,
  minutes: benchMinutes,
  data: benchData,
  chunks: benchChunks,
  tiles: benchTiles,
  distributed: benchDistributed,
  provider: benchProvider,
  install: benchInstall,
};

const name = process.argv[2] ?? "";
const run = benchmarks[name];
if (run === undefined) {
  console.error(`Name a benchmark: npm run bench -- ${Object.keys(benchmarks).join(" | ")}`);
  process.exit(1);
}
console.log(JSON.stringify(await run(process.argv.slice(3))));
