import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { addDamaged, clipsmith, type Ended, makeCollection, start, tinyModel } from "./testing.js";

let folder: string;
let collection: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "clipsmith-errors-"));
  chmodSync(folder, 0o755);
  collection = join(folder, "colours");
  await makeCollection(collection, 6);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** The one message of a command that must fail in a way that people can mend. */
async function failure(...args: readonly string[]): Promise<string> {
  return messageOf(await clipsmith(...args));
}

function messageOf({ code, stderr }: Ended): string {
  assert.equal(code, 1);
  assert.doesNotMatch(stderr, /^\s+at .*:\d+/m, "a stack");
  return stderr;
}

function train(...more: readonly string[]): Promise<Ended> {
  return clipsmith("train", collection, "--steps", "3", ...tinyModel, ...more);
}

test("wrong settings are named with the nearest right one, before anything is written", async () => {
  const out = join(folder, "never");
  const config = join(folder, "wrong.json");
  writeFileSync(config, JSON.stringify({ model: { clip: { textHeds: 2 } } }));
  const broken = join(folder, "broken.json");
  writeFileSync(broken, "{");
  const cases: [args: string[], message: RegExp][] = [
    [["--batchsize", "8"], /unknown option '--batchsize'\n\(Did you mean --batch-size\?\)/],
    [["--steps", "many"], /'--steps <n>' argument 'many' is invalid\. It is not a number/],
    [["--preset", "tny"], /Allowed choices are laptop, small, base, vit-b-32/],
    [["--minutes", "2"], /'--minutes <n>' cannot be used with option '--steps <n>'/],
    [["--set", "clip.textEncDept=3"], /textEncDept=3: model\.clip: .*mean "textEncDepth"\?/],
    [["--set", "training.augment.rotat=3"], /training\.augment: .*mean "rotate"\?/],
    [
      ["--set", "traning.seed=3"],
      /--set traning\.seed=3: there is no option "traning".*"training"/,
    ],
    [["--set", "seed"], /--set seed: expected a path and a value, such as clip\.textEncDepth=3/],
    [
      ["--batch-size", "1"],
      /^--batch-size: training\.batchSize: expected an integer from 2, got 1/,
    ],
    [["--image-size", "18"], /visualImageSize \(18\) must be a multiple of visualPatchSize \(4\)/],
    [
      ["--config", config],
      /wrong\.json:1:19: model\.clip: .*"textHeds"; did you mean "textHeads"\?/,
    ],
    [["--config", broken], /broken\.json:1:2: Flow map must end with a }/],
    [["--config", join(folder, "none.json")], /none\.json: ENOENT/],
    [["--tokenizer", join(folder, "none.json")], /Can't load the tokenizer .*none\.json: ENOENT/],
    [["--tokenizer", "openai", "--vocabulary-size", "300"], /cannot be used with/],
    [["--provider", "abacus"], /no provider "abacus" on this machine; it has cpu/],
    [["--resume"], /There is no run to resume in .*never.*Leave out --resume/],
  ];
  for (const [args, message] of cases) {
    assert.match(messageOf(await train("--out", out, ...args)), message);
    assert.ok(!existsSync(join(out, "training.json")), `${args.join(" ")} has started a run`);
  }
});

