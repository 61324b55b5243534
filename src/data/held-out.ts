import { random } from "../util/random.js";
import { shortName } from "./sample.js";
import { isInMemory, type Shard, type SourceSample, type StreamSource } from "./source.js";

/**
 * Whether a sample is held out for validation: a function of its {@link shortName} alone. So it stays on its
 * side when the collection grows or moves.
 *
 * @param part of the samples that is held out, 0 to 1
 */
export function isHeldOut(name: string, part: number): boolean {
  return random("held out", shortName(name)).uniform() < part;
}

/** The samples of a source that are held out, or those that are not; shards are filtered as they are read. */
export function takePart<S extends StreamSource>(source: S, part: number, heldOut: boolean): S;
export function takePart(source: StreamSource, part: number, heldOut: boolean): StreamSource {
  if (isInMemory(source)) {
    return source.filter(({ picture }) => isHeldOut(picture, part) === heldOut);
  }
  const belongs = (entry: object): boolean =>
    "name" in entry && isHeldOut((entry as SourceSample).name, part) === heldOut;
  const shards = source.shards.map(
    (shard): Shard => ({
      name: shard.name,
      async *read(start = 0) {
        let passed = 0;
        for await (const entry of shard.read()) {
          // What cannot be read has no name to go by; it is told once, with the samples trained on.
          if ("reason" in entry ? heldOut : !belongs(entry)) continue;
          if (passed++ >= start) yield entry;
        }
      },
    }),
  );
  const { name, opened } = source;
  // Another thread has to leave out the same.
  return { name, shards, ...(opened && !heldOut && { opened: { ...opened, heldOut: part } }) };
}
