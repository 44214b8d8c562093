"""Uses the embedded S3 endpoint as tasks and clients do. Exits 0 when all of it works."""

import asyncio
import hashlib
import http.client
import os
import pathlib
import tempfile
import time
import urllib.parse

import pandas as pd
import pyarrow.fs
import pyarrow.parquet
import s3fs

ENDPOINT = os.environ["ENDPOINT"]
BUCKET = "my-s3-bucket"
ROOT = pathlib.Path(os.environ["STORE_DIR"]) / BUCKET
OPTIONS = dict(key="minio", secret="miniostorage", client_kwargs={"endpoint_url": ENDPOINT, "region_name": "us-east-1"})


def step(name):
    def run(function):
        start = time.monotonic()
        function()
        print(f"{name}: ok, {time.monotonic() - start:.3f} s")

    return run


def files():
    return s3fs.S3FileSystem(use_listings_cache=False, **OPTIONS)


@step("s3fs put, get, list")
def _():
    fs = files()
    assert fs.ls("") == [BUCKET], fs.ls("")
    with tempfile.TemporaryDirectory() as tmp:
        tree = pathlib.Path(tmp) / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "a b.txt").write_text("one")
        (tree / "sub" / "ü&+=%.txt").write_text("two")
        fs.put(str(tree) + "/", f"{BUCKET}/up/tree/", recursive=True)
        assert (ROOT / "up/tree/sub/ü&+=%.txt").read_text() == "two"
        fs.get(f"{BUCKET}/up/tree", str(pathlib.Path(tmp) / "back"), recursive=True)
        assert (pathlib.Path(tmp) / "back" / "a b.txt").read_text() == "one"
    assert fs.find(f"{BUCKET}/up") == [f"{BUCKET}/up/tree/a b.txt", f"{BUCKET}/up/tree/sub/ü&+=%.txt"]
    assert fs.ls(f"{BUCKET}/up/tree") == [f"{BUCKET}/up/tree/a b.txt", f"{BUCKET}/up/tree/sub"]
    assert fs.isdir(f"{BUCKET}/up/tree") and not fs.isdir(f"{BUCKET}/up/tree/a b.txt")
    assert fs.isfile(f"{BUCKET}/up/tree/a b.txt") and fs.exists(f"{BUCKET}/up") and not fs.exists(f"{BUCKET}/no")
    assert fs.glob(f"{BUCKET}/up/*/*.txt") == [f"{BUCKET}/up/tree/a b.txt"]
    assert fs.info(f"{BUCKET}/up/tree/a b.txt")["size"] == 3
    fs.cp(f"{BUCKET}/up/tree/a b.txt", f"{BUCKET}/up/copy.txt")
    fs.mv(f"{BUCKET}/up/copy.txt", f"{BUCKET}/up/moved.txt")
    assert fs.cat(f"{BUCKET}/up/moved.txt") == b"one"
    fs.rm(f"{BUCKET}/up", recursive=True)
    assert not fs.exists(f"{BUCKET}/up") and not (ROOT / "up").exists()


@step("s3fs multipart of 60 MB, range reads")
def _():
    fs = files()
    body = os.urandom(60_000_000)
    with fs.open(f"{BUCKET}/big.bin", "wb") as out:
        out.write(body)
    assert hashlib.md5((ROOT / "big.bin").read_bytes()).digest() == hashlib.md5(body).digest()
    with fs.open(f"{BUCKET}/big.bin", "rb", block_size=1 << 20) as source:
        source.seek(33_333_333)
        assert source.read(1000) == body[33_333_333 : 33_334_333]
        source.seek(-10, 2)
        assert source.read() == body[-10:]
    assert fs.cat_file(f"{BUCKET}/big.bin", start=5, end=15) == body[5:15]
    assert fs.cat_file(f"{BUCKET}/big.bin", start=-5) == body[-5:]
    with tempfile.TemporaryDirectory() as tmp:
        fs.get(f"{BUCKET}/big.bin", tmp + "/big.bin")
        assert pathlib.Path(tmp, "big.bin").read_bytes() == body
        fs.put(tmp + "/big.bin", f"{BUCKET}/big2.bin")
    assert (ROOT / "big2.bin").read_bytes() == body
    fs.copy(f"{BUCKET}/big.bin", f"{BUCKET}/big3.bin")
    assert (ROOT / "big3.bin").read_bytes() == body
    out = fs.open(f"{BUCKET}/gone.bin", "wb", autocommit=False, block_size=5 << 20)
    out.write(b"x" * 6_000_000)
    out.flush()
    out.discard()
    assert not fs.exists(f"{BUCKET}/gone.bin")


@step("s3fs pipe, touch, append, empty file")
def _():
    fs = files()
    fs.pipe(f"{BUCKET}/small", b"abc")
    with fs.open(f"{BUCKET}/small", "ab") as out:
        out.write(b"def")
    assert fs.cat(f"{BUCKET}/small") == b"abcdef"
    fs.touch(f"{BUCKET}/empty")
    assert fs.cat(f"{BUCKET}/empty") == b"" and fs.size(f"{BUCKET}/empty") == 0
    fs.makedirs(f"{BUCKET}/some/dir", exist_ok=True)
    fs.mkdir("second-bucket")
    fs.pipe("second-bucket/k", b"1")
    assert sorted(fs.ls("")) == [BUCKET, "second-bucket"]
    fs.rm("second-bucket/k")
    fs.rmdir("second-bucket")


