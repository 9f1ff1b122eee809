"""One image file: JPEG, PNG, TIFF, DICOM."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from test_data_files import picture, put

from medrob.data import decode, load


@pytest.mark.parametrize("name", ["1.png", "3.png", "4.png", "3.bmp", "3.jpg"])
def test_what_pillow_reads(tmp_path, name):
    colours = int(name[0])
    file = put(tmp_path / name, picture(3, 24, colours))
    with Image.open(file) as image:
        theirs = np.asarray(image).reshape(24, 24, -1)[..., :3]
    ours = decode.read(file)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= (2 if name == "3.jpg" else 0)
    grey, three = (decode.fit(ours, size=0, channels=n, levels=(0, 255)) for n in (1, 3))
    luma = ours @ [0.299, 0.587, 0.114] if colours > 1 else ours[..., 0]
    assert grey.shape == (24, 24, 1) and np.abs(grey[..., 0] - luma).max() < 0.51
    assert (three == ours).all() and three.shape == (24, 24, 3)
    small = decode.fit(ours, size=12, channels=3, levels=(0, 255))
    assert np.abs(small - three.reshape(12, 2, 12, 2, 3).mean((1, 3))).max() <= 0.5  # by area


def test_a_jpeg_that_was_cut_off_is_refused(tmp_path):
    small, large = Image.fromarray(picture(1, side=32)), Image.fromarray(picture(2, side=256))
    small.save(tmp_path / "small.jpg")
    thumbnail = b"Exif\0\0" + (tmp_path / "small.jpg").read_bytes()
    for options in ({}, {"exif": thumbnail}):
        large.save(tmp_path / "a.jpg", **options)
        content = (tmp_path / "a.jpg").read_bytes()
        (tmp_path / "a.jpg").write_bytes(content + b"\0\0")  # padded
        assert decode.read(tmp_path / "a.jpg").shape == (256, 256, 1)
        (tmp_path / "a.jpg").write_bytes(content[: len(content) * 6 // 10])
        with pytest.raises(decode.UnreadableError, match="cut off: a JPEG without its end"):
            decode.read(tmp_path / "a.jpg")
    content = put(tmp_path / "a.jp2", picture(2, side=256)).read_bytes()
    assert decode.read(tmp_path / "a.jp2").shape == (256, 256, 1)
    (tmp_path / "a.jp2").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(decode.UnreadableError, match="cut off: a JPEG without its end"):
        decode.read(tmp_path / "a.jp2")
    named = put(tmp_path / "b.png", picture()).rename(tmp_path / "b.jpg")  # OpenCV looks at what it is
    assert decode.read(named).shape == (16, 16, 1)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_pictures_are_turned_as_the_camera_says(tmp_path, name):
    exif, image = Image.Exif(), np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 50, np.ones((8, 8)))
    exif[274] = 6  # its top is on the right: turn it by 90 degrees
    options = {} if name == "a.tif" else {"quality": 95, "lossless": True}
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / name, exif=exif, **options)
    assert np.abs(decode.read(tmp_path / name)[..., 0] - np.rot90(image, -1)).max() < 5


@pytest.mark.parametrize("white", [100, 255, 4095, 65535])
def test_white_of_a_pgm_is_what_it_says(tmp_path, white):
    image = np.arange(64).reshape(8, 8) * white // 63
    for kind, pixels in (
        (b"P2", b" ".join(str(v).encode() for v in image.ravel()) + b"\n"),
        (b"P5", image.astype(">u2" if white > 255 else "u1").tobytes()),
    ):
        (tmp_path / "a.pgm").write_bytes(kind + b"\n# of a scanner 1\n8 8\n%d\n" % white + pixels)
        ours, declared = decode.read(tmp_path / "a.pgm"), decode._declared(tmp_path / "a.pgm")
        levels = declared or (0, 255 if white < 256 else white)
        assert (
            np.abs(decode.fit(ours, size=0, channels=1, levels=levels)[..., 0] - image * 255 / white).max()
            < 1
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_stored_as_nothing_and_several_pages(tmp_path, dtype):
    image, file = picture(5, dtype=dtype), tmp_path / "a.tif"
    for kind, wanted in (("minisblack", image), ("miniswhite", np.iinfo(dtype).max - image)):
        tifffile.imwrite(file, image, photometric=kind)
        assert (decode.read(file)[..., 0] == wanted).all(), kind
    tifffile.imwrite(file, np.stack([image, image]), photometric="minisblack")
    with pytest.raises(decode.UnreadableError, match="2 pictures in one file; give one file for each"):
        decode.read(file)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_image_in_a_tiny_file_is_not_decoded(tmp_path):
    Image.new("1", (10_000, 10_001)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 65536
    with pytest.raises(decode.UnreadableError, match=r"pixels.*; cut it into tiles or make it smaller"):
        decode.read(tmp_path / "a.png")


def dicom(file, pixels, *, padding=None, **changes):
    """A DICOM file of these stored values; `padding` is a value representation and a value."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(file)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d = pydicom.Dataset()
    d.file_meta, d.SOPClassUID, d.SOPInstanceUID = meta, meta.MediaStorageSOPClassUID, "1.2.3"
    d.Rows, d.Columns = pixels.shape
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    for key, value in changes.items():
        setattr(d, key, value)
    if padding:
        d.add_new("PixelPaddingValue", *padding)
    d.PixelData = pixels.astype(np.uint16).tobytes()  # of signed values the same bits
    d.save_as(file, enforce_file_format=True)
    return file


