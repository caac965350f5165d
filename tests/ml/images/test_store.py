"""What the store promises: whole files or none, never overwritten, verified when read."""

import os
import threading
import uuid
from pathlib import Path

import pytest

from ml.images import atomic
from ml.images.decode import sha256_of
from ml.images.remote_files import RemoteFiles
from ml.images.store import FileStore, StoreError, directory_sha256


@pytest.fixture(params=["directory", "file url", "object service"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    """One store of each sort; fsspec's own in-memory service stands for S3."""
    local = tmp_path / "store"
    addresses = {
        "directory": str(local),
        "file url": local.as_uri(),
        "object service": f"memory://{uuid.uuid4().hex}",
    }
    return FileStore(addresses[request.param])


@pytest.fixture
def local(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path / "store"))


def _bundle(path: Path, **files: bytes) -> Path:
    for name, data in ({"bundle.json": b"{}", "golden/0.png": b"\x89"} | files).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def _reason(caught: pytest.ExceptionInfo[StoreError]) -> str:
    return caught.value.reason


def _leftovers(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if found.name.startswith(atomic.TEMPORARY)]


class TestImages:
    def test_bytes_come_back_under_their_sha256(self, store: FileStore) -> None:
        sha256 = store.put_image(b"picture")
        assert sha256 == sha256_of(b"picture")
        assert store.put_image(b"picture") == sha256
        assert store.image(sha256) == b"picture"
        assert store.has_image(sha256) and not store.has_image(sha256_of(b"other"))

    def test_a_missing_image_is_named(self, store: FileStore) -> None:
        with pytest.raises(StoreError, match=sha256_of(b"other")) as caught:
            store.image(sha256_of(b"other"))
        assert _reason(caught) == "missing"

    @pytest.mark.parametrize("sha256", ["", "abc", "../" * 20 + "etc", "A" * 64, "g" * 64, "0" * 63 + "/"])
    def test_only_a_sha256_names_an_image(self, store: FileStore, sha256: str) -> None:
        for ask in (store.image, store.has_image):
            with pytest.raises(StoreError) as caught:
                ask(sha256)
            assert _reason(caught) == "bad_key"

    def test_the_place_is_two_letters_deep(self, local: FileStore, tmp_path: Path) -> None:
        sha256 = local.put_image(b"picture")
        assert (tmp_path / "store" / "images" / sha256[:2] / sha256[2:]).read_bytes() == b"picture"

    def test_changed_bytes_are_noticed_and_not_overwritten(self, local: FileStore, tmp_path: Path) -> None:
        sha256 = local.put_image(b"picture")
        path = tmp_path / "store" / "images" / sha256[:2] / sha256[2:]
        path.write_bytes(b"damaged")
        with pytest.raises(StoreError) as caught:
            local.image(sha256)
        assert _reason(caught) == "changed"
        with pytest.raises(StoreError) as caught:
            local.put_image(b"picture")
        assert _reason(caught) == "exists"
        assert path.read_bytes() == b"damaged"

    def test_many_writers_of_one_image_all_succeed(self, local: FileStore, tmp_path: Path) -> None:
        data, results = os.urandom(200_000), []
        threads = [threading.Thread(target=lambda: results.append(local.put_image(data))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [sha256_of(data)] * 8
        assert local.image(results[0]) == data
        assert _leftovers(tmp_path) == []

    def test_a_write_that_fails_leaves_nothing(
        self, local: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left") as caught:
            local.put_image(b"picture")
        assert _reason(caught) == "unavailable"
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_a_mount_without_hard_links_is_served_by_renaming(
        self, local: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_links(source: object, target: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
        assert local.image(local.put_image(b"picture")) == b"picture"
        assert _leftovers(tmp_path) == []


class TestFiles:
    def test_a_file_comes_back_and_is_never_overwritten(self, store: FileStore, tmp_path: Path) -> None:
        source = tmp_path / "labels.csv"
        source.write_bytes(b"one")
        address = store.put_file(source, "datasets/1/labels.csv")
        assert address.endswith("datasets/1/labels.csv")
        assert store.put_file(source, "datasets/1/labels.csv") == address
        source.write_bytes(b"two")
        with pytest.raises(StoreError) as caught:
            store.put_file(source, "datasets/1/labels.csv")
        assert _reason(caught) == "exists"
        assert store.read_file("datasets/1/labels.csv") == b"one"

    @pytest.mark.parametrize(
        "key",
        ["", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", "..\\x", "a\0b", "a\nb", "x" * 300, ".part-x"],
    )
    def test_a_key_is_a_plain_relative_path(self, store: FileStore, tmp_path: Path, key: str) -> None:
        source = _bundle(tmp_path / "source") / "bundle.json"
        for attempt in (
            lambda: store.read_file(key),
            lambda: store.put_file(source, key),
            lambda: store.put_directory(source.parent, key),
            lambda: store.fetch_directory(key, tmp_path / "target"),
        ):
            with pytest.raises(StoreError) as caught:
                attempt()
            assert _reason(caught) == "bad_key"

    def test_a_missing_file_and_a_missing_source_are_named(self, store: FileStore, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="no datasets/9") as caught:
            store.read_file("datasets/9")
        assert _reason(caught) == "missing"
        with pytest.raises(StoreError, match="nowhere"):
            store.put_file(tmp_path / "nowhere", "datasets/9")


class TestDirectories:
    def test_a_directory_comes_back_with_all_its_files(self, store: FileStore, tmp_path: Path) -> None:
        source = _bundle(tmp_path / "source")
        address = store.put_directory(source, "models/v1")
        assert address.endswith("models/v1")
        fetched = store.fetch_directory("models/v1", tmp_path / "deep" / "target")
        assert directory_sha256(fetched) == directory_sha256(source)
        assert store.fetch_directory("models/v1", tmp_path / "deep" / "target") == fetched
        assert _leftovers(tmp_path) == []

    def test_a_repeat_does_nothing_and_other_content_is_refused(self, store: FileStore, tmp_path: Path) -> None:
        source = _bundle(tmp_path / "source")
        assert store.put_directory(source, "models/v1") == store.put_directory(source, "models/v1")
        for changed in (_bundle(tmp_path / "a", extra=b"1"), _bundle(tmp_path / "b", **{"bundle.json": b"{ }"})):
            with pytest.raises(StoreError) as caught:
                store.put_directory(changed, "models/v1")
            assert _reason(caught) == "exists"
        assert directory_sha256(store.fetch_directory("models/v1", tmp_path / "target")) == directory_sha256(source)

    def test_a_local_store_hands_out_its_own_directory(self, local: FileStore, tmp_path: Path) -> None:
        address = local.put_directory(_bundle(tmp_path / "source"), "models/v1")
        assert local.fetch_directory("models/v1", tmp_path / "target") == Path(address)
        assert not (tmp_path / "target").exists()

    def test_a_missing_directory_is_named(self, store: FileStore, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="models/v9") as caught:
            store.fetch_directory("models/v9", tmp_path / "target")
        assert _reason(caught) == "missing"

    def test_links_and_empty_directories_are_not_stored(self, store: FileStore, tmp_path: Path) -> None:
        linked = _bundle(tmp_path / "linked")
        (linked / "secret").symlink_to("/etc/passwd")
        (tmp_path / "empty").mkdir()
        for source in (linked, tmp_path / "empty", tmp_path / "nowhere"):
            with pytest.raises(StoreError):
                store.put_directory(source, "models/v1")
        with pytest.raises(StoreError):
            store.fetch_directory("models/v1", tmp_path / "target")

    def test_a_copy_that_fails_midway_leaves_no_directory(
        self, local: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[int] = []
        real = os.fsync

        def full(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) == 2:
                raise OSError(28, "No space left on device")
            real(descriptor)

        source = _bundle(tmp_path / "source")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            local.put_directory(source, "models/v1")
        assert list((tmp_path / "store" / "models").iterdir()) == []
        assert Path(local.put_directory(source, "models/v1")).is_dir()

    def test_an_upload_that_died_is_not_there_and_can_be_repeated(self, tmp_path: Path) -> None:
        store = FileStore(f"memory://{uuid.uuid4().hex}")
        source = _bundle(tmp_path / "source")
        store.put_file(source / "bundle.json", "models/v1/bundle.json")
        with pytest.raises(StoreError) as caught:
            store.fetch_directory("models/v1", tmp_path / "target")
        assert _reason(caught) == "missing"
        store.put_directory(source, "models/v1")
        assert (store.fetch_directory("models/v1", tmp_path / "target") / "golden" / "0.png").is_file()

    def test_a_remote_file_that_changed_is_noticed(self, tmp_path: Path) -> None:
        url = f"memory://{uuid.uuid4().hex}"
        store = FileStore(url)
        store.put_directory(_bundle(tmp_path / "source"), "models/v1")
        RemoteFiles(url).write("models/v1/bundle.json", b"other")
        with pytest.raises(StoreError) as caught:
            store.fetch_directory("models/v1", tmp_path / "target")
        assert _reason(caught) == "changed"
        assert not (tmp_path / "target").exists() and _leftovers(tmp_path) == []


class TestDirectorySha256:
    def test_it_depends_on_names_and_content_only(self, tmp_path: Path) -> None:
        first, second = _bundle(tmp_path / "a"), _bundle(tmp_path / "b")
        os.utime(second / "bundle.json", (1, 1))
        (second / "empty").mkdir()
        assert directory_sha256(first) == directory_sha256(second)
        renamed = _bundle(tmp_path / "c")
        (renamed / "bundle.json").rename(renamed / "bundle2.json")
        moved = _bundle(tmp_path / "d")
        (moved / "golden" / "0.png").rename(moved / "0.png")
        changed = _bundle(tmp_path / "e", **{"bundle.json": b"{ }"})
        values = {directory_sha256(path) for path in (first, renamed, moved, changed)}
        assert len(values) == 4


class TestListingAndDeleting:
    @pytest.fixture
    def filled(self, store: FileStore, tmp_path: Path) -> FileStore:
        source = tmp_path / "source"
        source.write_bytes(b"state")
        for key in ("checkpoints/run-1/job-2/a", "checkpoints/run-1/job-10/b", "checkpoints/run-10/job-3/a"):
            store.put_file(source, key)
        return store

    def test_a_prefix_is_of_whole_names(self, filled: FileStore) -> None:
        assert filled.list_files("checkpoints/run-1") == ["checkpoints/run-1/job-10/b", "checkpoints/run-1/job-2/a"]
        assert len(filled.list_files("checkpoints")) == 3
        assert filled.list_files("checkpoints/run-2") == []

    def test_what_is_deleted_is_gone_and_the_rest_stays(self, filled: FileStore) -> None:
        assert filled.delete_under("checkpoints/run-1") == 2
        assert filled.delete_under("checkpoints/run-1") == 0
        assert filled.list_files("checkpoints") == ["checkpoints/run-10/job-3/a"]
        assert not filled.has_file("checkpoints/run-1/job-2/a")

    def test_one_file_is_deleted_and_its_key_can_be_used_again(self, filled: FileStore, tmp_path: Path) -> None:
        filled.delete_file("checkpoints/run-1/job-2/a")
        filled.delete_file("checkpoints/run-1/job-2/a")
        assert filled.list_files("checkpoints/run-1") == ["checkpoints/run-1/job-10/b"]
        (tmp_path / "source").write_bytes(b"other")
        filled.put_file(tmp_path / "source", "checkpoints/run-1/job-2/a")
        assert filled.read_file("checkpoints/run-1/job-2/a") == b"other"

    @pytest.mark.parametrize("prefix", ["", ".", "..", "/", "checkpoints/..", "images", "images/ab"])
    def test_neither_images_nor_what_lies_outside_can_be_deleted(self, filled: FileStore, prefix: str) -> None:
        sha256 = filled.put_image(b"picture")
        for delete in (filled.delete_under, filled.delete_file):
            with pytest.raises(StoreError) as caught:
                delete(prefix)
            assert _reason(caught) == "bad_key"
        assert filled.has_image(sha256)

    def test_what_a_dead_process_left_is_not_listed_but_deleted(self, tmp_path: Path) -> None:
        store = FileStore(str(tmp_path / "store"))
        left = tmp_path / "store" / "runs" / f"{atomic.TEMPORARY}x" / "weights"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
        assert store.list_files("runs") == []
        store.delete_under("runs")
        assert not (tmp_path / "store" / "runs").exists()
