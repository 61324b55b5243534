/**
 * Processes that work on one run together.
 *
 * @module
 */
export { type Launcher, type Place, place } from "./place.js";
