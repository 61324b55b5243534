/** `npm run bench -- NAME`: prints for people, and as its last line one JSON object. */
import { benchObjectives } from "./objectives.js";
import { benchRecompute } from "./recompute.js";
import { benchStep } from "./step.js";

const benchmarks: Record<string, () => Promise<object>> = {
  step: benchStep,
  objectives: benchObjectives,
  recompute: benchRecompute,
};

const name = process.argv[2] ?? "";
const run = benchmarks[name];
if (run === undefined) {
  console.error(`Name a benchmark: npm run bench -- ${Object.keys(benchmarks).join(" | ")}`);
  process.exit(1);
}
console.log(JSON.stringify(await run()));
