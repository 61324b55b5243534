import type { Mpi, Request } from "./mpi.js";
import { nameOf, type Peers } from "./peers.js";

const TAG = 1;
const [QUESTION, ANSWER] = [0, 1];
/** A day, which is enough to be silent. */
const MOST_MS = 86_400_000;

/** What a rank says of itself. */
interface Answer {
  /** Operations begun. */
  readonly begun: number;
  /** Seconds since its last sign of life. */
  readonly silence: number;
}

/**
 * Finds out which ranks the others wait for. Costs nothing until a rank has waited too long: then it asks all
 * others how far they are. Their threads answer even if their programs are busy; those of stopped processes
 * don't.
 */
export class RollCall {
  readonly #mpi: Mpi;
  readonly #rank: number;
  readonly #peers: Peers;
  readonly #limit: number;
  readonly #answers = new Map<number, Answer>();
  /** Sent, but perhaps not yet gone. */
  readonly #sent: Request[] = [];
  readonly #message = new Int32Array(4);

  /** @param limit seconds of silence after which a program is taken to be stuck */
  constructor(mpi: Mpi, rank: number, peers: Peers, limit: number) {
    this.#mpi = mpi;
    this.#rank = rank;
    this.#peers = peers;
    this.#limit = limit;
  }

  /** Asks all other ranks; of this one it is told the same as in {@link attend}. */
  ask(begun: number, silence: number): void {
    this.#answers.clear();
    this.#answers.set(this.#rank, { begun, silence });
    for (const rank of this.#peers.keys()) {
      if (rank !== this.#rank) this.#send(QUESTION, rank, begun);
    }
  }

  /**
   * Answers questions and takes answers.
   *
   * @param begun operations that this rank has begun
   * @param silence seconds since its last sign of life
   * @returns the lowest rank that asked; Infinity if none did
   */
  attend(begun: number, silence: number): number {
    let asker = Number.POSITIVE_INFINITY;
    while (this.#mpi.receive(this.#message, TAG)) {
      const [what, rank, theirs, ms] = this.#message as unknown as [number, number, number, number];
      if (what === ANSWER) {
        this.#answers.set(rank, { begun: theirs, silence: ms / 1000 });
        continue;
      }
      this.#send(ANSWER, rank, begun, silence);
      asker = Math.min(asker, rank);
    }
    return asker;
  }

  get isComplete(): boolean {
    return this.#answers.size === this.#peers.length;
  }

  /**
   * Seconds after which to ask again: until the most silent of the missing ranks has been silent for as long as
   * it may; or where none is missing, until all have been in the operation for so long.
   */
  patience(begun: number): number {
    if (!this.isComplete) return 0;
    const answers = [...this.#answers.values()];
    const missing = answers.filter((answer) => answer.begun < begun);
    const silence =
      missing.length > 0
        ? Math.max(...missing.map(({ silence }) => silence))
        : Math.min(...answers.map(({ silence }) => silence));
    return Math.max(this.#limit - silence, 0);
  }

  /** A line for each rank that is not in the operation that this one has begun last, and not at work. */
  missing(operation: string, begun: number, seconds: number): string[] {
    const what = `has not reached operation ${begun} (${operation}) for ${Math.round(seconds)} s`;
    return [...this.#peers.keys()].flatMap((rank) => {
      const answer = this.#answers.get(rank);
      const name = nameOf(rank, this.#peers);
      if (answer === undefined)
        return `${name} ${what} and does not answer: it is stopped, or cannot be reached`;
      const isStuck = answer.begun < begun && answer.silence >= this.#limit;
      return isStuck ? `${name} ${what}: its program is at work, or stuck` : [];
    });
  }

  #send(what: number, to: number, begun: number, silence = 0): void {
    const ms = Math.min(silence * 1000, MOST_MS);
    this.#sent.push(this.#mpi.send(Int32Array.of(what, this.#rank, begun, ms), to, TAG));
  }
}
