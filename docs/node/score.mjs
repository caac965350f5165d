// Score images with a bundle, without Afterglow:
//
//   node score.mjs BUNDLE_DIR IMAGE...        one JSON line an image: {"file", outputs by name}
//   node score.mjs BUNDLE_DIR --self-test     the golden images, beside what the export gave
//
// Exit code 1 when the self-test differs by more than a thousandth, or a file cannot be scored.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { argv, exit, stderr, stdout } from 'node:process';
import { pathToFileURL } from 'node:url';

import ort from 'onnxruntime-node';

import { toModelInput } from './preprocess.mjs';

export const TOLERANCE = 1e-3; // of a rating

/** A bundle, ready to score. */
export class Scorer {
  constructor(directory, facts, session) {
    Object.assign(this, { directory, facts, session });
  }

  static async load(directory) {
    const facts = JSON.parse(await readFile(join(directory, 'bundle.json'), 'utf8'));
    const model = await readFile(join(directory, 'model.onnx'));
    if (facts.format !== 1) throw new Error(`a bundle of format ${facts.format}; this reads format 1`);
    if (createHash('sha256').update(model).digest('hex') !== facts.model_sha256) {
      throw new Error(`${directory}/model.onnx is not the graph that bundle.json names`);
    }
    const session = await ort.InferenceSession.create(model, { executionProviders: ['cpu'], intraOpNumThreads: 1 });
    return new Scorer(directory, facts, session);
  }

  /** The outputs of an encoded image, by name. */
  async scoreImage(bytes) {
    const [height, width] = this.facts.input_size;
    return this.scorePixels(await toModelInput(bytes, height, width, this.facts.preprocessing_version));
  }

  /** The outputs of pixels of the model's own size, Uint8Array of height x width x 3, by name. */
  async scorePixels(pixels) {
    const image = new ort.Tensor('uint8', pixels, [1, ...this.facts.input_size, 3]);
    const outputs = await this.session.run({ image });
    return Object.fromEntries(this.facts.outputs.map((name) => [name, outputs[name].data[0]]));
  }

  /** For each golden image its file and the largest difference of an output from what the export gave. */
  async selfTest() {
    const found = [];
    for (const { file, expected } of this.facts.golden) {
      const outputs = await this.scoreImage(await readFile(join(this.directory, file)));
      const apart = Object.entries(expected).map(([name, value]) => Math.abs(outputs[name] - value));
      found.push({ file, difference: Math.max(...apart) });
    }
    return found;
  }
}

async function main([directory, ...files]) {
  if (files.length === 0) {
    stderr.write('usage: node score.mjs BUNDLE_DIR (IMAGE... | --self-test)\n');
    return 2;
  }
  const scorer = await Scorer.load(directory);
  if (files[0] === '--self-test') {
    const found = await scorer.selfTest();
    for (const each of found) stdout.write(`${JSON.stringify(each)}\n`);
    return found.every(({ difference }) => difference <= TOLERANCE) ? 0 : 1;
  }
  let failed = 0;
  for (const file of files) {
    try {
      stdout.write(`${JSON.stringify({ file, ...(await scorer.scoreImage(await readFile(file))) })}\n`);
    } catch (error) {
      failed = 1;
      stderr.write(`${file}: ${error.message}\n`);
    }
  }
  return failed;
}

if (import.meta.url === pathToFileURL(argv[1] ?? '').href) exit(await main(argv.slice(2)));
