/** Accepted names of what holds captions, in lower case; where there are several, the first wins. */
export const CAPTION_COLUMNS = [
  "caption",
  "captions",
  "text",
  "title",
  "description",
  "sentence",
  "sentences",
  "raw",
  "comment",
  "caption_text",
  "caption_str",
  "reference_strs",
  "blip_caption",
  "alt_text",
  "alt",
  "txt",
  "prompt",
];

/** Whether a value is text with something to see in it: not only spaces and invisible characters. */
export function isCaption(value: unknown): value is string {
  return typeof value === "string" && /[^\s\p{Z}\p{Cc}\p{Cf}]/u.test(value);
}

/** The captions in a value: a string or an array of strings. What is nothing to see is left out. */
export function captionsOf(value: unknown): string[] {
  return [value]
    .flat()
    .filter(isCaption)
    .map((caption) => caption.trim());
}

/** The captions in a text file: its lines, without a byte order mark. */
export function captionLines(text: string): string[] {
  return captionsOf(text.replace(/^\ufeff/, "").split(/\r?\n/));
}

/** The name under which columns find each other: "File Name" and "file-name" are file_name. */
export function columnName(text: string): string {
  return text
    .replace(/^\ufeff/, "")
    .trim()
    .toLowerCase()
    .replace(/[\s-]+/g, "_");
}

/** What an object of JSON holds, by {@link columnName}. */
export function fieldsOf(value: object): ReadonlyMap<string, unknown> {
  return new Map(Object.entries(value).map(([name, field]) => [columnName(name), field]));
}

/** The value of the first of `names` that `fields` has. */
export function firstOf(fields: ReadonlyMap<string, unknown>, names: readonly string[]): unknown {
  const name = names.find((candidate) => fields.has(candidate));
  return name === undefined ? undefined : fields.get(name);
}

/** Whether a path is an address with a scheme, such as https://. */
export function isAddress(path: string): boolean {
  return /^[a-z][a-z0-9+.-]+:\/\//i.test(path);
}
