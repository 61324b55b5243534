import type { CLIP } from "../src/clip/index.js";
import { graph } from "../src/graph/index.js";
import { Program } from "../src/runtime/index.js";
import { AdamW } from "../src/train/adamw.js";
import { clipOf } from "./clip-case.js";
import { compare, type Difference, tolerances } from "./compare.js";
import { type Fixture, float, floats, ints, tensor } from "./fixture.js";
import { parameterFeeds, parameterGradients } from "./run.js";

interface Optimizer {
  readonly type: string;
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
}

/** A whole training over a few batches in turn: every loss, and the parameters at the end. */
export async function runTrainingCase(fixture: Fixture): Promise<Difference[]> {
  const clip = clipOf(fixture);
  const steps = fixture.description.steps as number;
  const { lr, betas, eps, weight_decay } = fixture.description.optimizer as unknown as Optimizer;
  const optimizer = adamW(clip, fixture, { betas, epsilon: eps, weightDecay: weight_decay });
  const batches = [...fixture.tensors.keys()].filter((name) => name.startsWith("in.text.")).length;

  const [batch, textLength] = tensor(fixture, "in.text.0").shape as [number, number];
  const inputs = clip.inputs(batch, { textLength, dropPatches: true });
  const loss = clip.loss(inputs);
  const gradients = parameterGradients(loss, clip.parameters);
  const program = await Program.compile(graph({ loss, ...prefixed(gradients) }));
  const into = prefixed(optimizer.gradients);
  const untouched = new Set([...clip.parameters.keys()].filter((name) => !gradients.has(name)));

  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const results = await program.run(
      {
        ...Object.fromEntries(optimizer.parameters),
        text: ints(fixture, `in.text.${step % batches}`),
        image: float(fixture, `in.image.${step % batches}`),
      },
      into,
    );
    losses.push((results.loss as Float32Array)[0]!);
    optimizer.step({ learningRate: lr, skip: untouched });
  }
  await program.release();

  const curve = float(fixture, "out.losses");
  const differences = [compare("loss", "losses", losses, curve, tolerances.lossCurve)];
  for (const [name, expected] of floats(fixture, "out.final.")) {
    const actual = optimizer.parameters.get(name) ?? [];
    differences.push(compare("output", name, actual, expected, tolerances.finalParameters));
  }
  return differences;
}

function adamW(
  clip: CLIP,
  fixture: Fixture,
  options: { betas: readonly [number, number]; epsilon: number; weightDecay: number },
): AdamW {
  const values = parameterFeeds(fixture, clip.parameters);
  const parameters = [...clip.parameters].map(
    ([name, { shape }]) => [name, { shape, values: values.get(name)! }] as const,
  );
  return new AdamW(new Map(parameters), options);
}

/** The name of a parameter's gradient among a program's outputs. */
function prefixed<T>(gradients: ReadonlyMap<string, T>): Record<string, T> {
  return Object.fromEntries(
    [...gradients].map(([name, gradient]) => [`gradient of ${name}`, gradient]),
  );
}