def items(**values):
    """A sequence of one item."""
    item = pydicom.Dataset()
    for key, value in values.items():
        setattr(item, key, value)
    return [item]


def lut(function, entries=4096, bits=16):
    table = np.rint(function(np.arange(entries) / (entries - 1)) * (2**bits - 1))
    return items(LUTDescriptor=[entries, 0, bits], LUTData=table.astype(np.uint16).tobytes())


def shown(file):
    """The image of a file; without a window from its darkest pixel to its brightest, padding black."""
    image = decode.read(file)
    levels = np.nanmin(image), np.nanmax(image)
    return image if image.dtype == np.uint8 else decode.fit(image, size=0, channels=1, levels=levels)


@pytest.mark.parametrize(
    "window",
    [
        dict(WindowCenter=40, WindowWidth=400, RescaleSlope=1, RescaleIntercept=-1024),
        dict(WindowCenter=[900, 40], WindowWidth=[1500, 80]),
        dict(WindowCenter=600.5, WindowWidth=300, VOILUTFunction="LINEAR_EXACT"),
        dict(WindowCenter=2000, WindowWidth=600, VOILUTFunction="SIGMOID"),
        dict(VOILUTSequence=lut(np.sqrt), WindowCenter=1000, WindowWidth=900),
        dict(VOILUTSequence=lut(np.square, bits=12), RescaleSlope=1, RescaleIntercept=0),
        dict(ModalityLUTSequence=lut(np.sqrt), WindowCenter=30000, WindowWidth=20000),
        dict(WindowCenter=1000, WindowWidth=900, PhotometricInterpretation="MONOCHROME1"),
    ],
)
def test_dicom_goes_through_its_window(tmp_path, window):
    stored = np.arange(4096).reshape(64, 64)
    file = dicom(tmp_path / "a.dcm", stored, **window)
    ours = decode.read(file)[..., 0]
    dataset = pydicom.dcmread(file)
    theirs = pydicom.pixels.apply_voi_lut(pydicom.pixels.apply_modality_lut(stored, dataset), dataset)
    theirs = (theirs - theirs.min()) / np.ptp(theirs) * 255
    theirs = 255 - theirs if "PhotometricInterpretation" in window else theirs
    assert ours.dtype == np.uint8 and np.abs(ours - theirs).max() < 0.51
    scale = {key: window[key] for key in ("RescaleSlope", "RescaleIntercept") if key in window}
    voi = {key: window[key] for key in ("WindowCenter", "WindowWidth", "VOILUTFunction") if key in window}
    if "ModalityLUTSequence" not in window and "VOILUTSequence" not in window:  # the same as an enhanced file
        frame = items(FrameVOILUTSequence=items(**voi), PixelValueTransformationSequence=items(**scale))
        shared = items(FrameVOILUTSequence=items(WindowCenter=1, WindowWidth=2))
        groups = dict(PerFrameFunctionalGroupsSequence=frame, SharedFunctionalGroupsSequence=shared)
        rest = {key: value for key, value in window.items() if key not in scale | voi}
        assert (decode.read(dicom(file, stored, **rest, **groups))[..., 0] == ours).all()


