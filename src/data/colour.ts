/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number];

export const WHITE: Rgb = [255, 255, 255];

/** Rec. 601 weights of red, green and blue in luma, the grey of Pillow's mode "L" as well. */
export const LUMA: readonly [number, number, number] = [0.299, 0.587, 0.114];

export function lumaOf(r: number, g: number, b: number): number {
  return LUMA[0] * r + LUMA[1] * g + LUMA[2] * b;
}
