import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { random } from "../src/util/random.js";

const require = createRequire(import.meta.url);

/** A base emoji (no skin-tone variant) and what people call it. */
export interface Emoji {
  /** Code points in upper-case hexadecimal joined by "-", for example "1F468-200D-1F33E". */
  readonly hexcode: string;
  /** The Unicode CLDR name, for example "waving hand". No two emoji share one. */
  readonly name: string;
  /** The CLDR keywords, mostly single words, for example "hello". */
  readonly keywords: readonly string[];
  /** Other names: the short codes of chat programs, in words, for example "ok hand". */
  readonly nicknames: readonly string[];
}

/** The form in which two wordings are compared: a tokenizer may see no difference between them. */
export function comparable(text: string): string {
  return text
    .normalize("NFC")
    .toLowerCase()
    .replace(/[\s_-]+/g, " ")
    .trim();
}

function readData<T>(file: string): T {
  return JSON.parse(readFileSync(require.resolve(`emojibase-data/en/${file}.json`), "utf8")) as T;
}

/** All base emoji of Unicode, in emojibase's order. */
export function loadEmoji(): Emoji[] {
  const rows = readData<{ hexcode: string; label: string; tags?: string[] }[]>("data");
  const shortCodes = ["emojibase", "github", "iamcal", "joypixels"].map((set) =>
    readData<Record<string, string | string[]>>(`shortcodes/${set}`),
  );
  return rows.map(({ hexcode, label, tags = [] }) => {
    const known = new Set([label, ...tags].map(lettersOf));
    const nicknames: string[] = [];
    for (const nickname of shortCodes.flatMap((codes) => codes[hexcode] ?? []).map(comparable)) {
      // Codes such as "clock130", "flag fr" or "family mmg" are no words.
      if (/\d|^.?.$|\b[mwgb]{2,}$|^flag ..$/.test(nickname) || known.has(lettersOf(nickname))) {
        continue;
      }
      known.add(lettersOf(nickname));
      nicknames.push(nickname);
    }
    return { hexcode, name: label, keywords: tags, nicknames };
  });
}

/** Short codes spell "woman's sandal" as "womans sandal" and "heart-eyes" as "heart eyes". */
function lettersOf(text: string): string {
  return comparable(text)
    .normalize("NFD")
    .replace(/[^a-z0-9]/g, "");
}

/** A keyword of more emoji than this says too little to search by, or to stand alone as a caption. */
const MOST_EMOJI = 20;

/** How many emoji have each keyword, by its comparable form. */
function countKeywords(emoji: readonly Emoji[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { keywords } of emoji) {
    for (const keyword of new Set(keywords.map(comparable))) {
      counts.set(keyword, (counts.get(keyword) ?? 0) + 1);
    }
  }
  return counts;
}

/**
 * The held-out keywords, in their comparable form: a fixed tenth of the distinct keywords that at most
 * {@link MOST_EMOJI} emoji have and that are nobody's name. Training never sees them as a wording of
 * their own, although their words may occur within longer names.
 */
export function heldOutKeywords(emoji: readonly Emoji[]): Set<string> {
  const names = new Set(emoji.map(({ name }) => comparable(name)));
  const heldOut = new Set<string>();
  for (const [keyword, count] of countKeywords(emoji)) {
    if (count > MOST_EMOJI || names.has(keyword)) continue;
    if (random("held-out keyword", keyword).uniform() < 0.1) heldOut.add(keyword);
  }
  return heldOut;
}

/**
 * The training captions of every emoji, by hexcode, none of them holding a held-out keyword as a
 * wording. A trainer draws one of a list uniformly, so how often a wording stands in it is its weight:
 *
 * - half of the list has the full name: a third of the list is the name alone, which is how people
 *   search for an emoji that they know, and a sixth the name with two of its keywords, which ties the
 *   keywords to the name;
 * - the other half has wordings without the name, all different, which is what teaches words apart
 *   from names: each keyword that is specific and not some other emoji's name (a tiger has the keyword
 *   "cat", yet the caption "cat" must mean a cat), each nickname, and keywords in groups of three,
 *   where also a keyword as common as "face" says something.
 */
export function trainingCaptions(emoji: readonly Emoji[]): Map<string, string[]> {
  const heldOut = heldOutKeywords(emoji);
  const counts = countKeywords(emoji);
  const names = new Set(emoji.map(({ name }) => comparable(name)));
  return new Map(
    emoji.map(({ hexcode, name, keywords, nicknames }) => {
      const kept = keywords.filter((keyword) => !heldOut.has(comparable(keyword)));
      const alone = kept.filter((keyword) => {
        const form = comparable(keyword);
        return counts.get(form)! <= MOST_EMOJI && !names.has(form);
      });
      const free = [
        ...alone,
        ...nicknames.filter((nickname) => !heldOut.has(nickname) && !names.has(nickname)),
        ...groups(kept, 3),
      ];
      const withKeywords = groups(kept, 2)
        .slice(0, Math.round(free.length / 3))
        .map((pair) => `${name} (${pair})`);
      const repeats = Math.max(1, free.length - withKeywords.length);
      return [hexcode, [...Array<string>(repeats).fill(name), ...withKeywords, ...free]];
    }),
  );
}

/**
 * The keywords in groups of `size`, as "hand, outtie, wave". They come in alphabetical order, where
 * neighbours are often one word in two forms, so a group takes keywords that lie far apart. Those left
 * over are left out; two keywords make a group of any size.
 */
function groups(keywords: readonly string[], size: number): string[] {
  if (keywords.length < 2) return [];
  const count = Math.max(1, Math.floor(keywords.length / size));
  return Array.from({ length: count }, (_, first) =>
    keywords
      .filter((_, i) => i % count === first)
      .slice(0, size)
      .join(", "),
  );
}
