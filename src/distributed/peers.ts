/** A process of the run. */
export interface Peer {
  readonly host: string;
  /** Its number there. */
  readonly process: number;
}

/** By rank; undefined as long as a rank has not said it. */
export type Peers = readonly (Peer | undefined)[];

/** A rank as messages call it. */
export function nameOf(rank: number, peers: Peers): string {
  const peer = peers[rank];
  const where = peer ? ` (host ${peer.host}, process ${peer.process})` : "";
  return `rank ${rank} of ${peers.length}${where}`;
}
