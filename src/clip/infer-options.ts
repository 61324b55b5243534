import { ClipsmithError } from "../util/errors.js";

/** Shapes by the names of x-clip's `state_dict`. */
type Shapes = ReadonlyMap<string, readonly number[]>;

/** Options by name, still to be checked against the schema. */
type UncheckedOptions = Readonly<Record<string, unknown>>;

/** x-clip's defaults. */
const HEADS = 8;
const DIM_HEAD = 64;
/** Pairs of features that rotary embeddings turn where heads are wide. */
const MAX_FREQUENCIES = 16;

/**
 * The options of CLIP that the shapes of an x-clip model's weights tell: widths, depths, sizes of
 * the vocabulary, of texts, pictures and patches, and which parts there are.
 *
 * Shapes tell the number of heads times their width, and not the two: 512 is taken for x-clip's default of
 * 8 heads of 64, and for anything else one of the two must be given. Pictures are taken for coloured where
 * a patch could be 3 channels of a square, and otherwise for grey. What leaves no trace keeps its default,
 * such as the length of texts with rotary embeddings.
 *
 * @param where names the file in errors
 * @param given options that are known, which win; neither they nor the result are checked here
 * @throws ClipsmithError if the weights are not x-clip's, or heads would have to be guessed
 */
export function inferClipOptions(
  shapes: Shapes,
  given: UncheckedOptions,
  where: string,
): UncheckedOptions {
  const size = (name: string, axis: number): number => {
    const length = shapes.get(name)?.[axis];
    if (length === undefined) {
      throw new ClipsmithError(
        `${where} is not a state dict of x-clip's CLIP with its own encoders: it has no ${name}.`,
      );
    }
    return length;
  };
  const has = (prefix: string) => [...shapes.keys()].some((name) => name.startsWith(prefix));
  const [text, image] = ["text_transformer", "visual_transformer"];
  const rotary = shapes.get(`${text}.rotary_pos_emb.inv_freq`)?.[0];
  // Masked language modelling gives the text encoder one token more than the vocabulary has.
  const hasMlm = has("mlm.");
  const siamese = has("visual_ssl.online_encoder.");
  const projector = `visual_ssl.${siamese ? "online_encoder" : "net"}.projector`;
  const downsamples = has("to_visual_latent.1.");
  return {
    dimText: size(`${text}.token_emb.weight`, 1),
    dimImage: size(`${image}.pos_emb.weight`, 1),
    dimLatent: size("to_text_latent.weight", 0),
    numTextTokens: size(hasMlm ? "mlm.to_logits.weight" : `${text}.token_emb.weight`, 0),
    textEncDepth: depth(shapes, text),
    ...(rotary
      ? { textRotaryPosEmb: true }
      : { textSeqLen: size(`${text}.abs_pos_emb.weight`, 0) }),
    ...headOptions(
      "text",
      size(`${text}.transformer.layers.0.0.fn.to_out.0.weight`, 1),
      given,
      where,
      // Half as many frequencies as a head has features, up to x-clip's bound.
      rotary && rotary < MAX_FREQUENCIES ? 2 * rotary : undefined,
    ),
    ...(!has(`${text}.cls_token`) && { textCausalMask: true }),
    visualEncDepth: depth(shapes, image),
    ...headOptions(
      "visual",
      size(`${image}.transformer.layers.0.0.fn.to_out.0.weight`, 1),
      given,
      where,
    ),
    ...pictureOptions(
      size(`${image}.to_tokens.1.weight`, 1),
      size(`${image}.pos_emb.weight`, 0),
      given,
      where,
    ),
    ...(downsamples && { useAllTokenEmbeds: true, downsampleImageEmbeds: true }),
    ...(hasMlm && { useMlm: true }),
    ...(has("visual_ssl.") && {
      useVisualSsl: true,
      visualSslType: siamese ? "simsiam" : "simclr",
      visualSslProjectionSize: size(`${projector}.6.weight`, 0),
      visualSslProjectionHiddenSize: size(`${projector}.0.weight`, 0),
    }),
    ...(has("logit_bias") && { sigmoidLoss: true }),
    ...given,
  };
}

/** Number of layers of an encoder's transformer. */
function depth(shapes: Shapes, encoder: string): number {
  let layers = 0;
  while (shapes.has(`${encoder}.transformer.layers.${layers}.0.norm.g`)) layers++;
  return layers;
}

/** Heads and their width, from the width of all together; `told` is the width where something tells it. */
function headOptions(
  side: "text" | "visual",
  inner: number,
  given: UncheckedOptions,
  where: string,
  told?: number,
): UncheckedOptions {
  const [headsName, dimHeadName] = [`${side}Heads`, `${side}DimHead`];
  const heads = given[headsName];
  const dimHead = given[dimHeadName] ?? told;
  if (heads === undefined && dimHead === undefined && inner !== HEADS * DIM_HEAD) {
    throw new ClipsmithError(
      `${where}: the heads of the ${side} encoder are ${inner} wide together, and weights do not tell how many there are. Say ${headsName} as the model was trained with it (--set clip.${headsName}=N).`,
    );
  }
  return {
    [headsName]: heads ?? inner / Number(dimHead ?? DIM_HEAD),
    [dimHeadName]: dimHead ?? inner / Number(heads ?? HEADS),
  };
}

/** Size and channels of pictures and patches, from a patch's numbers and the count of patches. */
function pictureOptions(
  patchWidth: number,
  patches: number,
  given: UncheckedOptions,
  where: string,
): UncheckedOptions {
  const isSquare = (value: number) => Number.isInteger(Math.sqrt(value));
  const channels = Number(given.channels ?? (isSquare(patchWidth / 3) ? 3 : 1));
  const patchSize = Number(given.visualPatchSize ?? Math.sqrt(patchWidth / channels));
  if (!Number.isInteger(patchSize) || !isSquare(patches)) {
    throw new ClipsmithError(
      `${where}: ${patches} patches of ${patchWidth} numbers are not square patches of a square picture of ${channels === 1 ? "1 channel" : `${channels} channels`}. Say how many it has (--set clip.channels=N).`,
    );
  }
  return {
    channels,
    visualPatchSize: patchSize,
    visualImageSize: Math.sqrt(patches) * patchSize,
  };
}
