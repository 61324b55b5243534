import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, before, test } from "node:test";
import { type CollectionOptions, readCollection } from "./collection.js";

let root: string;

before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-layouts-"));
});

after(async () => {
  await rm(root, { recursive: true, force: true });
});

/** What reading gives, with paths relative to the folder. */
interface Expected {
  readonly samples: readonly (readonly [string, readonly string[]])[];
  /** What notes say, in their order. */
  readonly notes?: readonly RegExp[];
  /** The reasons of what is left out. */
  readonly skipped?: readonly RegExp[];
}

interface Case extends Expected {
  readonly files: Readonly<Record<string, string>>;
  /** What is read in the folder; default: the folder. */
  readonly read?: string;
  readonly options?: CollectionOptions;
}

const coco = (name: string) =>
  JSON.stringify({
    info: {},
    images: [{ id: 9, file_name: name }],
    annotations: [
      { image_id: 9, id: 1, caption: "one" },
      { image_id: 9, id: 2, caption: "two" },
    ],
  });

const cases: Readonly<Record<string, Case>> = {
  "Flickr8k of Kaggle": {
    files: {
      "captions.txt": 'image,caption\n1.jpg,"A child , in pink ."\n1.jpg,A girl .\n2.jpg,A dog .\n',
      "Images/1.jpg": "",
      "Images/2.jpg": "",
    },
    samples: [
      ["Images/1.jpg", ["A child , in pink .", "A girl ."]],
      ["Images/2.jpg", ["A dog ."]],
    ],
    notes: [/^captions\.txt: pictures by "image" \(in Images\/\), captions by "caption", .*commas/],
  },
  "Flickr8k as it was published": {
    read: "Flickr8k_text/Flickr8k.token.txt",
    files: {
      "Flickr8k_text/Flickr8k.token.txt": "1.jpg#0\tA child .\n1.jpg#1\tA girl .\n",
      "Flicker8k_Dataset/1.jpg": "",
    },
    samples: [["Flicker8k_Dataset/1.jpg", ["A child .", "A girl ."]]],
    notes: [/^Flickr8k\.token\.txt: no header/],
  },
  "Flickr30k of Kaggle": {
    files: {
      "results.csv": "image_name| comment_number| comment\n1.jpg| 0| Two men , talking .\n",
      "flickr30k_images/1.jpg": "",
    },
    samples: [["flickr30k_images/1.jpg", ["Two men , talking ."]]],
    notes: [/^results\.csv: .*separated by bars/],
  },
  "COCO: of its lists, that of training, and no boxes": {
    files: {
      "annotations/captions_train2017.json": coco("000009.jpg"),
      "annotations/captions_val2017.json": coco("000139.jpg"),
      "annotations/instances_train2017.json": '{"images": [], "annotations": []}',
      "train2017/000009.jpg": "",
      "val2017/000139.jpg": "",
    },
    samples: [["train2017/000009.jpg", ["one", "two"]]],
    notes: [
      /^Left out captions_val2017\.json, which by name is for validation/,
      /^annotations\/captions_train2017\.json: pictures by "file_name" \(in train2017\/\)/,
      /^1 picture of the folder is not named in captions_train2017\.json, and left out/,
    ],
    skipped: [/^not named in captions_train2017\.json$/],
  },
  "Karpathy's splits": {
    read: "dataset_coco.json",
    files: {
      "dataset_coco.json": JSON.stringify({
        images: [
          {
            filepath: "val2014",
            filename: "COCO_1.jpg",
            sentences: [{ raw: "A man ." }, { raw: "A bike ." }],
            split: "train",
          },
        ],
        dataset: "coco",
      }),
      "val2014/COCO_1.jpg": "",
    },
    samples: [["val2014/COCO_1.jpg", ["A man .", "A bike ."]]],
  },
  "LLaVA: a conversation about a picture": {
    read: "chat.json",
    files: {
      "chat.json": JSON.stringify([
        {
          id: "1",
          image: "GCC_1.jpg",
          conversations: [
            { from: "human", value: "Describe it.\n<image>" },
            { from: "gpt", value: "a red bicycle" },
          ],
        },
      ]),
      "images/GCC_1.jpg": "",
    },
    samples: [["images/GCC_1.jpg", ["a red bicycle"]]],
    notes: [/captions by "conversations"/],
  },
  "captions by the names of their pictures": {
    read: "captions.json",
    files: { "captions.json": '{"a.jpg": ["x", "y"], "b.jpg": "z"}', "a.jpg": "", "b.jpg": "" },
    samples: [
      ["a.jpg", ["x", "y"]],
      ["b.jpg", ["z"]],
    ],
  },
  "pictures named by number, without an ending": {
    read: "train.csv",
    files: { "train.csv": "id;Alt Text\n7;seven\n8;eight\n", "img/7.png": "", "img/8.JPEG": "" },
    samples: [
      ["img/7.png", ["seven"]],
      ["img/8.JPEG", ["eight"]],
    ],
  },
  "paths of Windows and of another machine": {
    read: "list.csv",
    files: {
      "list.csv": "filepath,title\np\\0.png,zero\nE:\\set\\p\\1.png,one\n/data/set/p/2.png,two\n",
      "p/0.png": "",
      "p/1.png": "",
      "p/2.png": "",
    },
    samples: [
      ["p/0.png", ["zero"]],
      ["p/1.png", ["one"]],
      ["p/2.png", ["two"]],
    ],
  },
  "a name that several pictures have is not guessed at": {
    read: "list.csv",
    files: {
      "list.csv": "image,caption\n1.png,x\n2.png,y\n",
      "a/1.png": "",
      "b/1.png": "",
      "a/2.png": "",
    },
    samples: [["a/2.png", ["y"]]],
    skipped: [/^several pictures have this name: /],
  },
  "a picture is never taken for another that the list names": {
    read: "list.csv",
    files: { "list.csv": "image,caption\na/1.png,of a\nb/1.png,of b\n", "b/1.png": "" },
    samples: [["b/1.png", ["of b"]]],
    skipped: [/^the picture does not exist: a\/1\.png/],
  },
  "columns that are named": {
    read: "list.csv",
    options: { pictureColumn: "Which One", captionColumn: "label" },
    files: { "list.csv": "which one,caption,label\n1.png,wrong,right\n", "1.png": "" },
    samples: [["1.png", ["right"]]],
  },
  "a hint for Excel names the separator": {
    read: "list.csv",
    files: { "list.csv": '\ufeff"sep=;"\r\npath;caption\r\n1.png;a, b\r\n', "1.png": "" },
    samples: [["1.png", ["a, b"]]],
  },
  "a lone quote takes no other row's place": {
    read: "list.tsv",
    files: {
      "list.tsv":
        'caption\timage\n"unclosed\t1.png\nplain\t2.png\nfine"\t3.png\n"a ""b"""\t4.png\n',
      "1.png": "",
      "2.png": "",
      "3.png": "",
      "4.png": "",
    },
    samples: [
      ["1.png", ['"unclosed']],
      ["2.png", ["plain"]],
      ["3.png", ['fine"']],
      ["4.png", ['a "b"']],
    ],
  },
  "commas in captions, and too many fields among more columns": {
    read: "list.csv",
    files: { "list.csv": "path,caption\n1.png,a, b, c\n", "1.png": "" },
    samples: [["1.png", ["a, b, c"]]],
  },
  "a list names part of a folder": {
    files: { "metadata.csv": "file_name,text\n1.png,x\n", "1.png": "", "more/2.png": "" },
    samples: [["1.png", ["x"]]],
    notes: [/^metadata\.csv: /, /^1 picture of the folder is not named in metadata\.csv/],
    skipped: [/^not named in metadata\.csv$/],
  },
  "a list names part of a folder whose pictures need no captions": {
    options: { captions: "optional" },
    files: { "metadata.csv": "file_name,text\n1.png,x\n", "1.png": "", "more/2.png": "" },
    samples: [
      ["1.png", ["x"]],
      ["more/2.png", []],
    ],
  },
  "captions beside pictures go before an unusual list": {
    files: { "a.jpg": "", "a.txt": "beside", "train.csv": "image,caption\na.jpg,listed\n" },
    samples: [["a.jpg", ["beside"]]],
  },
};

