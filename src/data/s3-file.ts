import type { Readable } from "node:stream";
import type { GetObjectCommandInput, S3Client } from "@aws-sdk/client-s3";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { CANNOT_BE_READ, Unreadable } from "./byte-file.js";
import { contentRange, passes } from "./http-file.js";
import {
  type Ask,
  DEFAULT_SILENCE_MS,
  DEFAULT_TRIES,
  RemoteFile,
  type RemoteOptions,
} from "./remote-file.js";

/** Not a dependency: it is large, and few need it. */
const PACKAGE = "@aws-sdk/client-s3";

type Sdk = typeof import("@aws-sdk/client-s3");

/**
 * Buckets of S3 and of what speaks its protocol. Addresses, regions and keys come from where AWS's own
 * tools take them: AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3), AWS_REGION, AWS_ACCESS_KEY_ID and
 * AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ~/.aws.
 */
export class S3 {
  readonly #sdk: Sdk;
  readonly #region: string;
  readonly #client: S3Client;

  private constructor(sdk: Sdk, region: string) {
    this.#sdk = sdk;
    this.#region = region;
    // RemoteFile tries again, where it stopped.
    this.#client = makeClient(sdk, region, 1);
  }

  /** @throws ClipsmithError if the package is not installed */
  static async connect(load: () => Promise<Sdk> = () => import(PACKAGE)): Promise<S3> {
    let sdk: Sdk;
    try {
      sdk = await load();
    } catch (cause) {
      throw new ClipsmithError(
        `s3:// is read by the package ${PACKAGE}, which cannot be loaded: npm install ${PACKAGE}`,
        { cause },
      );
    }
    const region = process.env.AWS_REGION || process.env.AWS_DEFAULT_REGION || undefined;
    // A region is often named nowhere. Of all servers only AWS's mind, and they say the right one.
    const known = await makeClient(sdk, region, 1)
      .config.region()
      .catch(() => "us-east-1");
    return new S3(sdk, known);
  }

  file(address: string, options: RemoteOptions): RemoteFile {
    const { bucket, key } = partsOf(address);
    const ask: Ask = async ({ start, end }, tag, abortSignal) => {
      const input: GetObjectCommandInput = { Bucket: bucket, Key: key };
      if (start > 0 || end !== undefined) {
        input.Range = `bytes=${start}-${end === undefined ? "" : end - 1}`;
      }
      if (tag !== undefined) input.IfMatch = tag;
      try {
        const object = await this.#client.send(new this.#sdk.GetObjectCommand(input), {
          abortSignal,
        });
        const body = object.Body as Readable;
        // The signal ends a request, but not always the answer to it.
        abortSignal.addEventListener("abort", () => body.destroy());
        const range = contentRange(object.ContentRange);
        return {
          start: range?.start ?? 0,
          size: range === undefined ? object.ContentLength : range.size,
          tag: object.ETag,
          body,
        };
      } catch (error) {
        if (statusOf(error) === 412) throw new Unreadable("the shard changed while it was read");
        if (isFinal(error)) throw new Unreadable(CANNOT_BE_READ, explain(error), error);
        throw error;
      }
    };
    return new RemoteFile(ask, options);
  }

  /** The names of the objects in a folder of a bucket, without those in its subfolders. */
  async list(
    address: string,
    { tries = DEFAULT_TRIES, silenceMs = DEFAULT_SILENCE_MS }: RemoteOptions = {},
  ): Promise<string[]> {
    const { bucket, key } = partsOf(address);
    const prefix = key === "" || key.endsWith("/") ? key : `${key}/`;
    const names: string[] = [];
    const client = makeClient(this.#sdk, this.#region, tries);
    let token: string | undefined;
    do {
      const page = await client
        .send(
          new this.#sdk.ListObjectsV2Command({
            Bucket: bucket,
            Prefix: prefix,
            Delimiter: "/",
            ...(token !== undefined && { ContinuationToken: token }),
          }),
          { abortSignal: AbortSignal.timeout(tries * silenceMs) },
        )
        .catch((error: unknown) => {
          throw new ClipsmithError(`Cannot list ${address}: ${explain(error)}`, { cause: error });
        });
      for (const { Key } of page.Contents ?? []) names.push(Key!.slice(prefix.length));
      token = page.NextContinuationToken;
    } while (token !== undefined);
    return names;
  }
}

function makeClient(sdk: Sdk, region: string | undefined, maxAttempts: number): S3Client {
  const { AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 } = process.env;
  return new sdk.S3Client({
    ...(region !== undefined && { region }),
    // Servers other than AWS's seldom have a name for each bucket.
    forcePathStyle: Boolean(AWS_ENDPOINT_URL_S3 || AWS_ENDPOINT_URL),
    followRegionRedirects: true,
    maxAttempts,
    // A range has no checksum, and not all servers know any.
    responseChecksumValidation: "WHEN_REQUIRED",
  });
}

function partsOf(address: string): { bucket: string; key: string } {
  const [, bucket, key] = /^s3:\/\/([^/]+)\/?(.*)$/is.exec(address) ?? [];
  if (bucket === undefined || key === undefined) {
    throw new ClipsmithError(`${address} names no bucket. Give s3://bucket/folder/.`);
  }
  return { bucket, key };
}

function statusOf(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
}

/** Whether asking again would not help: refused, not there, or no keys to ask with. */
function isFinal(error: unknown): boolean {
  const status = statusOf(error);
  if (status !== undefined) return !passes(status);
  return (error as Error).name === "CredentialsProviderError";
}

function explain(error: unknown): string {
  const { name } = error as Error;
  if (name === "CredentialsProviderError") {
    return "no keys found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE. What is public has an https:// address, too";
  }
  const message = messageOf(error);
  const status = statusOf(error);
  return status === undefined ? message : `${name}, ${message} (${status})`;
}
