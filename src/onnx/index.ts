/**
 * Writes graphs as ONNX models.
 *
 * @module
 */
export { type EmitOptions, emit, OPSET } from "./emit.js";
export { decodeModel, encodeModel, type ModelProto } from "./schema.js";
