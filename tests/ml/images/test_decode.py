"""Bad-input rows 15 to 25 of the reliability rules, and the one preprocessing."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin

from ml.images import decode as decoding
from ml.images.decode import (
    ImageError,
    decode,
    inspect,
    read_model_input,
    sha256_of,
    to_model_input,
)


def _picture(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth colours that differ in every corner, so that a turn or a mirror shows."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def _bytes(image: Image.Image, name: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", body) + _chunk(b"IDAT", zlib.compress(b"\0")) + _chunk(b"IEND", b"")


def _reason(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert str(caught.value)
    return caught.value.reason


class TestAccepted:
    @pytest.mark.parametrize(
        ("name", "media_type"),
        [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
    )
    def test_the_content_names_the_media_type(self, name: str, media_type: str) -> None:
        data = _bytes(_picture(), name)
        info = inspect(data)
        assert (info.media_type, info.width, info.height) == (media_type, 48, 32)
        assert (info.byte_size, info.sha256) == (len(data), sha256_of(data))

    def test_lossless_pixels_come_back_exactly(self) -> None:
        picture = _picture()
        for data in (_bytes(picture, "PNG"), _bytes(picture, "WEBP", lossless=True)):
            pixels = decode(data)
            assert pixels.dtype == np.uint8
            assert np.array_equal(pixels, np.asarray(picture))

    def test_16_bit_grey_is_scaled_and_not_clipped(self) -> None:
        grey = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
        pixels = decode(_bytes(Image.fromarray(grey), "PNG"))
        expected = np.round(grey / 257).astype(np.uint8)
        assert np.array_equal(pixels, np.stack([expected] * 3, axis=2))

    def test_grey_one_bit_and_palette_become_rgb(self) -> None:
        picture = _picture()
        for mode in ("L", "1", "P"):
            image = picture.convert(mode)
            assert np.array_equal(decode(_bytes(image, "PNG")), np.asarray(image.convert("RGB"))), mode

    def test_cmyk_jpeg_shows_the_colours_it_means(self) -> None:
        cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        mean = decode(_bytes(cmyk, "JPEG", quality=95)).reshape(-1, 3).mean(axis=0)
        assert mean[0] > 245 and mean[1] < 10 and mean[2] < 10

    def test_transparency_is_laid_over_black(self) -> None:
        half = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
        half.putpixel((1, 0), (200, 100, 50, 0))
        grey = Image.new("LA", (2, 1), (90, 255))
        grey.putpixel((1, 0), (90, 0))
        palette = half.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
        assert decode(_bytes(half, "PNG")).tolist() == [[[200, 100, 50], [0, 0, 0]]]
        assert decode(_bytes(grey, "PNG")).tolist() == [[[90, 90, 90], [0, 0, 0]]]
        assert decode(_bytes(palette, "PNG", transparency=palette.getpixel((0, 0)))).max() == 0
        assert decode(_bytes(half.convert("RGB"), "PNG", transparency=(200, 100, 50))).max() == 0

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
    def test_every_orientation_comes_out_upright(self, name: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if name == "WEBP" else {}
        data = _bytes(_picture(), name, exif=exif, **options)
        with Image.open(io.BytesIO(data)) as reference:
            expected = np.asarray(ImageOps.exif_transpose(reference).convert("RGB"))
        assert np.array_equal(decode(data), expected)
        info = inspect(data)
        assert (info.height, info.width) == expected.shape[:2]

    def test_the_first_picture_of_an_animation_counts(self) -> None:
        first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
        for name in ("GIF", "PNG", "WEBP"):
            options = {"lossless": True} if name == "WEBP" else {}
            data = _bytes(first, name, save_all=True, append_images=[second], **options)
            assert decode(data)[0, 0].tolist() == [250, 0, 0], name

    def test_an_mpo_gives_its_first_picture_as_a_jpeg(self) -> None:
        data = _bytes(_picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (48, 32))])
        info = inspect(data)
        assert (info.media_type, info.width) == ("image/jpeg", 48)
        assert decode(data).mean() > 50

    def test_a_script_behind_a_jpeg_changes_nothing(self) -> None:
        data = _bytes(_picture(), "JPEG")
        assert np.array_equal(decode(data + b"<script>alert(1)</script>"), decode(data))


class TestColourProfiles:
    def test_a_profile_is_converted_to_srgb(self) -> None:
        profile = _wide_gamut_profile()
        plain, tagged = (
            Image.new("RGB", (4, 4), (60, 200, 60)),
            _bytes(Image.new("RGB", (4, 4), (60, 200, 60)), "PNG", icc_profile=profile),
        )
        expected = ImageCms.profileToProfile(
            plain, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert np.array_equal(decode(tagged), np.asarray(expected))
        assert decode(tagged)[0, 0].tolist() != [60, 200, 60]

    def test_an_srgb_profile_leaves_the_pixels_alone(self) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert np.array_equal(decode(_bytes(_picture(), "PNG", icc_profile=profile)), np.asarray(_picture()))

    @pytest.mark.parametrize("kind", ["garbage", "cut", "for other pixels"])
    def test_an_unusable_profile_is_ignored(self, kind: str) -> None:
        good = _wide_gamut_profile()
        profile = {"garbage": b"\xff" * 500, "cut": good[:150], "for other pixels": good}[kind]
        picture = _picture().convert("L") if kind == "for other pixels" else _picture()
        data = _bytes(picture, "PNG", icc_profile=profile)
        assert np.array_equal(decode(data), np.asarray(picture.convert("RGB")))


def _wide_gamut_profile() -> bytes:
    """The sRGB profile with red and green swapped and another name: valid, and far from sRGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tmp_").replace(b"gXYZ", b"rXYZ").replace(b"tmp_", b"gXYZ")
    return swapped.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")).replace(b"sRGB", b"test")


