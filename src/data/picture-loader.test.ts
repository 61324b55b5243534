import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { random } from "../util/random.js";
import { type AugmentOptions, augmentInto, normaliseInto, type PixelFormat } from "./augment.js";
import { Picture } from "./picture.js";
import { PictureLoader, type PictureLoaderOptions } from "./picture-loader.js";
import { centreWindow, drawWindow } from "./window.js";

const SIZE = 16;
const LENGTH = 3 * SIZE * SIZE;
const FORMAT: PixelFormat & { channels: 3 } = {
  size: SIZE,
  channels: 3,
  mean: [0.48, 0.46, 0.41],
  std: [0.27, 0.26, 0.28],
};
const AUGMENT = { crop: [0.5, 1], rotate: 10, colour: { hue: 0.1 } } as const;

let root: string;
const pictures: string[] = [];
before(async () => {
  root = await mkdtemp(join(tmpdir(), "clipsmith-loader-"));
  for (let i = 0; i < 10; i++) {
    const stream = random("picture", i);
    const pixels = Uint8Array.from({ length: 40 * 30 * 3 }, () => stream.integer(256));
    const path = join(root, `${i}.png`);
    await sharp(pixels, { raw: { width: 40, height: 30, channels: 3 } }).toFile(path);
    pictures.push(path);
  }
});
after(() => rm(root, { recursive: true, force: true }));

/** A loader that is closed however the test ends. */
async function withLoader(
  options: Partial<PictureLoaderOptions>,
  work: (loader: PictureLoader) => Promise<void>,
): Promise<void> {
  const loader = new PictureLoader({ ...FORMAT, ...options });
  try {
    await work(loader);
  } finally {
    await loader.close();
  }
}

async function direct(
  picture: string,
  key?: readonly (string | number)[],
  { crop, ...changes }: AugmentOptions = AUGMENT,
): Promise<Float32Array> {
  const out = new Float32Array(LENGTH);
  const opened = await Picture.open(picture);
  const window =
    key && crop
      ? drawWindow(opened, "cover", crop, random(...key, "crop"))
      : centreWindow(opened, SIZE, "cover");
  const pixels = await opened.view(window, SIZE);
  if (key === undefined) normaliseInto(out, pixels, FORMAT);
  else augmentInto(out, pixels, FORMAT, changes, random(...key));
  return out;
}

function slice(pixels: Float32Array, index: number): Float32Array {
  return pixels.slice(index * LENGTH, (index + 1) * LENGTH);
}

test("small copies are made of pictures given as bytes, upright and never larger", async () => {
  const turned = await sharp(pictures[0]!).withMetadata({ orientation: 6 }).jpeg().toBuffer();
  const small = await sharp(pictures[1]!).resize(8, 6).png().toBuffer();
  const requests = [turned, small, Buffer.from("no picture"), pictures[2]!].map((picture) => ({
    picture,
  }));
  await withLoader({ thumbnailSize: 20 }, async (loader) => {
    const { thumbnails, failed } = await loader.load(requests);
    assert.deepEqual([...thumbnails.keys()].sort(), [0, 1]);
    assert.equal(failed.length, 1);
    const sizes = [0, 1].map(async (index) => {
      const { format, width, height } = await sharp(thumbnails.get(index)).metadata();
      return [format, width, height];
    });
    assert.deepEqual(await Promise.all(sizes), [
      ["webp", 15, 20],
      ["webp", 8, 6],
    ]);
  });
  await withLoader({}, async (loader) => {
    assert.equal((await loader.load(requests)).thumbnails.size, 0);
  });
});

test("loads are what decoding directly gives, cached or not, from paths and bytes", async () => {
  for (const cacheBytes of [0, LENGTH * 3, 2 ** 20]) {
    await withLoader({ augment: AUGMENT, cacheBytes }, async (loader) => {
      for (let epoch = 0; epoch < 2; epoch++) {
        const { pixels, failed } = await loader.load([
          ...pictures.map((picture) => ({ picture })),
          ...pictures.map((picture, i) => ({ picture, augmentKey: ["test", epoch, i] })),
        ]);
        assert.deepEqual(failed, []);
        assert.equal(pixels.length, 20 * LENGTH);
        for (const [i, picture] of pictures.entries()) {
          assert.deepEqual(slice(pixels, i), await direct(picture));
          assert.deepEqual(slice(pixels, 10 + i), await direct(picture, ["test", epoch, i]));
        }
      }
    });
  }
  await withLoader({}, async (loader) => {
    const bytes = await sharp(pictures[3]).png().toBuffer();
    const around = new Uint8Array(bytes.length + 100);
    around.set(bytes, 50);
    const view = around.subarray(50, 50 + bytes.length);
    const { pixels } = await loader.load([{ picture: view }]);
    assert.deepEqual(pixels, await direct(pictures[3]!));
    assert.equal(view.length, bytes.length, "the caller's bytes stay the caller's");
  });
});

