/**
 * Counter-based random numbers: a stream is a pure function of its key, so a step of training can be
 * replayed, resumed or split over ranks without carrying generator state around.
 *
 * The generator is Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011).
 */

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;

/** One Threefry-2x32 block: 64 bits of counter under 64 bits of key. Exported for its test vectors. */
export function threefry2x32(
  key: readonly [number, number],
  counter: readonly [number, number],
): [number, number] {
  const schedule = [key[0], key[1], key[0] ^ key[1] ^ 0x1bd11bda];
  let a = (counter[0] + schedule[0]!) | 0;
  let b = (counter[1] + schedule[1]!) | 0;
  for (let round = 0; round < 20; round++) {
    const bits = ROTATIONS[round % 8]!;
    a = (a + b) | 0;
    b = ((b << bits) | (b >>> (32 - bits))) ^ a;
    if (round % 4 === 3) {
      const block = (round + 1) / 4;
      a = (a + schedule[block % 3]!) | 0;
      b = (b + schedule[(block + 1) % 3]! + block) | 0;
    }
  }
  return [a >>> 0, b >>> 0];
}

/** 64 bits of a string: two FNV-1a hashes with different offsets. */
function hash(text: string): [number, number] {
  let a = 0x811c9dc5;
  let b = 0x050c5d1f;
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x01000193) ^ (a >>> 15);
  }
  return [a, b];
}

/** A stream of random numbers; see {@link random}. */
export class Random {
  readonly #key: [number, number];
  #counter = 0;
  #spare: number | undefined;

  constructor(...key: readonly (string | number)[]) {
    this.#key = hash(key.join("\u0000"));
  }

  /** The next 32 bits, as an unsigned integer. */
  uint32(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    const low = this.#counter >>> 0;
    const high = Math.floor(this.#counter / 2 ** 32);
    this.#counter++;
    const [first, second] = threefry2x32(this.#key, [low, high]);
    this.#spare = second;
    return first;
  }

  /** Uniform in [0, 1), with 32 random bits. */
  uniform(): number {
    return this.uint32() / 2 ** 32;
  }

  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.uniform();
  }

  /** A whole number in [0, bound). */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** The numbers 0 to count - 1 in random order (Fisher-Yates). */
  permutation(count: number): Int32Array {
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swapped = order[i]!;
      order[i] = order[j]!;
      order[j] = swapped;
    }
    return order;
  }
}

/**
 * The stream named by `key`, for example `random(seed, "patchDropout", step, rank)`. Equal keys give
 * equal streams, on every machine.
 */
export function random(...key: readonly (string | number)[]): Random {
  return new Random(...key);
}