test("settings come from the preset, the file, the options and --set, later ones winning", async () => {
  const config = join(folder, "settings.json");
  const model = { clip: { textEncDepth: 1, dimText: 24 }, preprocessing: { fit: "contain" } };
  const training = { seed: 3, batchSize: 4, augment: { flip: 0.5 } };
  writeFileSync(config, JSON.stringify({ model, training, vocabularySize: 300 }));
  const out = join(folder, "settings");
  const { code, stderr } = await clipsmith(
    ...["train", collection, "--out", out, "--steps", "1", "--config", config],
    ...["--batch-size", "5", "--image-size", "16", "--set", "training.augment.rotate=5"],
    ...["--set", "clip.dimText=32", "--set", "preprocessing.background=[0,0,0]"],
  );
  assert.equal(code, 0, stderr);
  const read = (name: string) => JSON.parse(readFileSync(join(out, name), "utf8"));
  const { clip, preprocessing } = read("config.json");
  assert.equal(clip.dimText, 32);
  assert.equal(clip.textEncDepth, 1);
  assert.equal(clip.visualImageSize, 16);
  assert.equal(clip.visualEncDepth, 3, "the preset's");
  assert.ok(clip.numTextTokens <= 300);
  assert.equal(preprocessing.fit, "contain");
  assert.deepEqual(preprocessing.background, [0, 0, 0]);
  const { seed, batchSize, augment, steps } = read("training.json");
  assert.deepEqual({ seed, batchSize, steps }, { seed: 3, batchSize: 5, steps: 1 });
  assert.deepEqual(augment, { flip: 0.5, rotate: 5 });
});

test("collections that cannot be trained on say why", async () => {
  assert.match(await failure("train", join(folder, "nowhere")), /nowhere does not exist\. Give/);
  const one = join(folder, "one");
  await makeCollection(one, 1);
  assert.match(
    await failure("train", one, "--out", join(folder, "run-of-one")),
    /needs at least two pictures with captions, to tell them apart; found 1/,
  );
  const empty = join(folder, "empty");
  await makeCollection(empty, 1);
  writeFileSync(join(empty, "000-red.txt"), " \n");
  assert.match(
    await failure("train", empty),
    /holds no picture with a caption\.\n {2}1 times: the \.txt file of captions is empty \(000-red/,
  );
  const damaged = join(folder, "damaged");
  mkdirSync(damaged);
  addDamaged(damaged, "a");
  const alike = join(folder, "alike");
  mkdirSync(alike);
  for (const name of ["a", "b"]) {
    addDamaged(alike, name);
    writeFileSync(join(alike, `${name}.txt`), "the same\n");
  }
  assert.match(
    await failure("train", alike, "--out", join(folder, "run-of-alike"), ...tinyModel),
    /All pictures have the same caption/,
  );
  addDamaged(damaged, "b");
  assert.match(
    await failure("train", damaged, "--out", join(folder, "run-of-damaged"), ...tinyModel),
    /Training stopped: 100 % of the last samples .* 2 times: it is not a picture .*\.png\)/s,
  );
});

test("an empty caption and a missing file are skipped and named", async () => {
  const mixed = join(folder, "mixed");
  await makeCollection(mixed, 4);
  const rows = ["000-red.png,red", "001-green.png,", "gone.png,gone", "002-blue.png,blue"];
  const list = join(mixed, "list.csv");
  writeFileSync(list, `path,caption\n${rows.join("\n")}\n`);
  const out = join(folder, "run-of-mixed");
  const { code, stdout } = await clipsmith(
    ...["train", list, "--out", out, "--steps", "2", ...tinyModel],
  );
  assert.equal(code, 0);
  assert.match(
    stdout,
    /^2 pictures with 2 captions\.\nlist\.csv: pictures by "path" .*, separated by commas\.\nSkipped 2:$/m,
  );
  assert.match(stdout, /list\.csv:3: no caption: 001-green\.png$/m);
  assert.match(stdout, /list\.csv:4: the picture does not exist: .*gone\.png$/m);
});

test("a loss that is no number ends the training", async () => {
  const out = join(folder, "diverged");
  const message = messageOf(
    await train("--out", out, "--learning-rate", "1e30", "--warmup-steps", "0"),
  );
  assert.match(message, /Training stopped at step \d: the (loss is NaN|gradients are not finite)/);
  assert.match(message, /start again with a lower --learning-rate and --overwrite/);
  assert.ok(!existsSync(join(out, "model.safetensors")));
});

