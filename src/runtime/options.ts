import { availableParallelism } from "node:os";
import { ClipsmithError } from "../util/errors.js";
import * as ort from "./ort.js";

/** Where and how graphs run. */
export interface RuntimeOptions {
  /** `"cpu"` (default), `"cuda"`, `"webgpu"`, `"coreml"` or `"dml"`, as the machine has them. */
  readonly provider?: string;
  /** Number of the GPU, with `"cuda"` alone; default 0. */
  readonly device?: number;
  /** Threads of one operator; default: the processors this process may use. */
  readonly threads?: number;
  /**
   * Keep the memory of a run for the program's next; default false, but true for the encoders of a training
   * step, at the usual size of its chunks. Runs are a tenth to a third faster with it, and the process holds
   * for good what it otherwise takes at most.
   */
  readonly memoryArena?: boolean;
  /** Log what the runtime does to stderr; default false. */
  readonly verbose?: boolean;
}

type Provider = NonNullable<ort.InferenceSession.SessionOptions["executionProviders"]>[number];

/**
 * Options for a session of ONNX Runtime.
 *
 * @throws ClipsmithError if the provider is not in this build of ONNX Runtime.
 */
export function sessionOptions(options: RuntimeOptions): ort.InferenceSession.SessionOptions {
  const {
    provider = "cpu",
    device = 0,
    threads = availableParallelism(),
    memoryArena = false,
  } = options;
  if (!Number.isInteger(threads) || threads < 1) {
    throw new ClipsmithError(`threads must be a whole number of at least 1, is ${threads}`);
  }
  const supported = ort.listSupportedBackends().map(({ name }) => name);
  if (!supported.includes(provider)) {
    throw new ClipsmithError(
      `ONNX Runtime has no provider "${provider}" on this machine; it has ${supported.join(", ")}.`,
    );
  }
  return {
    executionProviders: [
      device === 0 ? provider : ({ name: provider, deviceId: device } as Provider),
    ],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    enableCpuMemArena: memoryArena,
    // One block for all of a run's tensors, and the C library has nothing to fragment: without it a graph
    // that needs 64 MB was seen to hold 1.3 GB after 44 runs. An arena does not fragment, and would need room
    // for the block beside that of the first run's tensors.
    enableMemPattern: !memoryArena,
    logSeverityLevel: options.verbose ? 1 : 3,
    extra: {
      session: {
        // Waiting threads yield the processor to picture decoding.
        intra_op: { allow_spinning: "0" },
      },
      optimization: {
        // Its fused kernel is several times slower than the two operators it replaces.
        disable_specified_optimizers: "SkipLayerNormFusion",
      },
    },
  };
}