test("the cache answers for a file that is gone, up to its size", async () => {
  const paths = await Promise.all(
    [0, 1].map(async (i) => {
      const path = join(root, `gone-${i}.png`);
      await sharp(pictures[i]).toFile(path);
      return path;
    }),
  );
  await withLoader({ cacheBytes: LENGTH }, async (loader) => {
    for (const picture of paths) await loader.load([{ picture }]);
    for (const path of paths) await rm(path);
    const { failed } = await loader.load(paths.map((picture) => ({ picture })));
    assert.deepEqual(
      failed.map(({ index }) => index),
      [1],
    );
  });
});

test("the cache is one for all threads, and as large as asked however many loads are under way", async () => {
  const paths = await Promise.all(
    pictures.map(async (picture, i) => {
      const path = join(root, `shared-${i}.png`);
      await sharp(picture).toFile(path);
      return path;
    }),
  );
  await withLoader({ workers: 3, cacheBytes: 4 * LENGTH }, async (loader) => {
    await Promise.all(paths.map((picture) => loader.load([{ picture }])));
    for (const path of paths) await rm(path);
    const loads = await Promise.all(paths.map((picture) => loader.load([{ picture }])));
    assert.equal(loads.filter(({ failed }) => failed.length === 0).length, 4);
  });
});

test("any number of threads gives the same bits, in the order of the requests", async () => {
  const large = join(root, "large.jpg");
  await sharp(pictures[0]).resize(400, 300).jpeg().toFile(large);
  const bytes = await readFile(large);
  const requests = (load: number) =>
    [...pictures, large, bytes].map((picture, i) => ({
      picture,
      augmentKey: [load, i],
      ...(i % 3 === 0 && { blend: { picture: large, weight: 0.3 } }),
    }));
  const results: unknown[] = [];
  for (const options of [
    { workers: 1 },
    { workers: 2 },
    { workers: 3 },
    { workers: 3, cacheBytes: 0 },
  ]) {
    const views = [{ crop: [0.08, 1], blur: { sigma: [1, 2] } }] as const;
    await withLoader({ ...options, augment: AUGMENT, views }, async (loader) => {
      const loads = Array.from({ length: 7 }, (_, load) => loader.load(requests(load)));
      const loaded = await Promise.all(loads);
      assert.deepEqual(slice(loaded[3]!.pixels, 1), await direct(pictures[1]!, [3, 1]));
      assert.deepEqual(slice(loaded[5]!.pixels, 11), await direct(large, [5, 11]));
      results.push(loaded);
    });
  }
  for (const result of results.slice(1)) assert.deepEqual(result, results[0]);
});

test("crops are taken from the picture's own pixels", async () => {
  // Stripes of a pixel: at a sixteenth of the size they are grey, in a small crop they can be told.
  const side = 16 * SIZE;
  const stripes = Uint8Array.from({ length: side * side * 3 }, (_, i) =>
    Math.floor(i / 3) % 2 === 0 ? 255 : 0,
  );
  const path = join(root, "stripes.png");
  await sharp(stripes, { raw: { width: side, height: side, channels: 3 } }).toFile(path);
  const plain = { mean: [0, 0, 0], std: [1, 1, 1] };
  const contrast = async (augment: AugmentOptions) => {
    let most = 0;
    await withLoader({ ...plain, augment }, async (loader) => {
      const { pixels } = await loader.load([{ picture: path, augmentKey: ["stripes"] }]);
      most = Math.max(...pixels) - Math.min(...pixels);
    });
    return most;
  };
  assert.ok((await contrast({})) < 0.1);
  const part = (SIZE / side) ** 2;
  assert.ok((await contrast({ crop: [part, part] })) > 0.5);
});

test("broken pictures fail alone, with a reason and zeros", async () => {
  const broken = join(root, "broken.jpg");
  const jpeg = await sharp(pictures[0]).resize(300).jpeg().toBuffer();
  await writeFile(broken, jpeg.subarray(0, jpeg.length / 2));
  await withLoader({}, async (loader) => {
    const requests = [pictures[0]!, broken, pictures[1]!, join(root, "missing.png"), pictures[2]!];
    const { pixels, failed } = await loader.load(requests.map((picture) => ({ picture })));
    assert.deepEqual(
      failed.map(({ index }) => index),
      [1, 3],
    );
    assert.match(failed[0]!.reason, /^it is damaged: .*premature end/i);
    assert.equal(failed[1]!.reason, "the file does not exist");
    for (const i of [1, 3]) assert.ok(slice(pixels, i).every((v) => v === 0));
    for (const i of [0, 2, 4]) assert.deepEqual(slice(pixels, i), await direct(requests[i]!));
  });
});

test("loads asked for at once each get their own pictures; none at all is fine", async () => {
  await withLoader({}, async (loader) => {
    const loads = await Promise.all(pictures.map((picture) => loader.load([{ picture }])));
    for (const [i, { pixels }] of loads.entries()) {
      assert.deepEqual(pixels, await direct(pictures[i]!));
    }
    const none = await loader.load([]);
    assert.deepEqual([none.pixels.length, none.fingerprints.length, none.failed], [0, 0, []]);
  });
});