test("folders that cannot hold a run are refused and left as they are", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "precious");
  for (const out of [file, join(file, "inside")]) {
    assert.match(messageOf(await train("--out", out)), /as the folder of the run: it is a file/);
  }
  assert.equal(readFileSync(file, "utf8"), "precious");
  assert.match(
    messageOf(await train("--out", collection, "--overwrite")),
    /colours is not empty and holds no run\. Choose another folder by --out/,
  );
  assert.ok(existsSync(join(collection, "000-red.png")));

  const out = join(folder, "twice");
  assert.equal((await train("--out", out)).code, 0);
  const before = readFileSync(join(out, "model.safetensors"));
  assert.match(messageOf(await train("--out", out)), /already holds a run\. Go on .*--overwrite/);
  const wrong = await train("--out", out, "--overwrite", "--image-size", "18");
  assert.match(messageOf(wrong), /must be a multiple/);
  assert.deepEqual(readFileSync(join(out, "model.safetensors")), before);
  assert.equal((await train("--out", out, "--overwrite", "--seed", "1")).code, 0);
  assert.notDeepEqual(readFileSync(join(out, "model.safetensors")), before);
});

test("what is no folder, and cannot become one, is refused, to be resumed or not", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  const link = join(folder, "link");
  symlinkSync(join(folder, "gone"), link);
  const cases: [out: string, flags: string[], message: RegExp][] = [
    [file, [], /Cannot use .*file as the folder of the run: it is a file, or inside of one\./],
    [file, ["--resume"], /Cannot use .*file as the folder of the run: it is a file/],
    [
      join(link, "x"),
      [],
      /link\/x as the folder of the run: .*link is a link to what is not there/,
    ],
  ];
  if (process.platform === "linux") {
    cases.push(["/proc/x", [], /\/proc\/x as .*: no folder can be made as \/proc\/x\./]);
  }
  for (const [out, flags, message] of cases) {
    assert.match(messageOf(await train("--out", out, ...flags)), message);
  }
});

test("a folder without the right to write is refused", {
  skip: process.platform === "win32" && "Windows keeps rights otherwise",
}, async () => {
  const locked = join(folder, "locked");
  mkdirSync(locked);
  chmodSync(locked, 0o555);
  // The administrator may write everywhere; 65534 is nobody.
  const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  for (const out of [locked, join(locked, "run")]) {
    const args = ["train", collection, "--out", out, "--steps", "1", ...tinyModel];
    const message = messageOf(await start(args, nobody).ended);
    assert.match(message, /Cannot use .*locked.* as the folder of the run: permission is denied/);
  }
});

test("the other verbs say what is missing", async () => {
  const none = join(folder, "no-run");
  assert.match(await failure("eval", none, collection), /no-run is not a model's folder/);
  assert.match(await failure("serve", none), /no-run is not a model's folder/);
  assert.match(await failure("search", none), /Search by words or by --picture FILE/);
  assert.match(await failure("serve", none, "--port", "65536"), /whole number of 0 to 65535/);
  assert.match(await failure("serve", none, "--threads", "99999"), /This machine has \d+ proc/);
  assert.match(await failure("serch"), /unknown command 'serch'\n\(Did you mean search\?\)/);
  const out = join(folder, "unindexed");
  assert.equal((await train("--out", out)).code, 0);
  assert.match(await failure("search", out, "red"), /no picture index in .*clipsmith index/);
  assert.match(await failure("serve", out), /no picture index in .*clipsmith index/);
  await clipsmith("index", out);
  const picture = join(folder, "none.png");
  assert.match(
    await failure("search", out, "--picture", picture),
    /none\.png cannot be read: the file does not exist/,
  );
  assert.match(await failure("search", out, "red", "--limit", "0"), /at least 1/);
});

test("the version and the help of every verb", async () => {
  const { version } = JSON.parse(
    readFileSync(new URL("../../../package.json", import.meta.url), "utf8"),
  ) as { version: string };
  assert.equal((await clipsmith("--version")).stdout.trim(), version);
  for (const verb of ["train", "eval", "embed", "index", "search", "serve", "import", "export"]) {
    const { code, stdout } = await clipsmith(verb, "--help");
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`Examples?:\\n {2}clipsmith ${verb} `));
  }
});
