/** Bytes of a file's beginning that {@link standInOf} looks at. */
export const STAND_IN_BYTES = 1024;

/** What lies in place of data, by how it begins, and how the data are had. */
const STAND_INS: readonly (readonly [RegExp, string])[] = [
  [
    /^version https:\/\/git-lfs\.github\.com\//,
    "a Git LFS pointer in place of the file: `git lfs pull` fetches it",
  ],
  [/^\/annex\/objects\//, "a git-annex pointer in place of the file: `git annex get` fetches it"],
  [
    /^\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b/is,
    "a web page in place of the file: download the file itself",
  ],
  [
    /^\s*(<\?xml[^>]*>\s*)?<Error>\s*<Code>/i,
    "a server's message of an error in place of the file: download the file again",
  ],
];

/**
 * What a file holds in place of what its name promises: a pointer of Git LFS, a web page. Undefined for anything
 * else. To be asked where a file turns out to be unreadable.
 *
 * @param bytes its beginning, of {@link STAND_IN_BYTES} or more; or all of it
 */
export function standInOf(bytes: Uint8Array): string | undefined {
  const { buffer, byteOffset, length } = bytes;
  const text = Buffer.from(buffer, byteOffset, Math.min(length, STAND_IN_BYTES))
    .toString("utf8")
    .replace(/^\ufeff/, "");
  return STAND_INS.find(([beginning]) => beginning.test(text))?.[1];
}
