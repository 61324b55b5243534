/** What a report says, as its page reads it. Types only: the page imports this file too. */

/** One line of a run's metrics.jsonl. */
export type MetricsRow = Readonly<Record<string, unknown>>;

export interface ReportData {
  /** What the run is called: the name of its folder. */
  readonly title: string;
  /** When this was put together, as ISO 8601 writes it. */
  readonly time: string;
  /** Whether the trained model is there. */
  readonly finished: boolean;
  /** Steps of the whole run; absent as long as nobody knows. */
  readonly totalSteps?: number;
  /** In the order they were written, at most 1000. */
  readonly history: readonly MetricsRow[];
  /** The run's metrics.json: figures of the finished model, such as recall. */
  readonly final?: Readonly<Record<string, unknown>>;
  /** The run's own files of options, by what they are about. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly skipped?: ReportSkipped;
  readonly retrievals?: Retrievals;
}

/** What was left out of the training. */
export interface ReportSkipped {
  readonly count: number;
  /** The commonest causes with how often they came up. */
  readonly causes: readonly (readonly [cause: string, count: number])[];
  /** Some of them, each with its reason. */
  readonly examples: readonly { readonly where: string; readonly reason: string }[];
}

/** What the model finds among some pictures and their captions. */
export interface Retrievals {
  /** The collection they are from. */
  readonly from: string;
  /** What training did with them: learnt from them, held them out of what it learnt from, or neither. */
  readonly use: "learnt" | "heldOut" | "none";
  /** How many pictures and captions were searched. */
  readonly pictures: number;
  readonly captions: number;
  /** The pictures shown, as data URLs. */
  readonly thumbnails: readonly string[];
  readonly byText: readonly {
    readonly text: string;
    /** The nearest pictures, by their place in `thumbnails`. */
    readonly matches: readonly { picture: number; score: number; right: boolean }[];
  }[];
  readonly byPicture: readonly {
    /** Place in `thumbnails`. */
    readonly picture: number;
    /** The nearest captions. */
    readonly matches: readonly { text: string; score: number; right: boolean }[];
  }[];
}
