// ONNX Runtime (npm: onnxruntime-node) as an engine of bench/single; engine.h says what it is told.
// Its defaults, but for the number of threads.  onnxruntime-node is looked for along NODE_PATH.
// ENGINE_PROFILE=PREFIX: what each node took in all runs goes to a file of that prefix when told `end`.
'use strict';
const fs = require('fs');
const readline = require('readline');
const ort = require('onnxruntime-node');

const number = (i) => Math.fround((Math.imul(i, 2654435761) >>> 0) / 4294967296 - 0.5);

function peakKb() {
  return Number(/VmHWM:\s*(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
}

async function main() {
  const [model, threads] = process.argv.slice(2);
  const before = peakKb();
  const start = performance.now();
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: Number(threads),
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    enableProfiling: Boolean(process.env.ENGINE_PROFILE),
    profileFilePrefix: process.env.ENGINE_PROFILE || '',
  });
  const openMs = performance.now() - start;
  const feeds = {};
  for (const input of session.inputMetadata) {
    const dims = input.shape.map((d) => (typeof d === 'number' && d > 0 ? d : 1));
    const values = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => number(i));
    feeds[input.name] = new ort.Tensor('float32', values, dims);
  }
  const answer = (await session.run(feeds))[session.outputNames[0]].data;
  let dot = 0;
  let size = 0;
  answer.forEach((v, i) => {
    dot += v * number(i);
    size += Math.abs(v);
  });
  console.log(`ready ${openMs.toFixed(3)} ${before} ${dot} ${size}`);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, n] = line.split(' ');
    if (command === 'run') {
      const t = performance.now();
      for (let i = 0; i < Number(n); i++) await session.run(feeds);
      console.log(`ms ${((performance.now() - t) / Number(n)).toFixed(6)}`);
    } else if (command === 'end') {
      session.endProfiling();
      console.log('ended 0');
    } else {
      console.log(`kb ${peakKb()}`);
    }
  }
}

main().catch((error) => {
  console.log(`error ${String(error.message).replace(/\s+/g, ' ')}`);
  process.exit(1);
});
