// From an encoded image to what a model sees, as `ml/images/decode.py` does it. sharp decodes, turns upright and
// converts to sRGB; the resize is here, since no two libraries resize alike.
//
// Pixels are a Uint8Array of height x width x 3, RGB in sRGB, 0..255.

import sharp from 'sharp';

const PRECISION_BITS = 22; // weights are whole numbers of 2^-22, as in Pillow's resize of 8-bit images

/**
 * Squash an encoded image to the fixed size of a model's input.
 *
 * @param {Uint8Array} bytes JPEG, PNG, WebP or GIF; of an animation the first frame counts.
 * @param {number} height of the result, in pixels.
 * @param {number} width of the result, in pixels.
 * @param {number} version `preprocessing_version` of the bundle: 1, or 2, which decodes a JPEG at 1/2, 1/4 or 1/8 of
 *   its size where that leaves no rest and at least the model's size.
 * @returns {Promise<Uint8Array>} height x width x 3.
 */
export async function toModelInput(bytes, height, width, version) {
  if (version !== 1 && version !== 2) throw new Error(`preprocessing version ${version} is unknown here; 1 and 2 are`);
  const { format } = await sharp(bytes).metadata();
  const { data, info } = await sharp(bytes).autoOrient().flatten({ background: '#000' }).toColourspace('srgb').raw()
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 3) throw new Error(`decoded to ${info.channels} channels in place of 3`);
  const share = version === 2 && format === 'jpeg' ? shrinkable(info.height, info.width, height, width) : 1;
  const pixels = share === 1 ? data : averaged(data, info.height, info.width, share);
  return resize(pixels, info.height / share, info.width / share, height, width);
}

/** How many times smaller a JPEG is decoded: 8, 4 or 2 where that leaves no rest and at least the model's size. */
function shrinkable(inHeight, inWidth, height, width) {
  const fits = (share) => inHeight % share === 0 && inWidth % share === 0
    && inHeight / share >= height && inWidth / share >= width;
  return [8, 4, 2].find(fits) ?? 1;
}

/** Each block of share x share pixels as its mean, which is what a JPEG decoder makes of its brightness. */
function averaged(pixels, inHeight, inWidth, share) {
  const [height, width] = [inHeight / share, inWidth / share];
  const sums = new Uint32Array(height * width * 3);
  for (let y = 0; y < inHeight; y += 1) {
    for (let x = 0; x < inWidth; x += 1) {
      const [from, to] = [(y * inWidth + x) * 3, (Math.floor(y / share) * width + Math.floor(x / share)) * 3];
      for (let channel = 0; channel < 3; channel += 1) sums[to + channel] += pixels[from + channel];
    }
  }
  return Uint8Array.from(sums, (sum) => Math.floor(sum / share ** 2 + 0.5));
}

/**
 * Resize with an antialiased triangle filter, first along rows and then along columns, rounding to whole levels after
 * each: Pillow's BILINEAR, bit by bit.
 *
 * @param {Uint8Array} pixels inHeight x inWidth x 3.
 * @returns {Uint8Array} outHeight x outWidth x 3.
 */
export function resize(pixels, inHeight, inWidth, outHeight, outWidth) {
  const rows = inWidth === outWidth ? pixels : alongRows(pixels, inHeight, inWidth, outWidth);
  return inHeight === outHeight ? rows : alongColumns(rows, inHeight, outWidth, outHeight);
}

/** For each place of the result, where its inputs begin and their weights, which add up to 2^22. */
function weights(inSize, outSize) {
  const scale = inSize / outSize;
  const support = Math.max(scale, 1); // half the width of the triangle, in input pixels
  return Array.from({ length: outSize }, (_, place) => {
    const center = (place + 0.5) * scale;
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), inSize);
    const shares = [];
    for (let at = start; at < end; at += 1) shares.push(Math.max(0, 1 - Math.abs((at - center + 0.5) / support)));
    const sum = shares.reduce((total, each) => total + each, 0);
    return { start, shares: shares.map((each) => Math.trunc((each / sum) * 2 ** PRECISION_BITS + 0.5)) };
  });
}

function alongRows(pixels, height, inWidth, outWidth) {
  const out = new Uint8Array(height * outWidth * 3);
  weights(inWidth, outWidth).forEach(({ start, shares }, x) => {
    for (let y = 0; y < height; y += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 2 ** (PRECISION_BITS - 1);
        let at = (y * inWidth + start) * 3 + channel;
        for (const share of shares) {
          sum += pixels[at] * share;
          at += 3;
        }
        out[(y * outWidth + x) * 3 + channel] = level(sum);
      }
    }
  });
  return out;
}

function alongColumns(pixels, inHeight, width, outHeight) {
  const out = new Uint8Array(outHeight * width * 3);
  const stride = width * 3;
  weights(inHeight, outHeight).forEach(({ start, shares }, y) => {
    for (let x = 0; x < stride; x += 1) {
      let sum = 2 ** (PRECISION_BITS - 1);
      let at = start * stride + x;
      for (const share of shares) {
        sum += pixels[at] * share;
        at += stride;
      }
      out[y * stride + x] = level(sum);
    }
  });
  return out;
}

function level(sum) {
  return Math.min(Math.floor(sum / 2 ** PRECISION_BITS), 255);
}
