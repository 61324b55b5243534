import type { ColumnOptions } from "../data/columns.js";
import type { SampleSource, Skipped, StreamSource } from "../data/index.js";
import { counted } from "../util/counted.js";
import { print, skippedLines } from "./print.js";
import { type Collection, collectionOf } from "./run-folder.js";

/**
 * Opens collections of any kind to train on, and tells what is in them and what is left out.
 *
 * @param isNamed whether each is told with its name; default: if there are several
 * @throws ClipsmithError when one cannot be opened
 */
export async function openCollections(
  specs: readonly string[],
  isNamed = specs.length > 1,
  columns: ColumnOptions = {},
): Promise<{ sources: StreamSource[]; found: Collection[]; skipped: Skipped[] }> {
  const { inMemory, openSource } = await import("../data/index.js");
  const sources: StreamSource[] = [];
  const found: Collection[] = [];
  const skipped: Skipped[] = [];
  for (const spec of specs) {
    const source = await openSource(spec, columns);
    const known = inMemory(source);
    const collection = collectionOf(spec, known?.samples, columns);
    print(
      isNamed ? `${source.name}: ${sizeOf(source, collection)}.` : `${sizeOf(source, collection)}.`,
    );
    print(...(source.notes ?? []), ...skippedLines(known?.skipped ?? []));
    skipped.push(...(known?.skipped ?? []));
    sources.push(source);
    found.push(collection);
  }
  return { sources, found, skipped };
}

/**
 * Opens collections of any kind for their pictures, with or without captions, and tells how many there are.
 *
 * @throws ClipsmithError when one cannot be opened
 */
export async function openSources(
  specs: readonly string[],
  columns: ColumnOptions = {},
): Promise<SampleSource[]> {
  const { inMemory, openSource } = await import("../data/index.js");
  const sources: SampleSource[] = [];
  for (const spec of specs) {
    const source = await openSource(spec, { captions: "optional", ...columns });
    const { pictures } = collectionOf(spec, inMemory(source)?.samples);
    print(`${source.name}: ${sizeOf(source, pictures === undefined ? {} : { pictures })}.`);
    print(...(source.notes ?? []));
    sources.push(source);
  }
  return sources;
}

function sizeOf(source: SampleSource, { pictures, captions }: Partial<Collection>): string {
  if (pictures === undefined) return counted(source.shards.length, "shard");
  return captions === undefined
    ? counted(pictures, "picture")
    : `${counted(pictures, "picture")} with ${counted(captions, "caption")}`;
}

/** What has changed since a run began; undefined for nothing that is known. */
export function changeOf(before: Collection, now: Collection): string | undefined {
  const { pictures, captions } = before;
  if (pictures === undefined || captions === undefined || now.pictures === undefined)
    return undefined;
  if (pictures === now.pictures && captions === now.captions) return undefined;
  return (
    `The collection has changed: the run began with ${counted(pictures, "picture")} and ` +
    `${counted(captions, "caption")}.`
  );
}
