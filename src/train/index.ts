/**
 * Training, from captioned pictures to a model's folder.
 *
 * @module
 */
export { AdamW, type AdamWOptions } from "./adamw.js";
export { type Metrics, readMetrics } from "./metrics.js";
export { type TrainingOptions, trainingOptionsSchema } from "./options.js";
export { type NewRun, runFiles } from "./run.js";
export { warmupCosine } from "./schedule.js";
export { type Batch, type StepResult, TrainingStep, type TrainingStepOptions } from "./step.js";
export { type StartedRun, type TrainOptions, type TrainResult, train } from "./train.js";
