import { random } from "../util/random.js";

/** Which of a batch's texts and pictures are one and the same, told by numbers: equal ones are the same. */
export interface Identities {
  /** [B]: the pictures. */
  readonly pictures: Float64Array;
  /** [B] for each view of the texts: the captions taken. */
  readonly captions: readonly Float64Array[];
  /** All captions that each sample has, sample after sample ... */
  readonly known: Float64Array;
  /** ... and [B]: how many those are. */
  readonly knownCounts: Int32Array;
}

/** A number that stands for a caption: two captions have the same by a chance of 1 in 2^53. */
export function captionNumber(caption: string): number {
  const stream = random("caption", caption);
  return stream.uint32() * 2 ** 21 + (stream.uint32() >>> 11);
}

/** Identities of samples, of their captions taken for each view, and of their pictures' fingerprints. */
export function identitiesOf(
  samples: readonly { readonly captions: readonly string[] }[],
  views: readonly (readonly string[])[],
  pictures: Float64Array,
): Identities {
  return {
    pictures,
    captions: views.map((captions) => Float64Array.from(captions, captionNumber)),
    known: Float64Array.from(samples.flatMap(({ captions }) => captions).map(captionNumber)),
    knownCounts: Int32Array.from(samples, ({ captions }) => captions.length),
  };
}

/**
 * The pairs of different samples that nevertheless belong together: a view's caption is also one of the
 * other picture's, or the pictures are equal. They are no negatives.
 *
 * @returns text and image of each pair, one after the other, in ascending order.
 */
export function excludedPairs(identities: Identities): Int32Array {
  const { pictures, captions, known, knownCounts } = identities;
  const withPicture = new Map<number, number[]>();
  const withCaption = new Map<number, number[]>();
  const enter = (index: Map<number, number[]>, key: number, place: number) => {
    const places = index.get(key);
    if (places) places.push(place);
    else index.set(key, [place]);
  };
  let start = 0;
  for (const [image, picture] of pictures.entries()) {
    enter(withPicture, picture, image);
    const end = start + (knownCounts[image] ?? 0);
    for (; start < end; start++) enter(withCaption, known[start]!, image);
  }
  const pairs: number[] = [];
  for (const [text, picture] of pictures.entries()) {
    const images = new Set(withPicture.get(picture));
    for (const view of captions) {
      for (const image of withCaption.get(view[text]!) ?? []) images.add(image);
    }
    images.delete(text);
    for (const image of [...images].toSorted((a, b) => a - b)) pairs.push(text, image);
  }
  return Int32Array.from(pairs);
}

/** Whether all pairs of different samples belong together, see {@link excludedPairs}: no negative is left. */
export function comparesNothing({ pictures, captions, known, knownCounts }: Identities): boolean {
  if (pictures.every((picture) => picture === pictures[0])) return true;
  let start = 0;
  const knownOf = Array.from(knownCounts, (count) => {
    start += count;
    return known.subarray(start - count, start);
  });
  return pictures.every((picture, text) =>
    pictures.every(
      (other, image) =>
        other === picture || captions.some((view) => knownOf[image]!.includes(view[text]!)),
    ),
  );
}

/** [B, B] (text, image): 1 at each of the pairs that {@link excludedPairs} gave. */
export function pairMask(pairs: Int32Array, batch: number): Uint8Array {
  const mask = new Uint8Array(batch * batch);
  for (let i = 0; i < pairs.length; i += 2) mask[pairs[i]! * batch + pairs[i + 1]!] = 1;
  return mask;
}
