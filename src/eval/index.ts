/** Evaluation of trained models. @module */
export { type EvaluateOptions, type Evaluation, evaluate } from "./evaluate.js";
export { formatRetrieval, type Yardstick } from "./format.js";
export {
  type Recall,
  type Retrieval,
  type RetrievalInput,
  type RetrievalResult,
  retrieval,
} from "./recall.js";
