import { extname, parse } from "node:path";
import { counted } from "../util/counted.js";

const JPEG = "jpg jpeg jpe jfif jfi jif pjpeg pjpg pjp jpg_large jpg-large".split(" ");

/** Extensions of the pictures looked for in folders and archives, in lower case, the usual ones first. */
export const PICTURE_EXTENSIONS = [
  ...JPEG,
  ..."png apng webp gif avif avifs tiff tif svg svgz".split(" "),
];

/** Of pictures that no decoder here reads: other formats, layered drawings, cameras' raw files. */
const UNREADABLE_PICTURES = new Set(
  (
    "heic heif hif heics bmp dib jxl jp2 j2k jpf jpx jpm jxr wdp hdp ico cur icns tga pcx ppm pgm pbm pnm pam " +
    "exr hdr pic dds qoi bpg flif xbm xpm ras sgi wbmp emf wmf eps ai psd psb xcf kra clip afphoto cdr " +
    "fits dcm dicom " +
    "dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 rwl pef ptx raw srw x3f 3fr fff iiq mef mos mrw kdc dcr erf gpr"
  ).split(" "),
);

const VIDEOS = new Set(
  "mov mp4 m4v avi mkv webm wmv mpg mpeg mts m2ts 3gp 3g2 flv ogv vob asf insv".split(" "),
);

/** Of downloads that browsers and other programs have not finished. */
const UNFINISHED = new Set(
  "part partial crdownload download opdownload filepart aria2 tmp temp !ut".split(" "),
);

/** What a file is, by its name. */
export type FileKind = "picture" | "unreadable picture" | "video" | "unfinished" | "other";

/** The kind of file that a name says, in any case. */
export function kindOfFile(name: string): FileKind {
  const extension = extensionOf(name);
  if (PICTURE_EXTENSIONS.includes(extension)) return "picture";
  if (UNREADABLE_PICTURES.has(extension)) return "unreadable picture";
  if (VIDEOS.has(extension)) return "video";
  if (!UNFINISHED.has(extension)) return "other";
  const whole = parse(name).name;
  return extensionOf(whole) === "" || kindOfFile(whole) === "picture" ? "unfinished" : "other";
}

/** What follows the last dot of a file's name, in lower case; "" where there is none. */
export function extensionOf(name: string): string {
  return extname(name).slice(1).toLowerCase();
}

/** Why a picture of a kind that cannot be read is left out: the kind is part of what is counted. */
export function unreadableReason(name: string): string {
  const extension = extensionOf(name);
  const remedy = VIDEOS.has(extension) ? "it is a video" : "convert it to JPEG or PNG";
  return `.${extension} files cannot be read: ${remedy}`;
}

/** Whether a reason is one of {@link unreadableReason}. */
export function isUnreadableReason(reason: string): boolean {
  return /^\.\S+ files cannot be read: /.test(reason);
}

/** Why an unfinished download is left out. */
export const UNFINISHED_REASON = "the download is unfinished";

/**
 * Files of kinds that cannot be read, counted: "Left out 3 files of kinds that can't be read: 1 .heic,
 * 1 .cr2, 1 .mov." The commonest come first.
 */
export function unreadableNote(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) {
    const extension = extensionOf(name);
    counts.set(extension, (counts.get(extension) ?? 0) + 1);
  }
  const kinds = [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([extension, count]) => `${count.toLocaleString("en")} .${extension}`);
  const files = `${counted(names.length, "file")} of ${names.length === 1 ? "a kind" : "kinds"}`;
  return `Left out ${files} that can't be read: ${kinds.join(", ")}. Pictures can be converted to JPEG or PNG.`;
}
