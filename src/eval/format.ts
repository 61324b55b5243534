import type { Recall, RetrievalResult } from "./recall.js";

const CUTOFFS = ["r1", "r5", "r10"] as const;

/** 41.2 %; small chances keep two significant digits. */
function percent(fraction: number): string {
  const value = 100 * fraction;
  const digits = value > 0 && value < 1 ? Math.ceil(-Math.log10(value)) + 1 : 1;
  return `${value.toFixed(Math.min(digits, 6))} %`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A table for people: recall both ways, each with chance below it. */
export function formatRetrieval(result: RetrievalResult): string {
  const { textToImage, imageToText } = result;
  const cells = (recall: Recall) => CUTOFFS.map((cutoff) => percent(recall[cutoff]));
  const rows = [
    ["", "R@1", "R@5", "R@10", "median rank"],
    ["text to image", ...cells(textToImage), String(textToImage.medianRank)],
    ["  by chance", ...cells(textToImage.chance), ""],
    ["image to text", ...cells(imageToText), String(imageToText.medianRank)],
    ["  by chance", ...cells(imageToText.chance), ""],
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map(([name, ...values]) =>
    [name!.padEnd(widths[0]!), ...values.map((value, i) => value.padStart(widths[i + 1]!))]
      .join("  ")
      .trimEnd(),
  );
  lines.push(`${counted(result.texts, "text")}, ${counted(result.pictures, "picture")}`);
  if (textToImage.withoutMatch > 0 || imageToText.withoutMatch > 0) {
    lines.push(
      `without a match: ${counted(textToImage.withoutMatch, "text")}, ` +
        counted(imageToText.withoutMatch, "picture"),
    );
  }
  return lines.join("\n");
}