@step("listing of 2500 objects")
def _():
    fs = files()
    (ROOT / "many").mkdir()
    for number in range(2500):
        (ROOT / "many" / f"{number:04}").write_bytes(b"x")
    assert len(fs.find(f"{BUCKET}/many")) == 2500
    fs.rm(f"{BUCKET}/many", recursive=True)
    assert not (ROOT / "many").exists()


@step("pandas and pyarrow parquet")
def _():
    frame = pd.DataFrame({"a": range(10_000), "b": [f"text {n}" for n in range(10_000)]})
    frame.to_parquet(f"s3://{BUCKET}/frames/one.parquet", storage_options=OPTIONS)
    assert pd.read_parquet(f"s3://{BUCKET}/frames/one.parquet", storage_options=OPTIONS).equals(frame)
    frame.to_csv(f"s3://{BUCKET}/frames/one.csv", index=False, storage_options=OPTIONS)
    assert pd.read_csv(f"s3://{BUCKET}/frames/one.csv", storage_options=OPTIONS).equals(frame)
    scheme, address = ENDPOINT.split("://")
    arrow = pyarrow.fs.S3FileSystem(
        access_key="minio", secret_key="miniostorage", endpoint_override=address, scheme=scheme, region="us-east-1"
    )
    assert pyarrow.parquet.read_table(f"{BUCKET}/frames/one.parquet", filesystem=arrow).num_rows == 10_000
    table = pyarrow.Table.from_pandas(frame)
    pyarrow.parquet.write_to_dataset(table.slice(0, 10), f"{BUCKET}/frames/set", partition_cols=["a"], filesystem=arrow)
    assert pyarrow.parquet.read_table(f"{BUCKET}/frames/set", filesystem=arrow).num_rows == 10
    with arrow.open_output_stream(f"{BUCKET}/frames/stream.bin") as out:
        for _ in range(15):
            out.write(b"y" * 1_000_000)
    assert arrow.get_file_info(f"{BUCKET}/frames/stream.bin").size == 15_000_000
    names = [info.base_name for info in arrow.get_file_info(pyarrow.fs.FileSelector(f"{BUCKET}/frames"))]
    assert sorted(names) == ["one.csv", "one.parquet", "set", "stream.bin"], names
    arrow.delete_file(f"{BUCKET}/frames/one.csv")


def send(method, url, body=None):
    """Sends no header that the signature does not know; urllib would add a content type."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request(method, f"{parts.path}?{parts.query}", body=body)
    response = connection.getresponse()
    return response.status, response.read()


@step("presigned URLs of both versions")
def _():
    for version in ["s3v4", "s3"]:
        config = {"signature_version": version}
        fs = s3fs.S3FileSystem(use_listings_cache=False, config_kwargs=config, **OPTIONS)
        files().pipe(f"{BUCKET}/shared file.txt", b"shared")
        url = fs.sign(f"{BUCKET}/shared file.txt", expiration=60)
        assert ("X-Amz-Signature" in url) == (version == "s3v4"), url
        assert send("GET", url) == (200, b"shared")
        assert send("PUT", url, b"other")[0] == 403
        url = fs.sign(f"{BUCKET}/given.txt", expiration=60, client_method="put_object")
        assert send("PUT", url, b"given")[0] == 200
        assert files().cat(f"{BUCKET}/given.txt") == b"given"
        assert send("PUT", url.replace("given", "taken"), b"x")[0] == 403
        assert not files().exists(f"{BUCKET}/taken.txt")


@step("wrong keys")
def _():
    for key, secret, code in [
        ("minio", "wrong", "SignatureDoesNotMatch"),
        ("nobody", "miniostorage", "InvalidAccessKeyId"),
    ]:
        fs = s3fs.S3FileSystem(key=key, secret=secret, client_kwargs=OPTIONS["client_kwargs"])
        fs.retries = 1
        try:
            fs.call_s3  # Exists.
            asyncio.run_coroutine_threadsafe(fs._pipe_file(f"{BUCKET}/w", b"x"), fs.loop).result()
            raise AssertionError(f"{key}/{secret} was accepted")
        except (PermissionError, OSError) as error:
            text = f"{error} {error.__cause__}"
            assert code in text, text
    assert not (ROOT / "w").exists()


@step("s3fs anonymous is refused")
def _():
    fs = s3fs.S3FileSystem(anon=True, client_kwargs=OPTIONS["client_kwargs"])
    try:
        fs.cat(f"{BUCKET}/small")
        raise AssertionError("anonymous was accepted")
    except PermissionError:
        pass


@step("200 small objects, one after the other")
def _():
    fs = files()
    start = time.monotonic()
    for number in range(200):
        fs.pipe(f"{BUCKET}/p/{number}", b"x" * 500)
    put = time.monotonic() - start
    start = time.monotonic()
    for number in range(200):
        assert len(fs.cat(f"{BUCKET}/p/{number}")) == 500
    print(f"  put {put * 5:.2f} ms, get {(time.monotonic() - start) * 5:.2f} ms each")
