/**
 * Gaussian blur of square planes [C, size, size], in place. The kernel is as wide as 2 * radius + 1
 * pixels and sums to 1; past the edges, the planes go on as at the edges.
 */
export function blur(planes: Float32Array, size: number, sigma: number, radius: number): void {
  const bells = Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp(-0.5 * ((i - radius) / sigma) ** 2),
  );
  const sum = bells.reduce((a, b) => a + b, 0);
  const kernel = Float32Array.from(bells, (bell) => bell / sum);
  const line = new Float32Array(size + 2 * radius);
  const area = size * size;
  for (let plane = 0; plane < planes.length; plane += area) {
    for (let i = 0; i < size; i++) blurLine(planes, plane + i * size, 1, kernel, line); // rows
    for (let i = 0; i < size; i++) blurLine(planes, plane + i, size, kernel, line); // columns
  }
}

/** Blurs what lies `stride` apart from `start` on; `line` is memory for it and its ends. */
function blurLine(
  planes: Float32Array,
  start: number,
  stride: number,
  kernel: Float32Array,
  line: Float32Array,
): void {
  const radius = (kernel.length - 1) / 2;
  const size = line.length - 2 * radius;
  for (let i = 0; i < line.length; i++) {
    const inside = Math.max(0, Math.min(i - radius, size - 1));
    line[i] = planes[start + inside * stride]!;
  }
  for (let i = 0; i < size; i++) {
    let mixed = 0;
    for (let k = 0; k < kernel.length; k++) mixed += kernel[k]! * line[i + k]!;
    planes[start + i * stride] = mixed;
  }
}
