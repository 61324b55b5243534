// ONNX Runtime for Linux keeps a device id and a database of events under the user's home, and sends them, unless
// the environment says no before its library is loaded. Whoever wants that sets the variable to 0.
process.env.ORT_DISABLE_TELEMETRY ||= "1";
