/**
 * Training, from captioned pictures to a model's folder.
 *
 * @module
 */
export { type Metrics, readMetrics } from "./metrics.js";
export { Optimizer, type OptimizerKind, type OptimizerOptions } from "./optimizer.js";
export { changeableOptions, type TrainingOptions, trainingOptionsSchema } from "./options.js";
export { DEFAULT_PRESET, type Preset, type PresetName, presets } from "./presets.js";
export { type NewRun, runFiles } from "./run.js";
export { defineConfig, type RunConfig, runConfigSchema } from "./run-config.js";
export { learningRateAt, type ScheduleOptions } from "./schedule.js";
export type { SkippedSummary } from "./skip-log.js";
export { type Batch, type StepResult, TrainingStep, type TrainingStepOptions } from "./step.js";
export {
  type StartedRun,
  StoppedRunError,
  type TrainOptions,
  type TrainResult,
  train,
} from "./train.js";
