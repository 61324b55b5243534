import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIP } from "./clip.js";
import { presets } from "./presets.js";

test("presets have the number of parameters that their descriptions tell", () => {
  for (const [name, { clip, description }] of Object.entries(presets)) {
    const { parameterCount } = new CLIP({ ...clip, numTextTokens: 8192, textSeqLen: 77 });
    const millions = Number((parameterCount / 1e6).toPrecision(2));
    assert.ok(description.startsWith(`${millions} M parameters`), `${name}: ${parameterCount}`);
  }
});

test("presets say the size of their pictures", () => {
  for (const { clip, description } of Object.values(presets)) {
    const { visualImageSize } = new CLIP(clip).options;
    assert.ok(description.includes(`pictures of ${visualImageSize} px`), description);
  }
});
