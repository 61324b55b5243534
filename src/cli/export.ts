import { Command } from "commander";
import { ClipsmithError } from "../util/errors.js";
import { print } from "./print.js";

/** `clipsmith export`: a model's weights for x-clip. */
export function exportCommand(): Command {
  return new Command("export")
    .summary("write a model's weights for x-clip")
    .description(
      "Writes a model's weights as a safetensors file that x-clip's load_state_dict takes, with the " +
        "tensors of shared modules under all their names.",
    )
    .argument("<run>", "folder of the trained model")
    .requiredOption("--out <file>", "the file to write; its name ends in .safetensors")
    .addHelpText("after", "\nExample:\n  clipsmith export runs/photos --out photos.safetensors")
    .action(exportRun);
}

async function exportRun(run: string, { out }: { readonly out: string }): Promise<void> {
  if (!out.endsWith(".safetensors")) {
    throw new ClipsmithError(
      `--out ${out}: the file is a safetensors file, so its name should end in .safetensors.`,
    );
  }
  const { exportWeights } = await import("../model/index.js");
  await exportWeights(run, out);
  print(
    `The weights are in ${out}. In Python, with the options of ${run}'s config.json:`,
    "  from safetensors.torch import load_file",
    `  CLIP(...).load_state_dict(load_file(${JSON.stringify(out)}))`,
  );
}
