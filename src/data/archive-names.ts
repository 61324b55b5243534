import { parse } from "node:path";
import { compare } from "./compare.js";

/** The kind of archive of samples that a file's name says. */
export function archiveKind(name: string): "tar" | "parquet" | "zip" | undefined {
  if (/\.(tar|tar\.gz|tgz)$/i.test(name)) return "tar";
  if (/\.parquet$/i.test(name)) return "parquet";
  return /\.zip$/i.test(name) ? "zip" : undefined;
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

/** The zip archives among a folder's files, sorted: they are read where there are neither shards nor pictures. */
export function zipsAmong(files: readonly string[]): string[] {
  return files.filter((name) => archiveKind(name) === "zip").sort(compare);
}
