import assert from "node:assert/strict";
import { test } from "node:test";
import { comparable, heldOutKeywords, loadEmoji, trainingCaptions } from "./wording.js";

const emoji = loadEmoji();
const heldOut = heldOutKeywords(emoji);
const captions = trainingCaptions(emoji);

test("emoji have names of their own", () => {
  assert.ok(emoji.length > 1900, `${emoji.length} emoji`);
  assert.equal(new Set(emoji.map(({ name }) => comparable(name))).size, emoji.length);
  assert.ok(!emoji.some(({ name }) => /skin tone$/.test(name) && name.includes(":")));
});

test("nicknames are words that say something new", () => {
  const okHand = emoji.find(({ name }) => name === "man gesturing OK")!;
  assert.ok(okHand.nicknames.includes("ok man"), okHand.nicknames.join());
  const clock = emoji.find(({ name }) => name === "one-thirty")!;
  assert.deepEqual(clock.nicknames, []);
});

test("a tenth of the keywords is held out, and always the same", () => {
  const keywords = new Set(emoji.flatMap((entry) => entry.keywords.map(comparable)));
  const share = heldOut.size / keywords.size;
  assert.ok(share > 0.07 && share < 0.12, `${heldOut.size} of ${keywords.size}`);
  assert.deepEqual(heldOutKeywords(loadEmoji()), heldOut);
  for (const keyword of heldOut) {
    const users = emoji.filter((entry) => entry.keywords.map(comparable).includes(keyword));
    assert.ok(users.length >= 1 && users.length <= 20, `${keyword}: ${users.length}`);
  }
});

test("no training caption has a held-out keyword as a wording", () => {
  for (const { hexcode, name } of emoji) {
    for (const caption of captions.get(hexcode)!) {
      assert.ok(!heldOut.has(comparable(caption)), caption);
      if (caption === name) continue;
      const listed = caption.startsWith(`${name} (`) ? caption.slice(name.length + 2, -1) : caption;
      for (const part of listed.split(", ")) {
        assert.ok(!heldOut.has(comparable(part)), caption);
      }
    }
  }
});

test("captions start with the name, which half of them have", () => {
  let shares = 0;
  for (const { hexcode, name } of emoji) {
    const list = captions.get(hexcode)!;
    assert.equal(list[0], name);
    shares +=
      list.filter((caption) => caption === name || caption.startsWith(`${name} (`)).length /
      list.length;
    assert.ok(list.every((caption) => caption.trim() !== ""));
  }
  const mean = shares / emoji.length;
  assert.ok(mean > 0.45 && mean < 0.55, `${mean}`);
});

test("a caption of one keyword is no other emoji's name", () => {
  const tiger = emoji.find(({ name }) => name === "tiger")!;
  assert.ok(tiger.keywords.includes("cat"));
  assert.ok(!captions.get(tiger.hexcode)!.includes("cat"));
});