def test_pydicoms_own_files_are_read_as_pydicom_reads_them():
    root = Path(pydicom.__file__).with_name("data") / "test_files"
    for name in ("RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "expb", "padded"):
        assert (shown(root / f"MR_small_{name}.dcm") == shown(root / "MR_small.dcm")).all(), name
    colours = "SC_rgb_jpeg_gdcm SC_rgb_rle SC_ybr_full_422_uncompressed SC_rgb_jpeg_dcmtk GDCMJ2K_TextGBR"
    for name in (*colours.split(), "examples_jpeg2k", "SC_rgb_jls_lossy_line", "SC_rgb_dcmtk_+eb+cy+np"):
        file = root / f"{name}.dcm"
        assert (decode.read(file) == pydicom.pixels.pixel_array(file)).all(), name  # YBR as RGB
    palette = pydicom.dcmread(root / "examples_palette.dcm")
    theirs = pydicom.pixels.apply_color_lut(palette.pixel_array, palette)
    assert np.abs(decode.read(root / "examples_palette.dcm") - theirs / 257).max() <= 1
    for name in ("JPEG2000", "JPGExtended", "JPEG-lossy", "image_dfl", "CT_small", "JPEGLSNearLossless_16"):
        dataset, image = pydicom.dcmread(root / f"{name}.dcm"), decode.read(root / f"{name}.dcm")[..., 0]
        twelve = dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGExtended12Bit  # the same picture
        pixels = pydicom.dcmread(root / "JPEG2000.dcm").pixel_array if twelve else dataset.pixel_array
        assert np.corrcoef(image.ravel(), pixels.ravel())[0, 1] > (0.95 if twelve else 0.9999), name
    for name, why in {"test-SR": "Comprehensive SR", "rtdose": "15 pictures", "no_meta": "damaged"}.items():
        with pytest.raises(decode.UnreadableError, match=why):
            decode.read(root / f"{name}.dcm")


@pytest.mark.parametrize("vr, value, stored", [("SS", -2000, -2000), ("US", 63536, -2000), ("SS", -1, 65535)])
def test_padding_is_found_whether_written_as_signed_or_unsigned(tmp_path, vr, value, stored):
    pixels = np.tile(np.arange(100, 900, 100), (8, 1))
    pixels[:, :2] = stored
    kind = dict(BitsStored=16, HighBit=15, PixelRepresentation=int(stored < 0))
    image = shown(dicom(tmp_path / "a.dcm", pixels, padding=(vr, value), **kind))
    assert image[0, :, 0].tolist() == [0, 0, 0, 51, 102, 153, 204, 255]


def test_dicom_by_its_content_whatever_it_is_called(tmp_path):
    stored = 1000 + picture(3, dtype=np.uint16, side=8) // 32
    named, uid = (dicom(tmp_path / name, stored) for name in ("a.dcm", "1.2.840.10008.5.1"))
    assert (decode.read(uid) == decode.read(named)).all()
    assert decode.form(named)[0] == "DICOM, MONOCHROME2, 12 bit"  # of no modality
    bare = put(tmp_path / "a.png", picture(4)).rename(tmp_path / "scan")
    assert (decode.read(bare)[..., 0] == picture(4)).all()
    wrong = [dicom(tmp_path / "b.png", stored), bare.rename(tmp_path / "c.dcm")]
    assert [decode.form(file)[0].partition(",")[0] for file in wrong] == ["DICOM", "PNG"]
    assert (decode.read(wrong[0]) == decode.read(named)).all() and (
        decode.read(wrong[1])[..., 0] == picture(4)
    ).all()
    for k in range(20):
        (tmp_path / "scans" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        dicom(tmp_path / "scans" / "ab"[k % 2] / f"IM{k}{'.png' * (k % 3)}", stored + k)
    test = load(str(tmp_path / "scans"))  # and a set of them: as many bits as are stored
    away = [np.abs((stored + k) / 4095 * 255 - test.images[0, ..., 0]).max() for k in range(20)]
    assert test.images.shape == (4, 8, 8, 1) and min(away) < 0.51


def test_padding_is_black_in_both_senses_of_grey(tmp_path, monkeypatch):
    stored = np.full((8, 8), 600)
    stored[:, :2], stored[4, 4] = 0, 100
    for kind, bright in (("MONOCHROME1", 100), ("MONOCHROME2", 600)):
        file = dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation=kind, PixelPaddingValue=0)
        image = shown(file)[..., 0]
        assert (image[:, :2] == 0).all() and (image[stored == bright] == 255).all()
    monkeypatch.setattr(decode, "MOST_PIXELS", 50)
    with pytest.raises(decode.UnreadableError, match="8x8 pixels are more than 50"):
        decode.read(file)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(WindowCenter="nan", WindowWidth="9"), "its window or its rescaling is NaN"),
        (dict(RescaleSlope="nan", RescaleIntercept="0"), "its window or its rescaling is NaN"),
        (dict(HighBit=15), "its 12 bits end at bit 15"),
        (dict(Rows=10), "bytes of pixels, and its size needs .*: damaged"),
    ],
)
def test_a_damaged_header_of_dicom(tmp_path, changes, match):
    dicom(tmp_path / "a.dcm", np.ones((16, 16), np.uint16), **changes)
    with pytest.raises(decode.UnreadableError, match=match):
        decode.read(tmp_path / "a.dcm")


