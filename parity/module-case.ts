import { TextTransformer, VisionTransformer } from "../src/clip/index.js";
import { chooseAsXClip } from "../src/data/x-clip-mask.js";
import { type Data, grad, identity, input, mul, sum, type Tensor } from "../src/graph/index.js";
import {
  Attention,
  FeedForward,
  geglu,
  LayerNorm,
  parameterGradients,
  RotaryEmbedding,
  Scope,
} from "../src/nn/index.js";
import { compare, compareGradient, type Difference, maxMagnitude, tolerances } from "./compare.js";
import { type Fixture, float, ints, tensor } from "./fixture.js";
import { compareGradients, parameterFeeds, runOnce, runWithGradients, Unsupported } from "./run.js";

/** Constructor arguments of a module, as numbers and flags. */
type Options = Readonly<Record<string, number & boolean & string>>;

/** Extra inputs of a module's forward, undefined where the case has none. */
interface Extras {
  readonly mask?: Tensor | undefined;
  readonly rotary?: Tensor | undefined;
  readonly kept?: Tensor | undefined;
}

const transformerOptions = (o: Options) => ({
  width: o.dim!,
  depth: o.depth!,
  heads: o.heads ?? 8,
  dimHead: o.dim_head ?? 64,
});

/** For each of x-clip's modules, how to build it and call it. */
const modules: Record<string, (scope: Scope, o: Options) => (x: Tensor, extras: Extras) => Tensor> =
  {
    LayerNorm: (scope, o) => {
      const module = new LayerNorm(scope, o.dim!);
      return (x) => module.call(x);
    },
    GEGLU: () => geglu,
    FeedForward: (scope, o) => {
      const module = new FeedForward(scope, o.dim!, o.mult ?? 4);
      return (x) => module.call(x);
    },
    Attention: (scope, o) => {
      const options = { heads: o.heads ?? 8, dimHead: o.dim_head ?? 64, causal: o.causal ?? false };
      const module = new Attention(scope, o.dim!, options);
      return (x, extras) => module.call(x, extras);
    },
    TextTransformer: (scope, o) => {
      const module = new TextTransformer(scope, {
        ...transformerOptions(o),
        numTokens: o.num_tokens!,
        maxSeqLen: o.max_seq_len!,
        rotaryPosEmb: o.rotary_pos_emb ?? false,
        causal: o.causal ?? false,
      });
      return (x, { mask }) => module.call(x, mask);
    },
    VisionTransformer: (scope, o) => {
      const module = new VisionTransformer(scope, {
        ...transformerOptions(o),
        imageSize: o.image_size!,
        patchSize: o.patch_size!,
        channels: o.channels!,
      });
      return (x, { kept }) => module.call(x, kept);
    },
  };

/** One module's output, and its gradients for the case's cotangent. */
export async function runModuleCase(fixture: Fixture): Promise<Difference[]> {
  const options = fixture.constructorOptions as Options;
  if (options.type === "RotaryEmbedding") return runRotaryCase(fixture);
  if (options.type === "mask subset") return compareMasks(fixture);
  const build = modules[options.type!];
  if (build === undefined) throw new Unsupported(options.type!);

  const scope = new Scope();
  const module = build(scope, options);
  const feeds: Record<string, Data> = {
    ...Object.fromEntries(parameterFeeds(fixture, scope.parameters)),
    cotangent: float(fixture, "in.cotangent"),
  };
  const declare = (name: string, dtype: "float32" | "int32" | "bool"): Tensor | undefined => {
    const found = fixture.tensors.get(`in.${name}`);
    if (found === undefined) return undefined;
    const whole = dtype === "float32" ? undefined : ints(fixture, `in.${name}`);
    feeds[name] =
      whole === undefined
        ? float(fixture, `in.${name}`)
        : dtype === "bool"
          ? Uint8Array.from(whole)
          : whole;
    return input(name, found.shape, dtype);
  };
  const isTokens = tensor(fixture, "in.x").dtype === "I64";
  const x = declare("x", isTokens ? "int32" : "float32")!;
  const y = module(x, {
    mask: declare("mask", "bool"),
    rotary: declare("rotary_pos_emb", "float32"),
    kept: declare("patch_indices", "int32"),
  });
  const cotangent = input("cotangent", tensor(fixture, "in.cotangent").shape);
  const loss = sum(
    mul(y, cotangent),
    y.shape.map((_, axis) => axis),
  );
  const [inputGradient] = isTokens ? [] : grad(loss, [x]);
  const { results, gradients } = await runWithGradients(
    { y, ...(inputGradient && { inputGradient }) },
    parameterGradients(loss, scope.parameters),
    feeds,
  );
  const expected = float(fixture, "out.y");
  const allowed = tolerances.output * Math.max(1, maxMagnitude(expected));
  const differences = [compare("output", "y", results.y as Float32Array, expected, allowed)];
  differences.push(...compareGradients(fixture, gradients));
  if (inputGradient) {
    const expectedGradient = float(fixture, "grad_in.x");
    differences.push(compareGradient("x", results.inputGradient as Float32Array, expectedGradient));
  }
  return differences;
}

/** Angles for every width that the case has. */
async function runRotaryCase(fixture: Fixture): Promise<Difference[]> {
  const length = Number(fixture.constructorOptions.seq_len);
  const names = [...fixture.tensors.keys()].filter((name) => name.startsWith("out.freqs_"));
  const differences: Difference[] = [];
  for (const name of names) {
    const width = Number(name.slice("out.freqs_".length));
    const scope = new Scope();
    const angles = new RotaryEmbedding(scope, width).call(length);
    const expectedFrequencies = float(fixture, `out.inv_freq_${width}`);
    const [parameter] = scope.parameters.values();
    if (parameter?.initializer.kind !== "values") throw new Error("inv_freq is a buffer of values");
    const { values } = parameter.initializer;
    const results = await runOnce({ angles: identity(angles) }, { inv_freq: expectedFrequencies });
    differences.push(
      compare("output", `inv_freq_${width}`, values, expectedFrequencies, 1e-7),
      compare(
        "output",
        name,
        results.angles as Float32Array,
        float(fixture, name),
        tolerances.output * length,
      ),
    );
  }
  return differences;
}

/** Which positions are masked, for each of the case's probabilities: every one must be x-clip's. */
function compareMasks(fixture: Fixture): Difference[] {
  const cases = fixture.constructorOptions.cases as readonly { readonly prob: number }[];
  return cases.map(({ prob }, i) => {
    const maskable = Uint8Array.from(ints(fixture, `in.mask.${i}`));
    const length = tensor(fixture, `in.mask.${i}`).shape[1]!;
    const chosen = chooseAsXClip(maskable, float(fixture, `in.rand.${i}`), length, prob);
    return compare("output", `mask.${i}`, chosen, ints(fixture, `out.mask.${i}`), 0);
  });
}
