/** ONNX Runtime. All that use it import it from here: the order of these two lines keeps it quiet. */
import "./no-telemetry.js";

export * from "onnxruntime-node";
