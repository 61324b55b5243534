// The build puts the packages into this file: see scripts/bundle.mjs.
export { type Connection, connect, Index, type Table, type VectorQuery } from "@lancedb/lancedb";
export { Binary, Field, FixedSizeList, Float32, Int32, List, Schema, Utf8 } from "apache-arrow";