class TestRefused:
    @pytest.mark.parametrize("data", [b"", b"\xff", b"<!doctype html><p>404</p>", b'{"error": 1}', b"\0" * 100])
    def test_no_image(self, data: bytes) -> None:
        assert _reason(data) == "not_an_image"

    def test_an_image_without_pixels_is_none(self) -> None:
        assert _reason(_png_header(0, 0)) == "not_an_image"

    @pytest.mark.parametrize(
        "data",
        [
            b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
            b"%!PS-Adobe-3.0 EPSF-3.0\n",
            b"%PDF-1.7\n",
            b"\0\0\1\0\1\0",
            b"P6\n1 1\n255\n\0\0\0",
            b"SIMPLE  =                    T",
            b"8BPS\0\1",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            b"\0\0\0\x1cftypavif",
        ],
    )
    def test_other_formats_are_named_and_refused(self, data: bytes) -> None:
        assert _reason(data) == "format_not_allowed"

    @pytest.mark.parametrize("name", ["TIFF", "BMP", "PPM", "ICO", "JPEG2000", "EPS"])
    def test_formats_that_pillow_could_read_are_refused(self, name: str) -> None:
        assert _reason(_bytes(_picture(), name)) == "format_not_allowed"

    @pytest.mark.parametrize("size", [(50_000, 50_000), (13_000, 13_000), (20_001, 10), (10, 20_001), (7_746, 7_746)])
    def test_too_many_pixels_are_refused_from_the_header(self, size: tuple[int, int]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert _reason(_png_header(*size)) == "too_many_pixels"

    def test_jpeg_webp_and_gif_headers_are_judged_too(self) -> None:
        jpeg = bytearray(_bytes(_picture(), "JPEG"))
        at = jpeg.index(b"\xff\xc0") + 5
        jpeg[at : at + 4] = struct.pack(">HH", 13_000, 13_000)
        webp = b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (16_382).to_bytes(3, "little") * 2 + b"\0" * 80
        gif = bytearray(_bytes(_picture(), "GIF"))
        gif[6:10] = struct.pack("<HH", 12_000, 12_000)
        for data in (bytes(jpeg), webp, bytes(gif)):
            assert _reason(data) == "too_many_pixels"

    def test_a_gif_whose_first_frame_leaves_its_screen_is_judged_by_the_frame(self) -> None:
        gif = bytearray(_bytes(Image.new("P", (4, 4)), "GIF"))
        at = gif.index(b",\0\0\0\0\x04\0\x04\0")
        gif[at + 5 : at + 9] = struct.pack("<HH", 30_000, 30_000)
        assert _reason(bytes(gif)) == "too_many_pixels"

    @pytest.mark.parametrize("frames", [501, 100_000])
    def test_too_many_frames_are_refused(self, frames: int) -> None:
        data = _bytes(Image.new("P", (1, 1)), "GIF")
        at = data.index(b",\0\0\0\0\x01\0\x01\0")
        assert _reason(data[:at] + data[at:-1] * frames + b";") == "too_many_frames"

    def test_500_frames_are_taken(self) -> None:
        data = _bytes(Image.new("P", (1, 1)), "GIF")
        at = data.index(b",\0\0\0\0\x01\0\x01\0")
        assert decode(data[:at] + data[at:-1] * 500 + b";").shape == (1, 1, 3)

    def test_too_many_bytes_are_refused(self) -> None:
        assert _reason(_bytes(_picture(), "JPEG") + b"\0" * decoding.MAX_IMAGE_BYTES) == "too_large"

    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_a_cut_image_is_truncated(self, name: str, share: float) -> None:
        noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
        data = _bytes(noise, name)
        assert _reason(data[: max(12, int(len(data) * share))]) == "truncated"

    def test_a_jpeg_without_its_end_is_truncated(self) -> None:
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False
        assert _reason(_bytes(_picture(), "JPEG").removesuffix(b"\xff\xd9")) == "truncated"

    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF"])
    def test_random_damage_gives_pixels_or_an_image_error(self, name: str) -> None:
        rng = np.random.default_rng(7)
        data = _bytes(_picture(), name, save_all=True) if name == "GIF" else _bytes(_picture(), name)
        outcomes: set[object] = set()
        for _ in range(150):
            damaged = np.frombuffer(data, np.uint8).copy()
            damaged[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4, dtype=np.uint8)
            try:
                outcomes.add(decode(damaged.tobytes()).ndim)
            except ImageError as error:
                outcomes.add(error.reason)
        assert outcomes - {3}, "the damage was never seen"


class TestMetadata:
    @pytest.mark.parametrize(
        "exif",
        [
            b"Exif\0\0",
            b"Exif\0\0II*\0\xff\xff\xff\xff",
            b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
            b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0",
            b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0",
            b"Exif\0\0" + b"\xff" * 60_000,
            # A directory whose sub-directory is itself, and one that names itself as the next.
            b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
        ],
    )
    def test_broken_exif_is_dropped_without_a_warning(self, exif: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels = decode(_bytes(_picture(), "JPEG", exif=exif))
        assert pixels.shape == (32, 48, 3)

    def test_megabytes_of_exif_in_a_png_are_dropped(self) -> None:
        data = _bytes(_picture(), "PNG")
        at = data.index(b"IDAT") - 4
        huge = data[:at] + _chunk(b"eXIf", b"II*\0\x08\0\0\0" + b"\xff" * 10_000_000) + data[at:]
        assert np.array_equal(decode(huge), decode(data))

    def test_ten_megabytes_of_exif_in_a_jpeg_are_dropped(self) -> None:
        data = _bytes(_picture(), "JPEG")
        segment = b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + b"\xff" * (65_533 - 6)
        assert np.array_equal(decode(data[:2] + segment * 153 + data[2:]), decode(data))

    def test_a_text_chunk_that_unpacks_to_a_bomb_is_bad_metadata(self) -> None:
        text = PngImagePlugin.PngInfo()
        text.add_text("comment", "a" * 5_000_000, zip=True)
        assert _reason(_bytes(_picture(), "PNG", pnginfo=text)) == "bad_metadata"


class TestModelInput:
    def test_the_size_is_height_then_width_and_bytes_equal_pixels(self) -> None:
        data = _bytes(_picture(), "JPEG")
        result = to_model_input(data, 20, 30, version=1)
        assert result.shape == (20, 30, 3)
        assert result.dtype == np.uint8
        assert np.array_equal(result, to_model_input(decode(data), 20, 30, version=1))

    def test_shrinking_averages_instead_of_skipping(self) -> None:
        checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
        result = to_model_input(np.stack([checks] * 3, axis=2), 8, 8)
        assert abs(result.astype(float) - 127.5).max() < 4

    def test_the_filter_is_the_antialiased_triangle(self) -> None:
        pixels = np.zeros((1, 8, 3), np.uint8)
        pixels[0, 3] = 255
        # A triangle of half-width 4 px around output centres at 2 and 6 px; the tap at 3.5 px, cut at the border.
        taps = np.maximum(0, 1 - np.abs(np.arange(8) + 0.5 - np.array([[2.0], [6.0]])) / 4)
        expected = np.round(255 * taps[:, 3] / taps.sum(axis=1))
        assert abs(to_model_input(pixels, 1, 2)[0, :, 0] - expected).max() <= 1

    def test_one_decode_tells_what_it_is_and_what_a_model_sees(self) -> None:
        for name in ("JPEG", "PNG"):
            data = _bytes(_picture(96, 64), name)
            for version in (1, 2):
                info, pixels = read_model_input(data, 20, 30, version)
                assert info == inspect(data)
                assert np.array_equal(pixels, to_model_input(data, 20, 30, version))

    @pytest.mark.parametrize("version", [0, 3, 99])
    def test_an_unknown_version_names_the_known_ones(self, version: int) -> None:
        with pytest.raises(ValueError, match=rf"version {version} is unknown; this release knows 1, 2$"):
            to_model_input(_bytes(_picture(), "JPEG"), 8, 8, version=version)

    @pytest.mark.parametrize(
        "spoil", [lambda p: p.astype(float), lambda p: p[:, :, 0], lambda p: p[:0], lambda p: p[:, :, :2]]
    )
    def test_other_arrays_are_refused(self, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
        with pytest.raises(ValueError, match="uint8"):
            to_model_input(spoil(np.asarray(_picture())), 8, 8)


_FUZZ = """
import io, sys, numpy as np
from PIL import Image
from ml.images.decode import ImageError, read_model_input
rng = np.random.default_rng(int(sys.argv[2]))
image = Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).resize((112, 80))
out = io.BytesIO()
more = dict(save_all=True, append_images=[image.rotate(9)]) if sys.argv[1] in ("GIF", "WEBP") else {}
image.save(out, sys.argv[1], **more)
whole, outcomes = out.getvalue(), {}
for turn in range(300):
    data = bytearray(whole)
    kind = turn % 4
    at, to = sorted(rng.integers(0, len(data), 2))
    if kind == 0:
        for place in rng.integers(0, len(data), 1 + turn % 7):
            data[place] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:
        del data[to:]
    elif kind == 2:
        size = int(rng.integers(1, 40))
        data[at : at + size], data[to : to + size] = data[to : to + size], data[at : at + size]
    else:
        data[at:at] = rng.bytes(int(rng.integers(1, 30)))
    try:
        read_model_input(bytes(data), 16, 24, 1 + turn // 4 % 2)
        reason = "pixels"
    except ImageError as error:
        reason = error.reason
    outcomes[reason] = outcomes.get(reason, 0) + 1
print(sorted(outcomes))
"""


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF"])
def test_damaged_files_give_pixels_or_an_image_error_and_never_a_crash(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FUZZ, name, "11"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "truncated" in done.stdout


def test_decoding_needs_no_torch() -> None:
    modules = "ml.images.decode, ml.images.store, ml.images.fetch, ml.images.hashing"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "False"
