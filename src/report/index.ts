/**
 * What there is to see of a run: its curves, figures and findings, as one file of HTML.
 *
 * @module
 */
export type { MetricsRow, ReportData, ReportSkipped, Retrievals } from "./data.js";
export { reportPage } from "./page.js";
export { findRetrievals, type RetrievalOptions } from "./retrievals.js";
export { FollowedRun } from "./run-report.js";
