/** Extensions of the pictures looked for in folders and archives, in lower case. */
export const PICTURE_EXTENSIONS = "jpg jpeg png webp gif avif tiff tif svg".split(" ");
