import { ClipsmithError } from "../util/errors.js";
import type { ResolvedClipOptions } from "./options.js";
import type { ClipParts } from "./parts.js";
import { shuffledRows } from "./projection.js";
import { rotatedWidth } from "./text-transformer.js";
import { keptPatches, patchCount } from "./vision-transformer.js";

/** Refuses options that are at odds with one another, naming both. */
export function checkOptions(
  o: ResolvedClipOptions,
  { textEncoder, imageEncoder, visualSsl }: ClipParts,
): void {
  const refuse = (problem: string): never => {
    throw new ClipsmithError(`CLIP: ${problem}`);
  };
  const { visualImageSize, visualPatchSize, textDimHead } = o;
  if ((!imageEncoder || o.downsampleImageEmbeds) && visualImageSize % visualPatchSize !== 0) {
    refuse(
      `visualImageSize (${visualImageSize}) must be a multiple of visualPatchSize (${visualPatchSize})`,
    );
  }
  if (!textEncoder && o.textRotaryPosEmb && rotatedWidth(textDimHead) % 2 !== 0) {
    refuse(
      `textDimHead (${textDimHead}) must be even for textRotaryPosEmb, which turns features in pairs`,
    );
  }
  if (o.textCausalMask && o.textEosId === undefined) {
    refuse("textCausalMask needs textEosId: a causal text is seen whole only from its end token");
  }
  if (o.textEosId !== undefined && o.textEosId >= o.numTextTokens) {
    refuse(
      `textEosId (${o.textEosId}) must be one of the numTextTokens (${o.numTextTokens}) tokens, below ` +
        "their number",
    );
  }
  if (o.textEosId !== undefined && o.textEosId === o.textPadId) {
    refuse(`textEosId and textPadId are both ${o.textPadId}, but padding is not seen`);
  }
  if (!o.useAllTokenEmbeds && !o.textHasClsToken && !o.visualHasClsToken) {
    refuse(
      "textHasClsToken and visualHasClsToken are both false, but without useAllTokenEmbeds only the " +
        "first token of each is compared",
    );
  }
  if (o.downsampleImageEmbeds) {
    if (!o.useAllTokenEmbeds) {
      refuse("downsampleImageEmbeds needs useAllTokenEmbeds: there is no grid of one token");
    }
    if (!o.visualHasClsToken) {
      refuse(
        "downsampleImageEmbeds needs visualHasClsToken: the pooled token has no place in the grid",
      );
    }
    const patches = patchCount({ imageSize: visualImageSize, patchSize: visualPatchSize });
    if (patches < 4)
      refuse(`downsampleImageEmbeds halves a grid, but there are ${patches} patches`);
    const kept = imageEncoder ? patches : keptPatches(patches, o.visualPatchDropout);
    if (o.compat && (kept < 4 || kept % shuffledRows(kept) !== 0)) {
      refuse(
        `visualPatchDropout (${o.visualPatchDropout}) keeps ${kept} patches, of which compat "x-clip" can ` +
          "make no grid for downsampleImageEmbeds: keep more or fewer, or leave compat out",
      );
    }
  }
  if (o.useAllTokenEmbeds && o.textCausalMask && o.textHasClsToken && o.textSeqLen < 2) {
    refuse(
      `textSeqLen (${o.textSeqLen}) has room for the end token alone, and useAllTokenEmbeds compares the ` +
        "others",
    );
  }
  if (o.hopfieldRetrieval && o.useAllTokenEmbeds) {
    refuse("hopfieldRetrieval compares whole texts and pictures, useAllTokenEmbeds their tokens");
  }
  if (o.sigmoidLoss) {
    if (o.decoupledContrastiveLearning) {
      refuse("sigmoidLoss has no denominators that decoupledContrastiveLearning could change");
    }
    if (o.hopfieldRetrieval) {
      refuse("sigmoidLoss and hopfieldRetrieval are two objectives: choose one");
    }
  }
  const weights = Object.entries({
    ...(o.useMlm && { textSslLossWeight: o.textSslLossWeight }),
    ...((o.useVisualSsl || visualSsl) && { imageSslLossWeight: imageSslWeight(o) }),
    multiviewLossWeight: o.multiviewLossWeight,
  });
  // Decimal fractions that add up to 1 may be a little more in binary.
  if (weights.reduce((sum, [, weight]) => sum + weight, 0) > 1 + 1e-9) {
    const names = andOf(weights.map(([name, weight]) => `${name} (${weight})`));
    refuse(
      `${names} must not exceed 1${weights.length > 1 ? " together" : ""}: what is given to them is taken from the contrastive ` +
        "loss",
    );
  }
}

/** What visual self-supervision weighs. x-clip weighs a part of the user's by 0 without `useVisualSsl`. */
export function imageSslWeight(o: ResolvedClipOptions): number {
  return o.useVisualSsl || o.compat !== "x-clip" ? o.imageSslLossWeight : 0;
}

/** "a, b and c". */
function andOf(names: readonly string[]): string {
  return [names.slice(0, -1).join(", "), names.at(-1)].filter((part) => part !== "").join(" and ");
}
