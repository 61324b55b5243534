import type { StreamSource } from "../data/index.js";
import { counted, print, skippedLines } from "./print.js";
import { type Collection, collectionOf } from "./run-folder.js";

/**
 * Opens collections of any kind to train on, and tells what is in them.
 *
 * @param isNamed whether each is told with its name; default: if there are several
 * @throws ClipsmithError when one cannot be opened
 */
export async function openCollections(
  specs: readonly string[],
  isNamed = specs.length > 1,
): Promise<{ sources: StreamSource[]; found: Collection[] }> {
  const { inMemory, openSource } = await import("../data/index.js");
  const sources: StreamSource[] = [];
  const found: Collection[] = [];
  for (const spec of specs) {
    const source = await openSource(spec);
    const known = inMemory(source);
    const collection = collectionOf(spec, known?.samples);
    const { pictures, captions } = collection;
    const size =
      pictures !== undefined && captions !== undefined
        ? `${counted(pictures, "picture")} with ${counted(captions, "caption")}`
        : counted(source.shards.length, "shard");
    print(isNamed ? `${source.name}: ${size}.` : `${size}.`);
    print(...skippedLines(known?.skipped ?? []));
    sources.push(known?.samples ?? source);
    found.push(collection);
  }
  return { sources, found };
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