for (const [name, { files, read = ".", options = {}, samples, notes, skipped }] of Object.entries(
  cases,
)) {
  test(name, async () => {
    const folder = await mkdtemp(join(root, "set-"));
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    const found = await readCollection(join(folder, read), options);
    assert.deepEqual(
      found.samples.map(({ picture, captions }) => [
        relative(folder, picture).replaceAll("\\", "/"),
        captions,
      ]),
      samples,
    );
    for (const [i, note] of (notes ?? []).entries()) assert.match(found.notes[i] ?? "", note);
    assert.equal(found.skipped.length, skipped?.length ?? 0, JSON.stringify(found.skipped));
    for (const [i, reason] of (skipped ?? []).entries()) {
      assert.match(found.skipped[i]!.reason, reason);
    }
  });
}

test("a column that is not there is told with those that are", async () => {
  const path = join(root, "named.csv");
  await writeFile(path, "image,caption\n1.png,x\n");
  await assert.rejects(
    readCollection(path, { captionColumn: "words" }),
    /no column of captions: its columns are "image", "caption"\. There is no "words" among them/,
  );
});

test("rows that do not fit are told in detail", async () => {
  const path = join(root, "fields.csv");
  await writeFile(path, "image,title,caption\n1.png,x,a, b\n");
  await assert.rejects(
    readCollection(path),
    /malformed row .*it has 4 fields, the header 3; a field with a separator in it needs quotes/,
  );
});
