import type { SampleFiles } from "./archive-key.js";
import { CAPTION_EXTENSIONS, captionsInFile } from "./caption-files.js";
import { kindOfFile, PICTURE_EXTENSIONS, unreadableReason } from "./picture-kinds.js";
import type { Entry } from "./shard.js";

/** What a file of an archive holds, or why that is not to be had. Files of no use are undefined. */
export type Content = Uint8Array | { readonly problem: string } | undefined;

/** Whether a file of an archive is looked into, by its extension. */
export function isUseful(extension: string): boolean {
  return PICTURE_EXTENSIONS.includes(extension) || CAPTION_EXTENSIONS.includes(extension);
}

/**
 * The entry that files of an archive make: a picture with the captions beside it.
 *
 * @param where the archive's name; the entry's is `archive/name`
 * @param contentOf reads a file; of captions, no more than needed are read
 * @param label the caption, whatever lies beside the picture
 */
export async function sampleOf<T>(
  where: string,
  { name, files, problem: unclear }: SampleFiles<T>,
  wanted: "required" | "optional",
  contentOf: (file: T) => Content | Promise<Content>,
  label?: string,
): Promise<Entry> {
  const entry = `${where}/${name}`;
  const skip = (reason: string): Entry => ({ where: entry, reason });
  if (unclear !== undefined) return skip(unclear);
  const extension = PICTURE_EXTENSIONS.find((candidate) => files.has(candidate));
  if (extension === undefined) return skip(noPicture([...files.keys()]));
  const picture = await contentOf(files.get(extension)!);
  if (picture !== undefined && "problem" in picture) return skip(picture.problem);
  if (picture === undefined || picture.length === 0) return skip("the picture is empty");
  if (label !== undefined) return { name: entry, picture, captions: [label] };
  let problem = "no caption";
  for (const candidate of CAPTION_EXTENSIONS) {
    if (!files.has(candidate)) continue;
    const content = await contentOf(files.get(candidate)!);
    if (content === undefined) continue;
    const captions =
      "problem" in content
        ? content.problem
        : captionsInFile(candidate, content, `${name.split("/").at(-1)}.${extension}`);
    if (typeof captions === "string") problem = captions;
    else if (captions.length > 0) return { name: entry, picture, captions };
  }
  return wanted === "optional" ? { name: entry, picture, captions: [] } : skip(problem);
}

/** Why files are no sample that have these extensions. */
function noPicture(extensions: readonly string[]): string {
  const unreadable = extensions
    .map((extension) => `file.${extension}`)
    .find((name) => ["unreadable picture", "video"].includes(kindOfFile(name)));
  return unreadable === undefined
    ? `no picture: only .${extensions.join(", .")}`
    : unreadableReason(unreadable);
}
