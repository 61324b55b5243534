// Runs compiled test files with Node's own test runner: the quick ones, the slow ones (--slow), all (--all), or
// those whose path contains one of the words given. Skipped tests are told once more at the end, by reason.
import { readdirSync, realpathSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, sep } from "node:path";
import { run } from "node:test";
import { spec, tap } from "node:test/reporters";

/** A file that takes this long hangs. */
const MOST_MS = 60 * 60 * 1000;

const words = process.argv.slice(2);
const isSlow = (file) => file.endsWith(".slow.test.js");
const isWanted = (file) => {
  if (words.length === 0) return !isSlow(file);
  return words.some((word) => {
    if (word === "--all") return true;
    return word === "--slow" ? isSlow(file) : file.includes(word);
  });
};

// A build made meanwhile is none of these tests' business.
const folder = realpathSync("dist");
const files = readdirSync(folder, { recursive: true })
  .map((file) => file.split(sep).join("/"))
  .filter((file) => file.endsWith(".test.js") && isWanted(file))
  .sort()
  .map((file) => join(folder, file));
if (files.length === 0) {
  console.error(`No test file has ${words.join(" or ")} in its path.`);
  process.exit(1);
}

/** Adds the reasons of skipped tests before the summary, which the runner writes last. */
async function* tellSkipped(events) {
  const reasons = new Map();
  for await (const event of events) {
    const { type, data } = event;
    if (type === "test:pass" && data.skip !== undefined) {
      reasons.set(data.skip, (reasons.get(data.skip) ?? 0) + 1);
    }
    if (type === "test:diagnostic" && data.nesting === 0 && /^tests \d/.test(data.message)) {
      for (const [reason, count] of reasons) {
        const message = `${count} skipped: ${reason === true ? "no reason is given" : reason}`;
        yield { type, data: { ...data, message } };
      }
    }
    yield event;
  }
}

run({ files, concurrency: availableParallelism(), timeout: MOST_MS })
  .on("test:fail", () => {
    process.exitCode = 1;
  })
  .compose(tellSkipped)
  .compose(process.stdout.isTTY ? new spec() : tap)
  .pipe(process.stdout);
