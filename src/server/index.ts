export type {
  ApiError,
  ApiInfo,
  ApiMatch,
  ApiMetrics,
  ApiSearch,
  ApiTraining,
  ApiVersion,
} from "./api.js";
export { type AppOptions, createApp } from "./app.js";
export type { RunningServer } from "./listen.js";
export { type SearchServer, type ServeOptions, serve } from "./serve.js";
export { type Searchable, Served } from "./served.js";
export { Training, type TrainingCommand, type TrainingJob } from "./training.js";
export { createWatchApp, serveReport, type WatchOptions } from "./watch.js";
