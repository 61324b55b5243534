import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, before, test } from "node:test";
import { readCollection } from "./collection.js";

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-folder-"));
});
after(() => rm(root, { recursive: true, force: true }));

const LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n";

let count = 0;
/** What is read of a folder of these files, captions joined. */
async function read(
  files: Record<string, string>,
  captions: "required" | "optional" = "required",
): Promise<{ samples: string[]; skipped: string[]; notes: string[] }> {
  const path = join(root, `${count++}`);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), text, "latin1");
  }
  const place = (where: string) => relative(path, where).replaceAll("\\", "/");
  const { samples, skipped, notes } = await readCollection(path, { captions });
  return {
    samples: samples.map((sample) => `${place(sample.picture)} ${sample.captions.join("|")}`),
    skipped: skipped.map(({ where, reason }) => `${place(where)} ${reason.split(": ")[0]}`),
    notes,
  };
}

const bare = (...names: string[]) => Object.fromEntries(names.map((name) => [name, ""]));

test("captions are in files of many endings beside the picture", async () => {
  for (const [name, text, captions] of [
    ["a.txt", "one\ntwo\n", "one|two"],
    ["a.caption", "one", "one"],
    ["a.CAPTION", "one", "one"],
    ["a.captions", "one\ntwo", "one|two"],
    ["a.cap", "one", "one"],
    ["a.json", '{"caption": "one", "score": NaN}', "one"],
    ["a.json", '["one", "two"]', "one|two"],
    ["a.cls", "cat", "cat"],
    ["a.jpg.txt", "one", "one"],
    ["a.JPG.caption", "one", undefined],
  ] as const) {
    const { samples } = await read({ [name]: text, "a.jpg": "", "b.jpg": "", "b.txt": "b" });
    assert.deepEqual(samples, captions ? [`a.jpg ${captions}`, "b.jpg b"] : ["b.jpg b"], name);
  }
  const several = { "a.jpg": "", "a.caption": "second", "a.json": '{"caption": "third"}' };
  assert.deepEqual((await read({ ...several, "a.txt": "first" })).samples, ["a.jpg first"]);
  assert.deepEqual((await read({ ...several, "a.txt": "\n" })).samples, ["a.jpg second"]);
});

test("a file beside a picture that holds no captions says why", async () => {
  for (const [name, text, reason] of [
    ["a.txt", "", "the .txt file of captions is empty"],
    ["a.caption", "\n", "the .caption file of captions is empty"],
    ["a.json", '{"caption": NaN}', "no caption in the .json file beside the picture"],
    ["a.json", '{"title": "a.jpg", "url": ""}', "no caption in the .json file beside the picture"],
    ["a.json", "{caption}", "the .json is not JSON"],
    ["a.cls", "7", "no caption in the .cls file beside the picture"],
    ["a.txt", "0 0.5 0.5 0.25 1\n12 0.1 .2 1e-3 0\n", "no captions in the .txt file"],
    ["a.txt", LFS, "no captions in the .txt file"],
    ["a.txt", "<!DOCTYPE html>\n<html>", "no captions in the .txt file"],
    ["a.xml", "<annotation/>", "no captions beside the picture, only .xml"],
  ] as const) {
    const { skipped } = await read({ [name]: text, "a.jpg": "", "b.jpg": "", "b.txt": "b" });
    assert.deepEqual(skipped, [`a.jpg ${reason}`], `${name} ${text}`);
  }
});

