import { CAPTION_EXTENSIONS } from "./caption-files.js";
import { PICTURE_EXTENSIONS } from "./picture-kinds.js";

/** Where a file of an archive belongs. */
export interface Place {
  /** The path up to the first dot of the file's name. */
  readonly key: string;
  /** The path up to the last dot. */
  readonly stem: string;
  /** What follows the last dot, in lower case. */
  readonly extension: string;
}

/** Where the file at a path belongs; undefined for what is hidden, or has no extension. */
export function placeOf(path: string): Place | undefined {
  const [, folder, base] = /^((?:.*\/)?)([^./][^/]*)$/s.exec(path.replace(/^(\.?\/)+/, "")) ?? [];
  const last = base?.lastIndexOf(".") ?? -1;
  if (base === undefined || last < 0 || last === base.length - 1) return undefined;
  return {
    key: folder + base.slice(0, base.indexOf(".")),
    stem: folder + base.slice(0, last),
    extension: base.slice(last + 1).toLowerCase(),
  };
}

/** What becomes a sample: a name, and its files by their extensions. */
export interface SampleFiles<T> {
  readonly name: string;
  readonly files: ReadonlyMap<string, T>;
  /** Why it cannot be told what belongs together. */
  readonly problem?: string;
}

/**
 * Pictures with several dots in their names that wait for more of their key: fields of one sample are fewer, so
 * these are pictures of their own.
 */
const MOST_FIELDS = 8;

/**
 * The files of one key, in order. WebDataset's key ends at the first dot, and what follows is the name of a field:
 * `7.jpg` and `7.txt`, or `7.input.jpg` and `7.outputs.txt`. But people's names have dots of their own: `v1.07.jpg`
 * and `v1.07.txt`, then `v1.08.jpg`, are of two samples.
 */
export class KeyFiles<T> {
  readonly key: string;
  /** By stem, then by extension. */
  readonly #stems = new Map<string, Map<string, T>>();

  constructor(key: string) {
    this.key = key;
  }

  add({ stem, extension }: Place, file: T): void {
    const files = this.#stems.get(stem);
    if (files === undefined) this.#stems.set(stem, new Map([[extension, file]]));
    else files.set(extension, file);
  }

  /** Whether a file is no more of these: of another key, there already, or of the next sample. */
  endsBefore({ key, stem, extension }: Place): boolean {
    const files = this.#stems.get(stem);
    if (key !== this.key || files?.has(extension)) return true;
    if (files !== undefined || stem === key || hasPicture(this.#own)) return false;
    const others = [...this.#others.values()];
    return others.some(isWhole) || others.filter(hasPicture).length >= MOST_FIELDS;
  }

  /** The samples in them, at least one. */
  samples(): SampleFiles<T>[] {
    const own = this.#own;
    const others = [...this.#others];
    const whole = others.filter(([, files]) => isWhole(files));
    const apart = ([name, files]: readonly [string, Map<string, T>]) => ({ name, files });
    if (hasPicture(own)) {
      const files = new Map([...this.#fieldsFor("", own), ...own]);
      return [{ name: this.key, files }, ...whole.map(apart)];
    }
    const pictured = others.filter(([, files]) => hasPicture(files));
    const hasCaptions = [...this.#stems.values()].some((files) => captionsAmong(files).length > 0);
    if (whole.length > 0 || (pictured.length > 1 && !hasCaptions)) {
      return [...this.#stems].map(apart);
    }
    const [first] = pictured;
    if (first !== undefined && pictured.length === 1) {
      const [stem, files] = first;
      const fields = this.#fieldsFor(this.#field(stem), files);
      if (fields.size > 0) return [{ name: this.key, files: new Map([...fields, ...files]) }];
      if (!hasCaptions) return [{ name: stem, files }];
    }
    const all = this.#all();
    if (pictured.length === 0) return [{ name: this.key, files: all }];
    const names = [...all.keys()].map((field) => `.${field}`).join(", ");
    const problem =
      `several dots in the names: ${names}; leave one dot, as in NAME.jpg and NAME.txt, so that it shows ` +
      "what belongs together";
    return [{ name: this.key, files: all, problem }];
  }

  get #own(): Map<string, T> {
    return this.#stems.get(this.key) ?? new Map();
  }

  get #others(): Map<string, Map<string, T>> {
    return new Map([...this.#stems].filter(([stem]) => stem !== this.key));
  }

  /** What stands between the key and the extension; "" for nothing. */
  #field(stem: string): string {
    return stem.slice(this.key.length + 1);
  }

  /** All files by what follows the key. */
  #all(): Map<string, T> {
    return new Map(
      [...this.#stems].flatMap(([stem, files]) =>
        [...files].map(([extension, file]) => {
          const field = this.#field(stem);
          return [field === "" ? extension : `${field}.${extension}`, file] as const;
        }),
      ),
    );
  }

  /**
   * The files of captions in other fields, for a picture that has none in its own: those that are the only ones of
   * their extension. Fields are named by words; names that differ in their numbers are of different samples.
   */
  #fieldsFor(field: string, files: ReadonlyMap<string, T>): Map<string, T> {
    if (captionsAmong(files).length > 0) return new Map();
    const fields = [...this.#stems].filter(
      ([stem, other]) =>
        !isWhole(other) && numbersOf(this.#field(stem)) === numbersOf(field) && other !== files,
    );
    return new Map(
      CAPTION_EXTENSIONS.flatMap((extension) => {
        const found = fields.filter(([, other]) => other.has(extension));
        return found.length === 1 ? [[extension, found[0]![1].get(extension)!] as const] : [];
      }),
    );
  }
}

function numbersOf(field: string): string {
  return field.replace(/\D+/g, " ").trim();
}

function hasPicture(files: ReadonlyMap<string, unknown>): boolean {
  return PICTURE_EXTENSIONS.some((extension) => files.has(extension));
}

function captionsAmong(files: ReadonlyMap<string, unknown>): string[] {
  return CAPTION_EXTENSIONS.filter((extension) => files.has(extension));
}

/** Whether there are a picture and a file for its captions. */
function isWhole(files: ReadonlyMap<string, unknown>): boolean {
  return hasPicture(files) && captionsAmong(files).length > 0;
}
