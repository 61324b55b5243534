/**
 * Training, from captioned pictures to a model's folder.
 *
 * @module
 */
export type { Batch } from "./batch.js";
export type { Identities } from "./identities.js";
export { type Metrics, readMetrics } from "./metrics.js";
export { type NewestModel, newestModel } from "./newest-model.js";
export { Optimizer, type OptimizerKind, type OptimizerOptions } from "./optimizer.js";
export { changeableOptions, type TrainingOptions, trainingOptionsSchema } from "./options.js";
export { DEFAULT_PRESET, type Preset, type PresetName, presets } from "./presets.js";
export { StoppedRunError, type TrainResult } from "./run.js";
export { defineConfig, type RunConfig, runConfigSchema } from "./run-config.js";
export { runFiles } from "./run-folder.js";
export { learningRateAt, type ScheduleOptions } from "./schedule.js";
export type { NewRun } from "./start-run.js";
export { type StepResult, TrainingStep, type TrainingStepOptions } from "./step.js";
export type { Band } from "./tile-pass.js";
export {
  type BatchLatents,
  type ImageLatents,
  type ObjectiveParts,
  type ScalarValues,
  type TextLatents,
  TiledObjective,
  type TiledObjectiveOptions,
  type TiledResult,
} from "./tiled-objective.js";
export { type StartedRun, type TrainOptions, train } from "./train.js";