test("folders' names are captions only where nothing lies beside the pictures, and it is told", async () => {
  const two = bare("cats/1.jpg", "wild_dogs/2.jpg");
  for (const [files, samples, note] of [
    [two, ["cats/1.jpg cats", "wild_dogs/2.jpg wild dogs"], /cats\/1\.jpg is "cats"\.$/],
    [
      bare("10_toys/1.jpg", "5_blocks/2.jpg"),
      ["10_toys/1.jpg toys", "5_blocks/2.jpg blocks"],
      /without the numbers before them\. 10_toys\/1\.jpg is "toys"\.$/,
    ],
    [
      bare("001.Black_Albatross/1.jpg", "002.Crow/2.jpg"),
      ["001.Black_Albatross/1.jpg Black Albatross", "002.Crow/2.jpg Crow"],
      /is "Black Albatross"/,
    ],
    // The numbers of some are part of the name.
    [
      bare("3_in_a_row/1.jpg", "chess/2.jpg"),
      ["3_in_a_row/1.jpg 3 in a row", "chess/2.jpg chess"],
      /./,
    ],
    // What says nothing of captions does not stand in the way.
    [
      { ...two, ...bare("cats/3.heic", "cats/4.jpg.part", "classes.txt", "readme.md") },
      ["cats/1.jpg cats", "wild_dogs/2.jpg wild dogs"],
      /is "cats"/,
    ],
  ] as const) {
    const result = await read(files);
    assert.deepEqual(result.samples, samples);
    assert.match(result.notes[0]!, note);
  }

  for (const [files, message] of [
    [bare("cats/1.xml"), /1 times: no captions beside the picture, only \.xml \(1\.jpg\)/],
    [bare("cats/1.tags", "cats/1.yaml"), /only \.tags and \.yaml \(1\.jpg\)/],
    [{ "cats/1.json": '{"tags": "x"}' }, /no caption in the \.json file beside the picture \(1/],
    [bare("texts/1.txt"), /no picture beside the \.txt file \(1\.txt\)/],
    [bare("2019/3.jpg"), /not taken for captions: some hold no word, such as "2019"/],
    [bare("train/3.jpg"), /some don't say what is in pictures, such as "train"/],
  ] as const) {
    await assert.rejects(read({ ...two, ...files }), message);
  }
});

test("what systems leave behind is passed over, counted and named", async () => {
  const litter = [
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg",
    "@eaDir/a.png/SYNOPHOTO_THUMB_S.jpg",
    "sub/@EADIR/a.jpg",
    ".Trashes/t.png",
    ".Trash-1000/files/t.png",
    "System Volume Information/s.png",
    "$RECYCLE.BIN/S-1-5/r.jpg",
    "#recycle/r.jpg",
    "@Recycle/r.jpg",
    ".@__thumb/t.jpg",
    ".thumbnails/normal/t.png",
    "lost+found/l.jpg",
    "__MACOSX/._a.jpg",
    "@tmp/t.jpg",
  ];
  const files = { "a.png": "", "a.txt": "a", ...bare(...litter, "Thumbs.db", ".DS_Store") };
  const { samples, skipped, notes } = await read({ ...files, ...bare("._a.png", "desktop.ini") });
  assert.deepEqual(samples, ["a.png a"]);
  assert.deepEqual(skipped, []);
  assert.deepEqual(notes, [
    "Left out 14 pictures of system folders: #recycle, $RECYCLE.BIN, .@__thumb, .Trash-1000, .Trashes, ...; " +
      "1 picture of hidden names: ._a.png.",
  ]);
  assert.deepEqual((await read({ "a.png": "", "a.txt": "a", ".hidden.txt": "" })).notes, []);
  await assert.rejects(read(bare(...litter)), /Left out 14 pictures of system folders/);
  assert.deepEqual((await read({ ...files, "a.txt": "" }, "optional")).samples, ["a.png "]);
});

test("files of kinds that can't be read are counted by kind", async () => {
  const files = {
    "a.png": "",
    "a.txt": "a",
    ...bare("x.HEIC", "y.CR2", "w.heic", "z.mov", "notes.md"),
  };
  for (const captions of ["required", "optional"] as const) {
    const { samples, skipped, notes } = await read(files, captions);
    assert.equal(samples.length, 1);
    assert.deepEqual(skipped, [
      "w.heic .heic files cannot be read",
      "x.HEIC .heic files cannot be read",
      "y.CR2 .cr2 files cannot be read",
    ]);
    assert.deepEqual(notes, [
      "Left out 4 files of kinds that can't be read: 2 .heic, 1 .cr2, 1 .mov. " +
        "Pictures can be converted to JPEG or PNG.",
    ]);
  }
  // Where the same picture is there in a kind that can be, none is missing.
  const twins = await read({ "a.jpg": "", "a.txt": "a", ...bare("a.dng", "a.mov") });
  assert.deepEqual(twins.skipped, []);
  assert.match(twins.notes[0]!, /2 files of kinds that can't be read: 1 \.dng, 1 \.mov/);
  // A text beside one is not without a picture.
  const text = await read({ "a.jpg": "", "a.txt": "a", "b.heic": "", "b.txt": "b" });
  assert.deepEqual(text.skipped, ["b.heic .heic files cannot be read"]);
  await assert.rejects(read(bare("a.heic", "b.bmp")), /1 times: \.heic files cannot be read/);
});

test("a picture without an ending is known by its beginning", async () => {
  const jpeg = Buffer.from("ffd8ffe000104a464946", "hex").toString("latin1");
  const { samples, skipped } = await read({
    "0a1b": jpeg,
    "0a1b.txt": "a",
    "0a1c": "GIF89a",
    LICENSE: "text",
    Makefile: "",
  });
  assert.deepEqual(samples, ["0a1b a"]);
  assert.deepEqual(skipped, ["0a1c no .txt file of captions beside the picture"]);
});

test("pictures of many endings are read, unfinished downloads are named", async () => {
  const names = [
    "a.jfif",
    "b.JPE",
    "c.pjpeg",
    "d.pjp",
    "e.jif",
    "f.jfi",
    "g.apng",
    "h.TIF",
    "i.svgz",
  ];
  const files = Object.fromEntries(
    names.flatMap((name) => [
      [name, ""],
      [`${name[0]}.txt`, "x"],
    ]),
  );
  const downloads = ["j.jpg.part", "k.png.crdownload", "Unconfirmed 7.crdownload", "l.jpg.tmp"];
  const { samples, skipped } = await read({ ...files, ...bare(...downloads, "cache.db.tmp") });
  assert.deepEqual(
    samples.map((sample) => sample.split(" ")[0]),
    names,
  );
  assert.deepEqual(skipped.sort(), [
    "Unconfirmed 7.crdownload the download is unfinished",
    "j.jpg.part the download is unfinished",
    "k.png.crdownload the download is unfinished",
    "l.jpg.tmp the download is unfinished",
  ]);
});
