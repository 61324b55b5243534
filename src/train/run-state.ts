import { z } from "zod";
import { readersPositionSchema, streamPositionSchema } from "../data/index.js";
import { configurationSchema } from "./configuration.js";
import { bestSchema } from "./early-stop.js";

/** The mean loss is a running one over about this many steps. */
const LOSS_STEPS = 50;

/** What a checkpoint's `state.json` says beside the step. */
export const runStateSchema = z.object({
  /** Steps of the whole run: settled, or of a run by minutes as planned, once they can be. */
  totalSteps: z.int().positive().optional(),
  /** Of a run by minutes: the part of the learning rate's decay that is done, before the next step. */
  decayed: z.number().min(0).max(1).optional(),
  /** Seconds spent on the run up to here. */
  seconds: z.number().min(0).default(0),
  /** Pairs in a batch. */
  batchSize: z.int().min(2).optional(),
  /** Batches drawn that count as no step: bad ones, and those before them that a run went back over. */
  passedOver: z.int().min(0).default(0),
  /** Running mean of the losses. */
  meanLoss: z.number().optional(),
  /** Where the stream of samples stands, or those of several readers. */
  position: z.union([streamPositionSchema, readersPositionSchema]).optional(),
  /** The best validation so far, if the run may stop early. */
  best: bestSchema.optional(),
  /** What it was made with. */
  configuration: configurationSchema.optional(),
});

/** How far a run has come: what its next checkpoint says, and follows from the steps taken. */
export interface RunState extends z.output<typeof runStateSchema> {
  /** Steps taken. */
  step: number;
}

/** The mean loss when a step was taken: over all steps at first, over about {@link LOSS_STEPS} later. */
export function meanLossAfter({ step, meanLoss }: RunState, loss: number): number {
  const weight = 1 / Math.min(step, LOSS_STEPS);
  return meanLoss === undefined ? loss : meanLoss + weight * (loss - meanLoss);
}
