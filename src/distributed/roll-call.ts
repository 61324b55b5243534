import type { Mpi, Request } from "./mpi.js";
import { nameOf, type Peers } from "./peers.js";

const TAG = 1;
const [QUESTION, ANSWER] = [0, 1];

/**
 * Finds out which ranks the others wait for. Costs nothing until a rank has waited too long: then it asks all
 * others how far they are. Their threads answer even if their programs are busy; those of stopped processes
 * don't.
 */
export class RollCall {
  readonly #mpi: Mpi;
  readonly #rank: number;
  readonly #peers: Peers;
  /** Operations begun, by rank that answered. */
  readonly #answers = new Map<number, number>();
  /** Sent, but perhaps not yet gone. */
  readonly #sent: Request[] = [];
  readonly #message = new Int32Array(3);

  constructor(mpi: Mpi, rank: number, peers: Peers) {
    this.#mpi = mpi;
    this.#rank = rank;
    this.#peers = peers;
  }

  /** Asks all other ranks. */
  ask(begun: number): void {
    this.#answers.clear();
    this.#answers.set(this.#rank, begun);
    for (const rank of this.#peers.keys()) {
      if (rank !== this.#rank) this.#send(QUESTION, begun, rank);
    }
  }

  /**
   * Answers questions and takes answers.
   *
   * @param begun operations that this rank has begun
   * @returns the lowest rank that asked; Infinity if none did
   */
  attend(begun: number): number {
    let asker = Number.POSITIVE_INFINITY;
    while (this.#mpi.receive(this.#message, TAG)) {
      const [what, rank, theirs] = this.#message as unknown as [number, number, number];
      if (what === ANSWER) {
        this.#answers.set(rank, theirs);
        continue;
      }
      this.#send(ANSWER, begun, rank);
      asker = Math.min(asker, rank);
    }
    return asker;
  }

  get isComplete(): boolean {
    return this.#answers.size === this.#peers.length;
  }

  /** A line for each rank that is not in the operation that this one has begun last. */
  missing(operation: string, begun: number, seconds: number): string[] {
    const what = `has not reached operation ${begun} (${operation}) for ${Math.round(seconds)} s`;
    return [...this.#peers.keys()].flatMap((rank) => {
      const theirs = this.#answers.get(rank);
      const name = nameOf(rank, this.#peers);
      if (theirs === undefined)
        return `${name} ${what} and does not answer: it is stopped, or cannot be reached`;
      return theirs < begun ? `${name} ${what}: its program is at work, or stuck` : [];
    });
  }

  #send(what: number, begun: number, to: number): void {
    this.#sent.push(this.#mpi.send(Int32Array.of(what, this.#rank, begun), to, TAG));
  }
}
