import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));

test("ONNX Runtime is imported in one place, after its telemetry is off", () => {
  const importers = ["src", "quickstart", "bench", "parity"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => /\.[cm]?[jt]s$/.test(file))
      .map((file) => join(folder, file))
      .filter((file) =>
        /(from|import|require)\s*\(?\s*["']onnxruntime-/.test(
          readFileSync(join(root, file), "utf8"),
        ),
      )
      .map((file) => file.split(sep).join("/")),
  );
  assert.deepEqual(importers, ["src/runtime/ort.ts"]);
});

/** What a process that imports the runtime has in its environment when ONNX Runtime is loaded. */
function settingAtLoad(given: string | undefined): string {
  const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env;
  const program = `
    const { Module } = await import("node:module");
    const load = Module._load;
    Module._load = function (name, ...rest) {
      if (/onnxruntime_binding/.test(name)) console.log(process.env.ORT_DISABLE_TELEMETRY);
      return load.call(this, name, ...rest);
    };
    await import(${JSON.stringify(new URL("./index.js", import.meta.url))});`;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ["--input-type=module", "--eval", program],
    {
      env: { ...env, ...(given !== undefined && { ORT_DISABLE_TELEMETRY: given }) },
      encoding: "utf8",
    },
  );
  assert.equal(stderr, "");
  return stdout.trim();
}

for (const { given, loaded } of [
  { given: undefined, loaded: "1" },
  { given: "", loaded: "1" },
  { given: "true", loaded: "true" },
  { given: "0", loaded: "0" },
]) {
  test(`a setting of ${JSON.stringify(given)} is ${loaded} when the library is loaded`, () => {
    assert.equal(settingAtLoad(given), loaded);
  });
}
