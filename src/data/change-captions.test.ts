import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../util/random.js";
import {
  augmentText,
  changeCaption,
  inTemplates,
  isTemplate,
  withoutOneWord,
} from "./change-captions.js";

const TEXT = "one two three four five six seven eight nine ten";
const WORDS = TEXT.split(" ");
const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const sorted = (text: string) => text.split(" ").sort();

test("without options captions stay as they are, to the last space", () => {
  assert.equal(changeCaption(" a  red\nbicycle ", {}, random(1)), " a  red\nbicycle ");
  assert.equal(changeCaption("a", { wordDropout: 0, templates: [] }, random(1)), "a");
  assert.equal(augmentText(TEXT, {}, random(1)), TEXT);
});

test("all templates are drawn, about equally often, and filled", () => {
  const templates = ["a photo of {}.", "{}", "{}, or: {}"];
  const counts = new Map<string, number>();
  for (const i of range(300)) {
    const text = changeCaption("a $& cat", { templates }, random("template", i));
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  assert.deepEqual([...counts.keys()].sort(), [
    "a $& cat",
    "a $& cat, or: a $& cat",
    "a photo of a $& cat.",
  ]);
  for (const count of counts.values()) assert.ok(count > 70 && count < 130, `${count} of 300`);
});

test("a word is left out as often as asked for, the others keep their order", () => {
  let kept = 0;
  const counts = new Map<string, number>();
  for (const i of range(500)) {
    const words = changeCaption(TEXT, { wordDropout: 0.3 }, random("drop", i)).split(" ");
    const places = words.map((word) => WORDS.indexOf(word));
    assert.deepEqual(
      places,
      places.toSorted((a, b) => a - b),
    );
    kept += words.length;
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  // Six deviations.
  assert.ok(Math.abs(kept / 5000 - 0.7) < 0.04, `${kept} of 5000`);
  for (const word of WORDS) assert.ok(Math.abs(counts.get(word)! / 500 - 0.7) < 0.13, word);
});

test("words are left out before a template is put around, and one always stays", () => {
  const seen = new Set<string>();
  for (const i of range(100)) {
    seen.add(changeCaption("x y", { wordDropout: 1, templates: ["a photo of {}"] }, random(i)));
    assert.match(augmentText("x y", { delete: 1 }, random(i)), /^[xy]$/);
  }
  assert.deepEqual([...seen].sort(), ["a photo of x", "a photo of y"]);
});

test("words change places as often as asked for, and none is lost", () => {
  const moved = (swap: number, i: number) => {
    const text = augmentText(TEXT, { swap }, random("swap", i));
    assert.deepEqual(sorted(text), sorted(TEXT));
    return text.split(" ").filter((word, place) => word !== WORDS[place]).length;
  };
  for (const i of range(50)) {
    // One swap, even where the part of the words is less than one.
    assert.equal(moved(0.1, i), 2);
    assert.equal(moved(0.01, i), 2);
  }
  const mean = range(100).reduce((sum, i) => sum + moved(0.5, i), 0) / 100;
  assert.ok(mean > 5 && mean < 9, `${mean} of 10 words moved by five swaps`);
});

test("swapping and leaving out combine; a text of one word stays", () => {
  const words = augmentText(TEXT, { swap: 0.3, delete: 0.5 }, random(4)).split(" ");
  assert.ok(words.length < 10 && words.every((word) => WORDS.includes(word)));
  const places = words.map((word) => WORDS.indexOf(word));
  assert.notDeepEqual(
    places,
    places.toSorted((a, b) => a - b),
  );
  assert.equal(augmentText(" one ", { swap: 1, delete: 1 }, random(4)), " one ");
});

test("equal streams change a text equally, others otherwise", () => {
  const change = (key: number) => augmentText(TEXT, { swap: 0.2, delete: 0.2 }, random("key", key));
  assert.equal(change(1), change(1));
  assert.equal(new Set(range(20).map(change)).size, 20);
});

test("one word less", () => {
  const texts = new Set(range(50).map((i) => withoutOneWord("a b  c", random(i))));
  assert.deepEqual([...texts].sort(), ["a b", "a c", "b c"]);
  assert.equal(withoutOneWord("a", random(1)), "a");
});

test("a template has a place for the caption; its other braces stay", () => {
  assert.ok(isTemplate("a photo of {}") && !isTemplate("a photo of { }"));
  const templates = ["{ {} } of {size}"];
  assert.equal(changeCaption("x", { templates }, random(1)), "{ x } of {size}");
});

test("all captions are shown in templates, the longest in each of them", () => {
  assert.deepEqual(inTemplates(["a", "the b", "c"], ["my {}", "{}!"]), [
    "my a",
    "the b!",
    "my c",
    "my the b",
    "the b!",
  ]);
  assert.deepEqual(inTemplates(["a"], []), ["a"]);
});
