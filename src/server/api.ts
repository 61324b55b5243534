/** What the server answers, as the page reads it. Types only: the page imports this file too. */

import type { ReportData } from "../report/data.js";

export interface ApiError {
  readonly error: string;
}

export interface ApiVersion {
  /** Another one as soon as another model or index is searched. */
  readonly version: number;
}

export interface ApiInfo extends ApiVersion {
  readonly title: string;
  /** Number of pictures that can be searched. */
  readonly count: number;
  /** Width of an embedding. */
  readonly width: number;
  /** Rows of some pictures, spread evenly over the index, whose files are there. */
  readonly pictures: readonly number[];
  /** Captions of some pictures, to try as queries. */
  readonly examples: readonly string[];
  /** Whether the model's training run is at hand, so that `/api/metrics` has something to show. */
  readonly hasRun: boolean;
  /** Whether a training may be started through `/api/train`. */
  readonly canTrain: boolean;
  /** A sentence about the model. */
  readonly note?: string;
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
  /** Pictures that would have been among them, but whose files are gone. */
  readonly gone: number;
}

export type ApiMetrics = Pick<ReportData, "history" | "final">;

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
