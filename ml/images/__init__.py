"""Images as bytes and pixels: decoding, fetching, storing, hashing. Nothing here imports torch."""
