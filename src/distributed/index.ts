/**
 * Processes that work on one run together.
 *
 * @module
 */
export type { Communicator, CommunicatorOptions, Gathered } from "./communicator.js";
export { sameOnAllRanks } from "./digest.js";
export { openCommunicator } from "./open-communicator.js";
export type { Values } from "./operations.js";
export { type Launcher, type Place, place } from "./place.js";
export { solo } from "./solo.js";
