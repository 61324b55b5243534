/** What the server answers, as the page reads it. Types only: the page imports this file too. */

export interface ApiError {
  readonly error: string;
}

export interface ApiInfo {
  readonly title: string;
  /** Number of pictures that can be searched. */
  readonly count: number;
  /** Width of an embedding. */
  readonly width: number;
  /** Captions of some pictures, to try as queries. */
  readonly examples: readonly string[];
  /** Whether the model's training run is at hand, so that `/api/metrics` has something to show. */
  readonly hasRun: boolean;
  /** Whether a training may be started through `/api/train`. */
  readonly canTrain: boolean;
}

export interface ApiMatch {
  readonly id: number;
  /** Name of the picture's file, without its folder. */
  readonly name: string;
  readonly captions: readonly string[];
  /** Cosine similarity with the query, -1 to 1. */
  readonly score: number;
}

export interface ApiSearch {
  readonly matches: readonly ApiMatch[];
}

/** One line of a run's metrics.jsonl. */
export type MetricsRow = Readonly<Record<string, unknown>>;

export interface ApiMetrics {
  /** In the order they were written, at most 1000. */
  readonly history: readonly MetricsRow[];
  /** The run's metrics.json: figures of the finished model, such as recall. */
  readonly final?: Readonly<Record<string, unknown>>;
}

export interface ApiTraining {
  readonly state: "idle" | "running" | "done" | "failed" | "stopped";
  /** The job's folder of pictures, and the run folder it writes. Absent while idle. */
  readonly collection?: string;
  readonly run?: string;
  readonly minutes?: number;
  /** Seconds since the job began, up to its end. */
  readonly elapsedSeconds?: number;
  /** The last lines the job printed. */
  readonly output: readonly string[];
  readonly metrics: ApiMetrics;
  /** Commands that make the new model searchable; present when done. */
  readonly next?: readonly string[];
}
