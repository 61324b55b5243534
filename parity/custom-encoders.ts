import type { ClipParts, ImageEncoder, TextEncoder } from "../src/clip/index.js";
import { TextTransformer } from "../src/clip/index.js";
import {
  embedding,
  linear,
  maskedMean,
  mean,
  reshape,
  type Tensor,
  tanh,
} from "../src/graph/index.js";
import { fanIn, type Scope } from "../src/nn/index.js";
import { Unsupported } from "./run.js";

type Description = Readonly<Record<string, unknown>>;

function linearWithBias(scope: Scope, name: string, width: number, inWidth: number) {
  const weight = scope.linear(name, width, inWidth);
  const bias = scope.parameter(`${name}.bias`, [width], fanIn(inWidth));
  return (x: Tensor) => linear(x, weight, bias);
}

/** The masked mean of embeddings, and a linear layer: [B, D]. */
function bagOfWords(scope: Scope, width: number, numTokens: number): TextEncoder {
  const table = scope.embedding("emb", numTokens, width);
  const project = linearWithBias(scope, "proj", width, width);
  return {
    call(text, mask) {
      const words = embedding(table, text);
      const average = mask
        ? maskedMean(words, reshape(mask, [...mask.shape, 1]), 1)
        : mean(words, 1);
      return project(average);
    },
  };
}

/** The mean of blocks of 4 x 4 pixels, a linear layer and tanh: [B, D]. */
function flatImage(scope: Scope, width: number, channels: number, size: number): ImageEncoder {
  const side = size / 4;
  const project = linearWithBias(scope, "proj", width, channels * side ** 2);
  return {
    call(image) {
      const blocks = mean(reshape(image, [image.shape[0]!, channels, side, 4, side, 4]), [3, 5]);
      return tanh(project(reshape(blocks, [image.shape[0]!, channels * side ** 2])));
    },
  };
}

/** The encoders that a case describes in place of x-clip's own. */
export function customEncoders({ text_encoder, image_encoder }: Description): ClipParts {
  const text = text_encoder as Description | undefined;
  const image = image_encoder as Description | undefined;
  return {
    ...(text && {
      textEncoder: (scope, { dimText, numTextTokens }) => {
        if (text.type === "BagOfWords") return bagOfWords(scope, dimText, numTextTokens);
        if (text.type !== "TextTransformer") throw new Unsupported(`a ${text.type} text encoder`);
        return new TextTransformer(scope, {
          width: text.dim as number,
          numTokens: text.num_tokens as number,
          maxSeqLen: text.max_seq_len as number,
          depth: text.depth as number,
          heads: text.heads as number,
          dimHead: text.dim_head as number,
          causal: text.causal === true,
          rotaryPosEmb: text.rotary_pos_emb === true,
        });
      },
    }),
    ...(image && {
      imageEncoder: (scope, { dimImage, channels, visualImageSize }) => {
        if (image.type !== "FlatImage") throw new Unsupported(`a ${image.type} image encoder`);
        return flatImage(scope, dimImage, channels, visualImageSize);
      },
    }),
  };
}