def test_grey_turned_over_is_as_bright_in_every_file_and_a_study_stays_whole(tmp_path):
    """16 of 16 bits without a window, one PatientID for all, as files are often made anonymous."""
    rng = np.random.default_rng(0)
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        for k in range(20):
            stored = rng.integers(0, 4000 + 400 * (k % 2), (16, 16))  # on both sides of a power of two
            stored = 4400 - stored if kind == "MONOCHROME1" else stored
            (tmp_path / kind / "ab"[k // 2 % 2]).mkdir(parents=True, exist_ok=True)
            dicom(
                *(tmp_path / kind / "ab"[k // 2 % 2] / f"{k}.dcm", stored), PhotometricInterpretation=kind,
                BitsStored=16, HighBit=15, PatientID="ANON", StudyInstanceUID=f"1.2.{k // 2}",
            )  # fmt: skip
        with pytest.warns(UserWarning, match=r"'StudyInstanceUID of DICOM' stay in one split \(10 groups\)"):
            sets = [load(str(tmp_path / kind), split) for split in ("train", "val", "test")]
        means = np.concatenate([data.images.mean((1, 2, 3)) for data in sets])
        assert means.min() > 90 and means.max() < 170, (kind, means)


def test_images_that_share_any_tag_of_an_owner_stay_together(tmp_path):
    for tag in ("PatientName", "SeriesInstanceUID", "FrameOfReferenceUID", "AccessionNumber", "Modality"):
        for k in range(20):
            (tmp_path / tag / "ab"[k // 2 % 2]).mkdir(parents=True, exist_ok=True)
            file = tmp_path / tag / "ab"[k // 2 % 2] / f"{k}.dcm"
            dicom(file, picture(k, dtype=np.uint16), PatientID="", **{tag: f"1.2.{k // 2}"})
        told = rf"'{tag} of DICOM' stay in one split \(10 groups\)"
        told = r"tags of DICOM that could name an owner: 6 .*link no images" if tag == "Modality" else told
        with pytest.warns(UserWarning, match=told):
            load(str(tmp_path / tag))


def test_colours_of_a_tiff_are_not_multiplied_by_its_alpha(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    assert (decode.read(tmp_path / "a.tif") == pixels[..., :3]).all()


def test_transparent_parts_and_black_masks_are_told(tmp_path):
    for k in range(20):
        put(tmp_path / "ab"[k % 2] / f"{k}.png", picture(k, colours=4))
        put(tmp_path / "ab"[k % 2] / f"{k}_mask.png", np.zeros((16, 16), np.uint8))
    with pytest.warns(UserWarning) as told:
        load(str(tmp_path))
    said = "\n".join(str(warning.message) for warning in told)
    assert "images with transparent parts: 20" in said and "no mask marks anything: 20 are black" in said
