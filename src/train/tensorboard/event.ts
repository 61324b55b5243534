import protobuf from "../../util/protobuf.js";

/** The part of TensorFlow's event.proto and summary.proto that Clipsmith writes. Field numbers are theirs. */
const { root } = protobuf.parse(
  `
  syntax = "proto3";
  message Event {
    double wallTime = 1;
    int64 step = 2;
    oneof what {
      string fileVersion = 3;
      Summary summary = 5;
      SessionLog sessionLog = 7;
    }
  }
  message Summary { repeated Value value = 1; }
  message Value { string tag = 1; oneof what { float simpleValue = 2; } }
  message SessionLog { enum Status { UNSPECIFIED = 0; START = 1; } Status status = 1; }
`,
  new protobuf.Root(),
);

/** One record of an event file: the file's version, the beginning of a session, or some scalars. */
export interface Event {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step?: number;
  readonly fileVersion?: string;
  readonly summary?: { readonly value: readonly { tag: string; simpleValue: number }[] };
  readonly sessionLog?: { readonly status: typeof SESSION_START };
}

/** Readers drop what they know of this step and later ones. */
export const SESSION_START = 1;

const EventType = root.lookupType("Event");

export function encodeEvent(event: Event): Uint8Array {
  return EventType.encode(event).finish();
}

/** @throws Error where the bytes are no event. */
export function decodeEvent(bytes: Uint8Array): Event {
  return EventType.toObject(EventType.decode(bytes), { longs: Number }) as Event;
}
