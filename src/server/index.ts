export type {
  ApiError,
  ApiInfo,
  ApiMatch,
  ApiMetrics,
  ApiSearch,
  ApiTraining,
  MetricsRow,
} from "./api.js";
export { type AppOptions, createApp } from "./app.js";
export { type RunningServer, type ServeOptions, serve } from "./serve.js";
export { Training, type TrainingCommand, type TrainingJob } from "./training.js";
