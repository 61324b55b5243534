import { readFile } from "node:fs/promises";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { isObject } from "../util/is-object.js";
import { fieldsOf } from "./captions.js";
import { decodeText, NOT_UTF8 } from "./decode-text.js";
import { parseJson } from "./json.js";
import { linesOf } from "./lines.js";
import type { Fields } from "./table.js";

/** The rows of a file of JSON Lines: an object each. */
export async function* jsonLinesRows(path: string): AsyncGenerator<Fields> {
  for await (const { line, bytes } of linesOf(path)) {
    const text = decodeText(bytes);
    if (text === undefined) {
      yield { line, problem: NOT_UTF8 };
      continue;
    }
    let value: unknown;
    try {
      value = parseJson(text);
    } catch (error) {
      yield { line, problem: `malformed row: not JSON (${messageOf(error).slice(0, 120)})` };
      continue;
    }
    yield isObject(value)
      ? { line, fields: fieldsOf(value) }
      : { line, problem: "malformed row: not a JSON object" };
  }
}

/**
 * The rows of a JSON document, numbered from 1:
 * - an array of objects, or an object with one, such as `{"data": [...]}`;
 * - COCO's captions: `images` with ids and file names, `annotations` with the captions of ids;
 * - Karpathy's splits: `images` with `filepath`, `filename` and `sentences`;
 * - an object of captions by the names of their pictures.
 *
 * @throws ClipsmithError if the file is no JSON, or none of these
 */
export async function* jsonRows(path: string): AsyncGenerator<Fields> {
  const text = decodeText(await readFile(path));
  if (text === undefined) throw new ClipsmithError(`Cannot read ${path}: it is not UTF-8.`);
  let value: unknown;
  try {
    value = parseJson(text.replace(/^\ufeff/, ""));
  } catch (error) {
    throw new ClipsmithError(`${path} is not JSON: ${messageOf(error).slice(0, 200)}.`, {
      cause: error,
    });
  }
  const records = recordsOf(value);
  if (records === undefined) {
    throw new ClipsmithError(
      `${path} is no list of pictures: it needs an array of objects, COCO's images and annotations, or ` +
        "captions by the names of their pictures.",
    );
  }
  let line = 0;
  for (const record of records) {
    line++;
    yield isObject(record)
      ? { line, fields: fieldsOf(record) }
      : { line, problem: "malformed row: not a JSON object" };
  }
}

/** What stands for rows in a document. */
function recordsOf(value: unknown): Iterable<unknown> | undefined {
  if (Array.isArray(value)) return value;
  if (!isObject(value)) return undefined;
  const { images, annotations } = value;
  if (Array.isArray(images) && Array.isArray(annotations)) return cocoRecords(images, annotations);
  if (Array.isArray(images)) return images.map(withFolder);
  const arrays = Object.values(value).filter(
    (one): one is unknown[] => Array.isArray(one) && isObject(one[0]),
  );
  if (arrays.length === 1) return arrays[0];
  const entries = Object.entries(value);
  const isNamed = entries.length > 0 && entries.every(([, one]) => isCaptions(one));
  return isNamed
    ? entries.map(([image, caption]) => ({ image, ...captioned(caption) }))
    : undefined;
}

function cocoRecords(
  images: readonly unknown[],
  annotations: readonly unknown[],
): Record<string, unknown>[] {
  const names = new Map<unknown, unknown>();
  for (const image of images) {
    if (isObject(image)) names.set(image.id, image.file_name ?? image.filename);
  }
  return annotations.filter(isObject).map(({ image_id, caption, ...others }) => ({
    file_name: names.get(image_id),
    caption,
    ...(caption === undefined && others),
  }));
}

/** Karpathy's splits say a picture's folder apart from its name. */
function withFolder(image: unknown): unknown {
  if (!isObject(image)) return image;
  const { filepath, filename, ...others } = image;
  if (typeof filename !== "string") return image;
  return {
    ...others,
    file_name: typeof filepath === "string" ? `${filepath}/${filename}` : filename,
  };
}

function isCaptions(value: unknown): boolean {
  return (
    typeof value === "string" ||
    (Array.isArray(value) && value.every((one) => typeof one === "string" || isObject(one))) ||
    (isObject(value) && typeof (value.caption ?? value.text) === "string")
  );
}

function captioned(value: unknown): Record<string, unknown> {
  return isObject(value) ? value : { caption: value };
}
