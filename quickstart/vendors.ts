import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Emoji } from "./wording.js";

const require = createRequire(import.meta.url);

/** The makers of emoji pictures to train on. */
export const TRAINING_VENDORS = ["noto", "twemoji", "fluent-emoji"] as const;

/** More makers, and these makers' other sets, for long trainings; none draws all emoji. */
export const MORE_VENDORS = [
  "noto-v1",
  "fluent-emoji-flat",
  "fluent-emoji-high-contrast",
  "emojione",
  "emojione-v1",
  "emojione-monotone",
  "fxemoji",
  "streamline-emojis",
  "flag",
  "flagpack",
  "circle-flags",
  "cif",
] as const;

/** Makers of flags alone, which name them by the codes of ISO 3166 and an ending. */
const FLAG_ENDINGS: Readonly<Partial<Record<Vendor, string>>> = {
  flag: "-4x3",
  flagpack: "",
  "circle-flags": "",
  cif: "",
};

/** The maker whose drawing style is never trained on. */
export const UNSEEN_VENDOR = "openmoji";

export type TrainingVendor = (typeof TRAINING_VENDORS | typeof MORE_VENDORS)[number];
export type Vendor = TrainingVendor | typeof UNSEEN_VENDOR;

/** What an alias may change about its parent; `rotate` counts quarter turns clockwise. */
interface Transformation {
  readonly rotate?: number;
  readonly hFlip?: boolean;
  readonly vFlip?: boolean;
}

interface Box {
  readonly left?: number;
  readonly top?: number;
  readonly width?: number;
  readonly height?: number;
}

/** An icon set in Iconify's JSON format, as far as it is used here. */
export interface IconSet extends Box {
  readonly icons: Readonly<Record<string, Box & Transformation & { readonly body: string }>>;
  readonly aliases?: Readonly<Record<string, Box & Transformation & { readonly parent: string }>>;
}

function readPackageFile<T>(vendor: Vendor, file: string): T {
  return JSON.parse(readFileSync(require.resolve(`@iconify-json/${vendor}/${file}`), "utf8")) as T;
}

export function packageVersion(vendor: Vendor): string {
  return readPackageFile<{ version: string }>(vendor, "package.json").version;
}

/** The names that fluent-emoji gives what Unicode calls otherwise. It has no table of code points. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  "black bird": "blackbird",
  "deaf man": "man-deaf",
  "deaf person": "person-deaf",
  "deaf woman": "woman-deaf",
  elf: "person-elf",
  "enraged face": "pouting-face",
  "face with crossed-out eyes": "knocked-out-face",
  fairy: "person-fairy",
  genie: "person-genie",
  "keycap: #": "keycap-hashtag",
  "keycap: *": "keycap-asterisk",
  mage: "person-mage",
  "man: blond hair": "man-blonde-hair",
  "men with bunny ears": "man-with-bunny-ears",
  "men wrestling": "man-wrestling",
  mermaid: "woman-merpeople",
  merman: "man-merpeople",
  merperson: "person-merpeople",
  "people with bunny ears": "person-with-bunny-ears",
  "people wrestling": "person-wrestling",
  "person: blond hair": "person-blonde-hair",
  phoenix: "phoenix-bird",
  piñata: "piata",
  "red triangle pointed up": "red-triangle",
  "smiling face with open hands": "hugging-face",
  superhero: "person-superhero",
  supervillain: "person-supervillain",
  vampire: "person-vampire",
  "woman: blond hair": "woman-blonde-hair",
  "women with bunny ears": "woman-with-bunny-ears",
  "women wrestling": "woman-wrestling",
  zombie: "person-zombie",
};

/** An icon's name as the sets derive it from Unicode's: "A button (blood type)" -> "a-button-blood-type". */
function iconName(name: string): string {
  return name
    .normalize("NFD")
    .replace(/[\p{M}’“”().,:!]/gu, "")
    .toLowerCase()
    .replace(/&/g, "and")
    .replace(/[^a-z0-9]+/g, "-");
}

/** "fr" for 1F1EB-1F1F7, "gb-eng" for 1F3F4-E0067-...-E007F; undefined for what is no region's flag. */
function region(hexcode: string): string | undefined {
  const codes = hexcode.split("-").map((code) => Number.parseInt(code, 16));
  if (codes.length === 2 && codes.every((code) => code >= 0x1f1e6 && code <= 0x1f1ff)) {
    return String.fromCharCode(...codes.map((code) => code - 0x1f1e6 + 0x61));
  }
  const [flag, ...tags] = codes;
  if (flag !== 0x1f3f4 || tags.pop() !== 0xe007f) return undefined;
  const letters = String.fromCharCode(...tags.map((tag) => tag - 0xe0000));
  return `${letters.slice(0, 2)}-${letters.slice(2)}`;
}