test("a blend is the weighted mean of two pictures, changed alike", async () => {
  await withLoader({ augment: { rotate: 30, flip: 0.5 } }, async (loader) => {
    const augmentKey = ["blend", 1];
    const [picture, other] = pictures as [string, string];
    const { pixels: a } = await loader.load([{ picture, augmentKey }]);
    const { pixels: b } = await loader.load([{ picture: other, augmentKey }]);
    const blend = { picture: other, weight: 0.25 };
    const { pixels, fingerprints } = await loader.load([{ picture, augmentKey, blend }]);
    const expected = a.map((value, i) => value + 0.25 * (b[i]! - value));
    assert.deepEqual(pixels, expected);
    assert.deepEqual(fingerprints, (await loader.load([{ picture }])).fingerprints);
    const missing = { picture: "no-such-file.png", weight: 0.5 };
    const alone = await loader.load([{ picture, augmentKey, blend: missing }]);
    assert.deepEqual([alone.pixels, alone.failed], [a, []]);
  });
});

test("further views of a picture are changed each in its own way, by numbers of their own", async () => {
  const ssl: AugmentOptions = { flip: 0.5, blur: { sigma: [1, 2] } };
  await withLoader({ augment: AUGMENT, views: [ssl, ssl, {}] }, async (loader) => {
    const requests = pictures.map((picture, i) => ({ picture, augmentKey: ["test", i] }));
    const { pixels, views } = await loader.load(requests);
    assert.equal(views.length, 3);
    for (const [i, { picture, augmentKey }] of requests.entries()) {
      assert.deepEqual(slice(pixels, i), await direct(picture, augmentKey));
      for (const [v, view] of views.entries()) {
        const key = [...augmentKey, "view", v + 1];
        assert.deepEqual(slice(view, i), await direct(picture, key, v < 2 ? ssl : {}));
      }
    }
    assert.notDeepEqual(views[0], views[1]);
  });
  await withLoader({ augment: AUGMENT, views: [ssl] }, async (loader) => {
    const [picture, other] = pictures as [string, string];
    const plain = await loader.load([{ picture }]);
    assert.deepEqual(plain.views[0], plain.pixels, "no key, no changes");
    const augmentKey = ["blend"];
    const blend = { picture: other, weight: 0.25 };
    const { views } = await loader.load([{ picture, augmentKey, blend }]);
    const key = [...augmentKey, "view", 1];
    const [a, b] = [await direct(picture, key, ssl), await direct(other, key, ssl)];
    assert.deepEqual(
      views[0],
      a.map((value, i) => value + 0.25 * (b[i]! - value)),
    );
  });
  await withLoader({}, async (loader) => {
    assert.deepEqual((await loader.load([{ picture: pictures[0]! }])).views, []);
  });
});

test("too many pixels are refused where a limit is set", async () => {
  await withLoader({ maxPixels: 40 * 30 - 1 }, async (loader) => {
    const { failed } = await loader.load([{ picture: pictures[0]! }]);
    assert.equal(failed[0]!.reason, "it has too many pixels");
  });
});

test("close waits for loads under way and refuses others", async () => {
  const loader = new PictureLoader(FORMAT);
  const load = loader.load(pictures.map((picture) => ({ picture })));
  await loader.close();
  assert.deepEqual((await load).failed, []);
  await assert.rejects(loader.load([]), /load\(\) after close\(\)/);
  await new PictureLoader(FORMAT).close();
});

test("a thread that dies fails its loads and no others, and another takes its place", async () => {
  // More memory than a typed array can have.
  await withLoader({ workers: 2, size: 2 ** 30, cacheBytes: 0 }, async (loader) => {
    for (let round = 0; round < 2; round++) {
      const doomed = loader.load([{ picture: pictures[0]! }]);
      const elsewhere = loader.load([]);
      const behind = loader.load([{ picture: pictures[0]! }]);
      for (const load of [doomed, behind]) {
        await assert.rejects(load, /The thread that loads pictures ended: .*array/i);
      }
      assert.deepEqual((await elsewhere).failed, []);
      assert.deepEqual((await loader.load([])).failed, []);
    }
  });
});

test("an idle loader keeps no process alive, a busy one does", () => {
  const script = `
    import { PictureLoader } from ${JSON.stringify(new URL("./picture-loader.js", import.meta.url))};
    const loader = new PictureLoader(${JSON.stringify(FORMAT)});
    loader.load([{ picture: ${JSON.stringify(pictures[0])} }]).then(({ pixels }) => {
      console.log(pixels.length);
    });`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--input-type=module", "--eval", script],
    { encoding: "utf8", timeout: 20 * 60_000 },
  );
  assert.equal(stderr, "");
  assert.equal(stdout, `${LENGTH}\n`);
  assert.equal(status, 0);
});

test("statistics must fit the channels", () => {
  assert.throws(
    () => new PictureLoader({ ...FORMAT, channels: 1 }),
    /mean and std must have 1 numbers, one a channel; got 3 and 3/,
  );
});
