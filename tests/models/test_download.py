"""Weights by name: caches, downloads from a server on the loopback, and the hub's cache; nothing leaves the machine."""

import errno
import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jaxssd.atomic import UNFINISHED
from jaxssd.models import download as downloads
from jaxssd.models.download import find_weights, is_name
from jaxssd.models.published import PUBLISHED

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()[:8]


class Handler(BaseHTTPRequestHandler):
    """`/whole`, `/other` with one byte changed, `/cut` after a part, `/huge` by its header, `/unknown` in length."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        self.server.asked.append(kind)
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if kind != "unknown":
            self.send_header("Content-Length", str(10**15 if kind == "huge" else len(CONTENT)))
        self.end_headers()
        if kind == "other":
            self.wfile.write(CONTENT[:-1] + b"?")
        elif kind in ("cut", "huge"):
            self.wfile.write(CONTENT[:100_000])
        else:
            self.wfile.write(CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Torch's folder and ours, both empty; no proxy stands before the loopback."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("JAXSSD_CACHE", str(tmp_path / "jaxssd"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "torch" / "hub" / "checkpoints", tmp_path / "jaxssd" / "weights"


@pytest.fixture
def published(server, monkeypatch):
    """Make the table's first row lie on the server, under one of the kinds above."""

    def at(kind):
        url = f"http://127.0.0.1:{server.server_port}/{kind}/net-{SHA256}.pth"
        row = PUBLISHED["resnet18"]._replace(url=url, sha256=SHA256)
        monkeypatch.setitem(PUBLISHED, "resnet18", row)
        server.asked.clear()
        return row

    return at


@pytest.mark.parametrize("kind", ["whole", "unknown"])
def test_a_download_is_kept(server, caches, published, kind):
    row = published(kind)
    path = find_weights("resnet18")
    assert path == caches[1] / row.file
    assert path.read_bytes() == CONTENT
    assert find_weights("resnet18") == path
    assert server.asked == [kind]
    assert [file.name for file in path.parent.iterdir()] == [row.file]


@pytest.mark.parametrize("place", [0, 1])
def test_caches_come_before_the_network(server, caches, published, place):
    row = published("whole")
    for folder in caches[place:]:
        folder.mkdir(parents=True)
        (folder / row.file).write_bytes(CONTENT)
    assert find_weights("resnet18") == caches[place] / row.file
    assert server.asked == []
    (caches[place] / row.file).write_bytes(CONTENT[:-1])
    with pytest.raises(
        ValueError, match=rf"{row.file} is damaged.* starts with [0-9a-f]{{8}}, expected {SHA256}; delete"
    ):
        find_weights("resnet18")


def test_torch_has_its_cache_where_torch_says(monkeypatch):
    monkeypatch.setenv("TORCH_HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert downloads.torch_cache() == Path("/xdg/torch/hub/checkpoints")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert downloads.torch_cache() == Path.home() / ".cache/torch/hub/checkpoints"


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("other", ValueError, rf"resnet18: the download is damaged.*, expected {SHA256}; try again"),
        (
            "cut",
            ConnectionError,
            r"resnet18: the connection broke after 0\.1 of 1\.3 MB.*; try again, or put http\S+ into ",
        ),
        ("missing", ConnectionError, "resnet18: the server answered 404 Not Found; try again, or put http"),
        ("huge", OSError, r"1000000000\.0 MB are needed"),
    ],
)
def test_what_is_wrong_is_not_kept(caches, published, kind, error, words):
    published(kind)
    with pytest.raises(error, match=words) as caught:
        find_weights("resnet18")
    assert "\n" not in str(caught.value)
    assert getattr(caught.value, "errno", None) == (errno.ENOSPC if kind == "huge" else None)
    assert list(caches[1].iterdir()) == []
    assert not UNFINISHED


def test_a_download_has_a_bound(caches, published, monkeypatch):
    monkeypatch.setattr(downloads, "LARGEST", len(CONTENT) - 1)
    published("unknown")
    with pytest.raises(ValueError, match=r"resnet18: the server sent more than 1\.3 MB"):
        find_weights("resnet18")
    assert list(caches[1].iterdir()) == []


def test_without_a_network_the_file_and_the_folder_are_named(caches, published):
    row = published("whole")
    closed = row._replace(url=f"http://127.0.0.1:1/{row.file}")
    with pytest.raises(ConnectionError, match="refused") as caught:
        downloads.download(closed, caches[1])
    assert str(caught.value).endswith(f"or put {closed.url} into {caches[1]}")


def test_a_folder_that_cannot_be_made_names_the_way_out(tmp_path, published):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"weights cannot be kept in .*JAXSSD_CACHE"):
        downloads.download(published("whole"), tmp_path / "file" / "weights")


def test_a_full_disk_is_no_broken_connection(caches, published, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "require_hash", full)
    with pytest.raises(OSError, match="No space left") as caught:
        find_weights(published("whole").name)
    assert caught.value.errno == errno.ENOSPC


def test_paths_are_paths(tmp_path):
    assert find_weights(str(tmp_path)) == tmp_path
    assert [is_name(word) for word in ("resnet18", "hf:timm/resnet18", "./resnet18", "resnet18.pth")] == [
        True, True, False, False,
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError, match=r"resnet19 is no file.*: expected resnet18, .*, hf:REPO"):
        find_weights("resnet19")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's cache as its client lays it out, without a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as the variable of that name sets it
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--net"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    for name in ("main", "v1"):
        (repository / "refs" / name).parent.mkdir(exist_ok=True)
        (repository / "refs" / name).write_text(COMMIT)
    return snapshot / "model.safetensors"


@pytest.mark.parametrize("revision", ["", "@v1", f"@{COMMIT}"])
def test_the_hubs_cache_serves_without_a_network(hub, revision):
    assert find_weights(f"hf:owner/net{revision}") == hub


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (
            "hf:owner/other",
            ConnectionError,
            r"hf:owner/other is not in the hub's cache.*`hf download owner/other model",
        ),
        ("hf:owner/net@v2", ConnectionError, "hf:owner/net@v2 is not in"),
        ("hf:", FileNotFoundError, "hf:: the hub has no model.safetensors"),
        ("hf:a/b/c", FileNotFoundError, "hf:a/b/c: "),
    ],
)
def test_what_the_hub_lacks_is_said_in_one_line(hub, name, error, words):
    with pytest.raises(error, match=words) as caught:
        find_weights(name)
    assert "\n" not in str(caught.value)


def test_a_broken_connection_to_the_hub_is_said_in_one_line(hub, monkeypatch):
    """Whatever the client's library for HTTP raises in the middle of a file."""

    def broken(*_, **__):
        raise RuntimeError("peer closed connection\nwithout sending complete body")

    monkeypatch.setattr(sys.modules["huggingface_hub"], "hf_hub_download", broken)
    with pytest.raises(ConnectionError, match=r"hf:owner/other cannot be downloaded \(peer closed connection\): try"):
        find_weights("hf:owner/other")


def test_without_the_client_its_name_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r'pip install -e "\.\[hub\]"'):
        find_weights("hf:owner/net")


def test_a_folder_in_the_place_of_the_file_is_no_file(caches, published):
    row = published("whole")
    (caches[0] / row.file).mkdir(parents=True)
    assert find_weights("resnet18") == caches[1] / row.file
