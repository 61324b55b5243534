import { ClipsmithError } from "../util/errors.js";
import type { ResolvedClipOptions } from "./options.js";
import type { ClipParts } from "./parts.js";
import { rotatedWidth } from "./text-transformer.js";
import { patchCount } from "./vision-transformer.js";

/** Refuses options that are at odds with one another, naming both. */
export function checkOptions(
  o: ResolvedClipOptions,
  { textEncoder, imageEncoder, visualSsl }: ClipParts,
): void {
  const refuse = (problem: string): never => {
    throw new ClipsmithError(`CLIP: ${problem}`);
  };
  const { visualImageSize, visualPatchSize, textDimHead } = o;
  if (!imageEncoder && visualImageSize % visualPatchSize !== 0) {
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
  const others =
    o.multiviewLossWeight +
    (o.useMlm ? o.textSslLossWeight : 0) +
    (o.useVisualSsl || visualSsl ? o.imageSslLossWeight : 0);
  if (others > 1) {
    refuse(
      `textSslLossWeight, imageSslLossWeight and multiviewLossWeight are ${others} together, but no more ` +
        "than 1 can be shared out: what they weigh, the contrastive loss doesn't",
    );
  }
}
