import assert from "node:assert/strict";
import { test } from "node:test";
import type { PictureIndex } from "../search/index.js";
import { colourEmbedder } from "./colours.test.fixture.js";
import { Served } from "./served.js";

/** What is served is told apart by its note. */
function searchable(note: string) {
  return { embedder: colourEmbedder, index: {} as PictureIndex, note };
}

/** A promise, and what settles it. */
function gate() {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

test("requests under way end with what they began with, and only then can it be closed", async () => {
  const served = new Served(searchable("first"));
  const gates = [gate(), gate()];
  const underWay = gates.map(({ opened }) =>
    served.use(async ({ note }) => {
      await opened;
      return note;
    }),
  );
  let isLeft = false;
  const left = served.replace(searchable("second")).then(() => {
    isLeft = true;
  });
  assert.equal(await served.use(async ({ note }) => note), "second");
  gates[0]!.open();
  assert.equal(await underWay[0], "first");
  await new Promise(setImmediate);
  assert.equal(isLeft, false);
  gates[1]!.open();
  assert.equal(await underWay[1], "first");
  await left;
});

test("a request that fails is over as well", async () => {
  const served = new Served(searchable("first"));
  const { opened, open } = gate();
  const failing = served.use(async () => {
    await opened;
    throw new Error("no such picture");
  });
  const left = served.replace(searchable("second"));
  open();
  await assert.rejects(failing, /no such picture/);
  await left;
});

test("each replacement has a version of its own, greater than those before", async () => {
  const served = new Served(searchable("0"));
  const versions = [served.version];
  for (const note of ["1", "2", "3"]) {
    await served.replace(searchable(note));
    versions.push(served.version);
  }
  assert.deepEqual(
    versions,
    [...new Set(versions)].sort((a, b) => a - b),
  );
});