/** Some sets write the variation selector U+FE0F, others leave it out; no two emoji differ by it alone. */
function withoutVariation(hexcode: string): string {
  return hexcode.toUpperCase().replace(/-FE0F/g, "");
}

export interface VendorIcons {
  readonly set: IconSet;
  /** Hexcode of each emoji that the vendor draws -> name of its icon. */
  readonly names: ReadonlyMap<string, string>;
}

/**
 * Reads a vendor's icons (up to 100 MB) and finds those of `emoji`: by code points, else by name; flags of
 * makers of flags by region.
 */
export function loadVendor(vendor: Vendor, emoji: readonly Emoji[]): VendorIcons {
  const set = readPackageFile<IconSet>(vendor, "icons.json");
  const candidates = candidatesOf(vendor);
  const names = new Map<string, string>();
  for (const one of emoji) {
    const { hexcode } = one;
    const found = candidates(one).find(
      (candidate) =>
        candidate !== undefined && (candidate in set.icons || candidate in (set.aliases ?? {})),
    );
    if (found !== undefined) names.set(hexcode, found);
  }
  return { set, names };
}

/** What a vendor's icon of an emoji may be called. */
function candidatesOf(vendor: Vendor): (emoji: Emoji) => readonly (string | undefined)[] {
  const ending = FLAG_ENDINGS[vendor];
  if (ending !== undefined) {
    return ({ hexcode }) => {
      const code = region(hexcode);
      return [code && `${code}${ending}`];
    };
  }
  const byCode = new Map<string, string>();
  const chars = readPackageFile<Record<string, string>>(vendor, "chars.json");
  for (const [hexcode, name] of Object.entries(chars)) byCode.set(withoutVariation(hexcode), name);
  return ({ hexcode, name }) => [
    byCode.get(withoutVariation(hexcode)),
    iconName(name),
    OTHER_NAMES[name],
  ];
}

/** An icon with what its aliases change: their own sizes win, turns and flips add up. */
function resolveIcon(set: IconSet, name: string): IconSet["icons"][string] {
  const icon = set.icons[name];
  if (icon !== undefined) return icon;
  const alias = set.aliases?.[name];
  if (alias === undefined) throw new Error(`The icon set has no icon named "${name}".`);
  const parent = resolveIcon(set, alias.parent);
  return {
    ...parent,
    ...alias,
    rotate: (parent.rotate ?? 0) + (alias.rotate ?? 0),
    hFlip: (parent.hFlip ?? false) !== (alias.hFlip ?? false),
    vFlip: (parent.vFlip ?? false) !== (alias.vFlip ?? false),
  };
}

/** A line around every shape of an icon that has none of its own. */
export interface Outline {
  /** As a part of the icon's width. */
  readonly width: number;
  readonly colour: string;
}

/** An icon as an SVG document of `size` x `size` pixels: drawn as large as fits, centred. */
export function iconSvg(set: IconSet, name: string, size: number, outline?: Outline): string {
  const icon = resolveIcon(set, name);
  const { rotate = 0, hFlip = false, vFlip = false, body } = icon;
  const left = icon.left ?? set.left ?? 0;
  const top = icon.top ?? set.top ?? 0;
  const width = icon.width ?? set.width ?? 16; // Iconify's default
  const height = icon.height ?? set.height ?? 16;
  const [x, y] = [left + width / 2, top + height / 2];
  const [w, h] = rotate % 2 === 0 ? [width, height] : [height, width];
  const turn =
    `translate(${x} ${y}) rotate(${90 * rotate}) ` +
    `scale(${hFlip ? -1 : 1} ${vFlip ? -1 : 1}) translate(${-x} ${-y})`;
  const stroke = outline
    ? ` stroke="${outline.colour}" stroke-width="${outline.width * w}" stroke-linejoin="round"`
    : "";
  return (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ' +
    `width="${size}" height="${size}" viewBox="${x - w / 2} ${y - h / 2} ${w} ${h}">` +
    `<g transform="${turn}"${stroke}>${body}</g></svg>`
  );
}
