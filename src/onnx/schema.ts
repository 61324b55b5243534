import protobuf from "../util/protobuf.js";

/** The part of ONNX's protobuf schema that Clipsmith writes. Field numbers are the standard's. */
const { root } = protobuf.parse(
  `
  syntax = "proto3";
  message ModelProto {
    int64 irVersion = 1;
    string producerName = 2;
    GraphProto graph = 7;
    repeated OperatorSetId opsetImport = 8;
    repeated StringStringEntry metadataProps = 14;
  }
  message OperatorSetId { string domain = 1; int64 version = 2; }
  message StringStringEntry { string key = 1; string value = 2; }
  message GraphProto {
    repeated NodeProto node = 1;
    string name = 2;
    repeated TensorProto initializer = 5;
    repeated ValueInfo input = 11;
    repeated ValueInfo output = 12;
  }
  message NodeProto {
    repeated string input = 1;
    repeated string output = 2;
    string name = 3;
    string opType = 4;
    repeated AttributeProto attribute = 5;
    string domain = 7;
  }
  message AttributeProto {
    string name = 1;
    float f = 2;
    int64 i = 3;
    bytes s = 4;
    repeated int64 ints = 8;
    int32 type = 20;
  }
  message TensorProto {
    repeated int64 dims = 1;
    int32 dataType = 2;
    string name = 8;
    bytes rawData = 9;
  }
  message ValueInfo { string name = 1; TypeProto type = 2; }
  message TypeProto { TensorTypeProto tensorType = 1; }
  message TensorTypeProto { int32 elemType = 1; TensorShapeProto shape = 2; }
  message TensorShapeProto { repeated Dimension dim = 1; }
  message Dimension { oneof value { int64 dimValue = 1; string dimParam = 2; } }
`,
  new protobuf.Root(),
);

export interface AttributeProto {
  name: string;
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  ints?: readonly number[];
}

export interface NodeProto {
  input: string[];
  output: string[];
  name: string;
  opType: string;
  attribute: AttributeProto[];
}

export interface TensorProto {
  name: string;
  dims: readonly number[];
  dataType: number;
  rawData: Uint8Array;
}

export interface ValueInfo {
  name: string;
  type: {
    tensorType: {
      elemType: number;
      shape: { dim: ({ dimValue: number } | { dimParam: string })[] };
    };
  };
}

export interface ModelProto {
  irVersion: number;
  producerName: string;
  opsetImport: { domain: string; version: number }[];
  metadataProps: { key: string; value: string }[];
  graph: {
    name: string;
    node: NodeProto[];
    initializer: TensorProto[];
    input: ValueInfo[];
    output: ValueInfo[];
  };
}

const Model = root.lookupType("ModelProto");

/** The bytes of an `.onnx` file. */
export function encodeModel(model: ModelProto): Uint8Array {
  return Model.encode(model).finish();
}

/** Reads back what {@link encodeModel} wrote. */
export function decodeModel(bytes: Uint8Array): ModelProto {
  return Model.toObject(Model.decode(bytes), {
    longs: Number,
    defaults: true,
  }) as ModelProto;
}
