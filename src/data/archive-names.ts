import { parse } from "node:path";
import { compare } from "./compare.js";

/** The kind of archive of samples that a file's name says. */
export function archiveKind(name: string): "tar" | "parquet" | undefined {
  if (/\.(tar|tar\.gz|tgz)$/i.test(name)) return "tar";
  return /\.parquet$/i.test(name) ? "parquet" : undefined;
}

/** The shards among a folder's files: its tar files or, where there are none, its Parquet files. */
export function shardsAmong(files: readonly string[], folders: readonly string[] = []): string[] {
  const sorted = files.filter((name) => !name.startsWith(".")).sort(compare);
  const tars = sorted.filter((name) => archiveKind(name) === "tar");
  if (tars.length > 0) return tars;
  // img2dataset describes a folder of pictures in a Parquet file of the same name.
  return sorted.filter(
    (name) => archiveKind(name) === "parquet" && !folders.includes(parse(name).name),
  );
}
