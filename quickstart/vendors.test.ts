import assert from "node:assert/strict";
import { test } from "node:test";
import sharp from "sharp";
import { type IconSet, iconSvg, loadVendor } from "./vendors.js";
import { loadEmoji } from "./wording.js";

/** A 4 x 2 picture whose top left quarter is red, and aliases of it. */
const set: IconSet = {
  icons: { corner: { body: '<rect width="2" height="1" fill="#f00"/>', height: 2 } },
  aliases: {
    same: { parent: "corner" },
    flipped: { parent: "corner", hFlip: true },
    back: { parent: "flipped", hFlip: true },
    below: { parent: "corner", vFlip: true },
    turned: { parent: "corner", rotate: 1 },
    orphan: { parent: "nobody" },
  },
  width: 4,
  height: 4,
};

/** Where an 8 x 8 rendering is red, as rows of "#" and ".". */
async function draw(name: string): Promise<string[]> {
  const pixels = await sharp(Buffer.from(iconSvg(set, name, 8)))
    .flatten({ background: "#ffffff" })
    .raw()
    .toBuffer();
  return Array.from({ length: 8 }, (_, y) =>
    Array.from({ length: 8 }, (_, x) => (pixels[(y * 8 + x) * 3 + 1]! < 128 ? "#" : ".")).join(""),
  );
}

test("icons are centred, and aliases turned and flipped", async () => {
  const empty = "........";
  const corner = [empty, empty, "####....", "####....", empty, empty, empty, empty];
  assert.deepEqual(await draw("corner"), corner);
  assert.deepEqual(await draw("same"), corner);
  assert.deepEqual(await draw("back"), corner);
  assert.deepEqual(
    await draw("flipped"),
    corner.map((row) => [...row].reverse().join("")),
  );
  assert.deepEqual(await draw("below"), [...corner].reverse());
  const right = "....##..";
  assert.deepEqual(await draw("turned"), [right, right, right, right, empty, empty, empty, empty]);
});

test("an icon that isn't there is an error", () => {
  assert.throws(() => iconSvg(set, "nothing", 8), /no icon named "nothing"/);
  assert.throws(() => iconSvg(set, "orphan", 8), /no icon named "nobody"/);
});

test("makers of flags draw those of nearly all regions, by their codes", () => {
  const emoji = loadEmoji();
  const flags = emoji.filter(({ name }) => name.startsWith("flag: "));
  const vendors = { flag: 261, flagpack: 250, "circle-flags": 261, cif: 198 } as const;
  for (const [vendor, least] of Object.entries(vendors)) {
    const { names } = loadVendor(vendor as keyof typeof vendors, emoji);
    const drawn = flags.filter(({ hexcode }) => names.has(hexcode));
    assert.ok(drawn.length >= least, `${vendor} ${drawn.length}`);
    assert.equal(drawn.length, names.size, `${vendor} draws nothing else`);
  }
  const { names } = loadVendor("flag", emoji);
  const iconOf = (name: string) => names.get(flags.find((flag) => flag.name === name)!.hexcode);
  assert.equal(iconOf("flag: France"), "fr-4x3");
  assert.equal(iconOf("flag: Scotland"), "gb-sct-4x3");
});

test("nearly every emoji that a vendor draws is found", () => {
  const emoji = loadEmoji();
  const found = (vendor: Parameters<typeof loadVendor>[0]) => loadVendor(vendor, emoji).names;
  // noto's package has no flags of countries; fluent-emoji has neither those nor couples and families.
  const noto = found("noto");
  assert.ok(noto.size >= 1680, `noto ${noto.size}`);
  const twemoji = found("twemoji");
  assert.ok(twemoji.size >= 1940, `twemoji ${twemoji.size}`);
  const openmoji = found("openmoji");
  assert.ok(openmoji.size >= 1940, `openmoji ${openmoji.size}`);
  const fluent = found("fluent-emoji");
  assert.ok(fluent.size >= 1590, `fluent-emoji ${fluent.size}`);
  assert.equal(new Set(fluent.values()).size, fluent.size, "an icon stands for two emoji");
  assert.equal(fluent.get("1F9DA"), "person-fairy");
  assert.equal(noto.get("2764"), "red-heart");
});
