import { type Communicator, sameOnAllRanks } from "../distributed/index.js";

/** Steps after which the ranks' weights are compared. */
const CHECK_STEPS = 100;

/** What a rank knows of its run before a step. */
export interface RunView {
  /** Whether it was told to stop. */
  readonly isStopped: boolean;
  /** Whether no step is left to take. */
  readonly isLast: boolean;
  readonly totalSteps: number | undefined;
  /** Of a run by minutes, how far its decay is. */
  readonly decayed: number | undefined;
}

/**
 * Keeps ranks at the same step of the same run. Rank 0 leads: clocks and validation are its own, so it says
 * when the run is at its end; any rank may be told to stop.
 */
export class Agreement {
  readonly #communicator: Communicator;

  constructor(communicator: Communicator) {
    this.#communicator = communicator;
  }

  /** Whether this is the rank that writes, and tells of the run. */
  get leads(): boolean {
    return this.#communicator.rank === 0;
  }

  /** What all ranks then know: whether one was told to stop, and the rest as rank 0 sees it. */
  async view(own: RunView): Promise<RunView> {
    if (this.#communicator.size === 1) return own;
    const votes = Float64Array.of(Number(own.isStopped), 0, 0, 0);
    if (this.leads) votes.set([Number(own.isLast), own.totalSteps ?? 0, own.decayed ?? 0], 1);
    await this.#communicator.allReduce(votes);
    const [stops, isLast, totalSteps, decayed] = votes as unknown as [
      number,
      number,
      number,
      number,
    ];
    return {
      isStopped: stops > 0,
      isLast: isLast > 0,
      totalSteps: totalSteps || undefined,
      decayed: own.decayed === undefined ? undefined : decayed,
    };
  }

  /**
   * Compares the weights after some of the steps.
   *
   * @throws ClipsmithError that names a tensor that is not the same on all ranks
   */
  async check(step: number, weights: ReadonlyMap<string, Float32Array>): Promise<void> {
    if (step % CHECK_STEPS === 0) await sameOnAllRanks(this.#communicator, weights);
  }

  /** Waits for all ranks. */
  async meet(): Promise<void> {
    await this.#communicator.barrier();
  }
}
