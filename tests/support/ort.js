// What ONNX Runtime answers, for comparing: node ort.js FOLDER...
//
// Every FOLDER holds a model.onnx; gets test_data_set_0/{input,output}_I.pb (TensorProto, as in
// ONNX's own tests).  Inputs are seeded numbers; optimisation is off, so that the answer is the
// network's as it stands.  onnxruntime-node is looked for along NODE_PATH.
'use strict';
const fs = require('fs');
const path = require('path');
const ort = require('onnxruntime-node');

const elementTypes = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float64: 11 };

function varint(value) {
  const bytes = [];
  for (let v = BigInt(value); ; v >>= 7n) {
    if (v < 128n) return Buffer.from([...bytes, Number(v)]);
    bytes.push(Number(v & 127n) | 128);
  }
}

// Field 1: dims, 2: element type, 8: name, 9: raw data.
function tensorProto(name, tensor) {
  const data = Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  const text = Buffer.from(name);
  const parts = tensor.dims.map((d) => Buffer.concat([Buffer.from([0x08]), varint(d)]));
  parts.push(Buffer.from([0x10]), varint(elementTypes[tensor.type]));
  parts.push(Buffer.from([0x42]), varint(text.length), text);
  parts.push(Buffer.from([0x4a]), varint(data.length), data);
  return Buffer.concat(parts);
}

// Sums of four uniform numbers: nearly normal, of unit variance.
function seededNumbers(count) {
  const values = new Float32Array(count);
  let state = 12345;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296 - 0.5;
  };
  for (let i = 0; i < count; i++) {
    values[i] = (uniform() + uniform() + uniform() + uniform()) * Math.sqrt(3);
  }
  return values;
}

async function dump(folder) {
  const session = await ort.InferenceSession.create(path.join(folder, 'model.onnx'), {
    graphOptimizationLevel: 'disabled',
    intraOpNumThreads: 2,
    executionMode: 'sequential',
  });
  const set = path.join(folder, 'test_data_set_0');
  const feeds = {};
  fs.mkdirSync(set, { recursive: true });
  for (const input of session.inputMetadata) {
    const dims = input.shape.map((d) => (typeof d === 'number' && d > 0 ? d : 1));
    const count = dims.reduce((a, b) => a * b, 1);
    feeds[input.name] = new ort.Tensor('float32', seededNumbers(count), dims);
  }
  session.inputNames.forEach((name, i) =>
    fs.writeFileSync(path.join(set, `input_${i}.pb`), tensorProto(name, feeds[name])));
  const results = await session.run(feeds);
  session.outputNames.forEach((name, i) =>
    fs.writeFileSync(path.join(set, `output_${i}.pb`), tensorProto(name, results[name])));
}

(async () => {
  for (const folder of process.argv.slice(2)) await dump(folder);
})().catch((error) => {
  console.error(`ort.js: ${error.message}`);
  process.exit(1);
});
