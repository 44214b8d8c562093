"""Serves the buckets of this machine to s3fs straight from their directories.

An object is the file `<bucket directory>/<key>`, exactly as the embedded S3 endpoint of the host keeps it. Everything
that s3fs does ends in one call, `_call_s3(operation, ...)`: here that call is answered from the file system for the
buckets that are known, in the shapes botocore would return. Paths, caches, buffering and errors stay those of s3fs,
and what is not answered here (other buckets, odd keys, rare operations) goes over HTTP as ever.
"""

import datetime
import mimetypes
import os
import uuid

from botocore.exceptions import ClientError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem
from s3fs.errors import translate_boto_error

# Requests with any of these mean something that plain files do not know.
UNUSUAL = {"VersionId", "IfModifiedSince", "IfUnmodifiedSince", "ContinuationToken", "StartAfter"}


class Buckets:
    """Which buckets are where."""

    def __init__(self, directories, temporary):
        self.directories = directories
        self.temporary = temporary

    def path(self, bucket, key):
        """The file of an object; None if HTTP has to deal with it."""
        directory = self.directories.get(bucket)
        if directory is None or not key or len(key.encode("utf-8", "surrogateescape")) > 1024 or "\0" in key:
            return None
        if any(part in ("", ".", "..") for part in key.split("/")):
            return None
        return os.path.join(directory, key)

    def new_file(self, bucket):
        """A file that is not visible as an object, on the same file system."""
        directory = self.temporary or os.path.join(os.path.dirname(os.path.dirname(self.directories[bucket])), ".tmp")
        path = os.path.join(directory, f"{os.getpid():x}-{uuid.uuid4().hex}")
        try:
            return open(path, "xb")
        except FileNotFoundError:
            os.makedirs(directory, exist_ok=True)
            return open(path, "xb")


def embed(endpoint, directories, temporary):
    """The file system class for the buckets that this endpoint serves from these directories."""
    buckets = Buckets(directories, temporary)

    class EmbeddedS3FileSystem(S3FileSystem):
        __doc__ = S3FileSystem.__doc__

        async def _call_s3(self, operation, *akwarglist, **kwargs):
            answer = ANSWERS.get(operation)
            ours = kwargs.get("Bucket") in buckets.directories and self._endpoint() == endpoint
            if answer is not None and ours and UNUSUAL.isdisjoint(kwargs):
                arguments = {}
                for more in (*akwarglist, kwargs):
                    arguments.update(more)
                try:
                    response = answer(buckets, **arguments)
                except ClientError as error:
                    raise translate_boto_error(error)
                if response is not None:
                    response.setdefault("ResponseMetadata", {"HTTPStatusCode": 200, "HTTPHeaders": {}})
                    return response
            return await super()._call_s3(operation, *akwarglist, **kwargs)

        call_s3 = sync_wrapper(_call_s3)

        def _endpoint(self):
            given = self.endpoint_url or self.client_kwargs.get("endpoint_url")
            return given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")

    EmbeddedS3FileSystem.__name__ = EmbeddedS3FileSystem.__qualname__ = "S3FileSystem"
    return EmbeddedS3FileSystem


def failure(operation, status, code, message):
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation)


def tag(stat):
    # Derived from the file alone and in the same way by the endpoint, so that both always agree.
    nanos = stat.st_mtime_ns % 1_000_000_000
    return f'"{stat.st_mtime_ns // 1_000_000_000:x}{nanos:08x}-{stat.st_ino:x}-{stat.st_size:x}"'


def moment(nanos):
    return datetime.datetime.fromtimestamp(nanos // 1_000_000_000, tz=datetime.timezone.utc).replace(
        microsecond=nanos % 1_000_000_000 // 1000
    )


def is_directory(stat):
    return stat.st_mode & 0o170000 == 0o040000


def describe(key, stat, length):
    content_type, _ = mimetypes.guess_type(key)
    return {
        "ETag": tag(stat),
        "LastModified": moment(stat.st_mtime_ns - stat.st_mtime_ns % 1_000_000_000),
        "ContentLength": length,
        "ContentType": content_type or "binary/octet-stream",
        "AcceptRanges": "bytes",
        "Metadata": {},
        "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"content-length": str(length)}},
    }


def head_object(buckets, Bucket, Key, IfMatch=None, IfNoneMatch=None, PartNumber=None, **_):
    path = buckets.path(Bucket, Key)
    if path is None or IfNoneMatch is not None or PartNumber is not None:
        return None
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        stat = None
    if stat is None or is_directory(stat):
        raise failure("HeadObject", 404, "404", "Not Found")
    if IfMatch is not None and IfMatch != tag(stat):
        raise failure("HeadObject", 412, "412", "Precondition Failed")
    return describe(Key, stat, stat.st_size)


class Body:
    """The bytes of an object, read as from a socket."""

    def __init__(self, file, length):
        self.file = file
        self.left = length

    async def read(self, amount=None):
        wanted = self.left if amount is None or amount < 0 else min(amount, self.left)
        data = self.file.read(wanted)
        self.left -= len(data)
        return data

    def close(self):
        self.file.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.close()


def get_object(buckets, Bucket, Key, Range=None, IfMatch=None, IfNoneMatch=None, PartNumber=None, **_):
    path = buckets.path(Bucket, Key)
    if path is None or IfNoneMatch is not None or PartNumber is not None:
        return None
    try:
        file = open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise failure("GetObject", 404, "NoSuchKey", "The specified key does not exist.") from None
    stat = os.fstat(file.fileno())
    if IfMatch is not None and IfMatch != tag(stat):
        file.close()
        message = "At least one of the pre-conditions you specified did not hold"
        raise failure("GetObject", 412, "PreconditionFailed", message)
    start, end = 0, stat.st_size
    if Range:
        first, _, last = Range[len("bytes=") :].partition("-")
        if first:
            start, end = int(first), min(int(last) + 1, end) if last else end
        else:
            start = max(0, end - int(last))
        if start >= stat.st_size:
            file.close()
            raise failure("GetObject", 416, "InvalidRange", "The requested range is not satisfiable")
        file.seek(start)
    response = describe(Key, stat, end - start)
    if Range:
        response["ContentRange"] = f"bytes {start}-{end - 1}/{stat.st_size}"
    response["Body"] = Body(file, end - start)
    return response


def place(file, path, exclusive=False):
    """Makes a finished file the object; None if the key is not possible beside the others."""
    with file:
        stat = os.fstat(file.fileno())
    while True:
        try:
            if exclusive:
                os.link(file.name, path)
                os.unlink(file.name)
            else:
                os.rename(file.name, path)
            return {"ETag": tag(stat)}
        except FileExistsError:
            os.unlink(file.name)
            raise ClientError(
                {
                    "Error": {
                        "Code": "PreconditionFailed",
                        "Message": "At least one of the pre-conditions you specified did not hold",
                        "Condition": "If-None-Match",
                    }
                },
                "PutObject",
            ) from None
        except FileNotFoundError:
            # The directory is new, or a deletion has just removed it.
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                break
        except (NotADirectoryError, IsADirectoryError):
            try:
                # An empty directory is none to S3.
                os.rmdir(path)
            except OSError:
                break
    os.unlink(file.name)
    return None


def fill(file, body):
    if hasattr(body, "read"):
        while piece := body.read(1 << 20):
            file.write(piece)
    elif isinstance(body, str):
        file.write(body.encode())
    else:
        file.write(body)
    file.flush()


def put_object(buckets, Bucket, Key, Body=b"", IfMatch=None, IfNoneMatch=None, **_):
    path = buckets.path(Bucket, Key)
    if path is None or IfMatch is not None:
        return None
    file = buckets.new_file(Bucket)
    fill(file, Body)
    return place(file, path, exclusive=IfNoneMatch is not None)


def copy_source(buckets, source):
    if isinstance(source, str):
        bucket, _, key = source.lstrip("/").partition("/")
    elif "VersionId" in source:
        return None
    else:
        bucket, key = source["Bucket"], source["Key"]
    return buckets.path(bucket, key)


def copy_bytes(source, target, start=0, end=None):
    with open(source, "rb") as file:
        end = os.fstat(file.fileno()).st_size if end is None else end
        while start < end:
            copied = os.sendfile(target.fileno(), file.fileno(), start, min(end - start, 1 << 30))
            if copied == 0:
                break
            start += copied


def copy_object(buckets, Bucket, Key, CopySource, **_):
    path, source = buckets.path(Bucket, Key), copy_source(buckets, CopySource)
    if path is None or source is None or not os.path.isfile(source):
        return None
    file = buckets.new_file(Bucket)
    copy_bytes(source, file)
    placed = place(file, path)
    return placed and {"CopyObjectResult": placed}


def delete_object(buckets, Bucket, Key, **_):
    path = buckets.path(Bucket, Key)
    if path is None:
        return None
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return {}
    # Directories come and go with their objects.
    root, parent = buckets.directories[Bucket], os.path.dirname(path)
    try:
        while len(parent) > len(root):
            os.rmdir(parent)
            parent = os.path.dirname(parent)
    except OSError:
        pass
    return {}


def delete_objects(buckets, Bucket, Delete, **_):
    keys = [item["Key"] for item in Delete["Objects"]]
    if any(buckets.path(Bucket, key) is None for key in keys):
        return None
    for key in keys:
        delete_object(buckets, Bucket, key)
    return {} if Delete.get("Quiet") else {"Deleted": [{"Key": key} for key in keys]}


def head_bucket(buckets, Bucket, **_):
    if not os.path.isdir(buckets.directories[Bucket]):
        return None
    return {}


def entries(directory):
    """Names in a directory in the order of keys; those of directories end with a slash."""
    try:
        with os.scandir(directory) as found:
            names = []
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    names.append(entry.name + "/")
                elif entry.is_file(follow_symlinks=False):
                    names.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(names, key=os.fsencode)


def walk(root, base, prefix):
    """Keys below `base` (which ends with a slash, or is empty) that start with `prefix`, in order."""
    for name in entries(os.path.join(root, base)):
        key = base + name
        if name.endswith("/"):
            if key.startswith(prefix) or prefix.startswith(key):
                yield from walk(root, key, prefix)
        elif key.startswith(prefix):
            yield key


def list_objects_v2(buckets, Bucket, Prefix="", Delimiter="", MaxKeys=None, **_):
    root = buckets.directories[Bucket]
    base = Prefix[: Prefix.rfind("/") + 1]
    if Delimiter not in ("", "/") or "\0" in Prefix or not os.path.isdir(root):
        return None
    if any(part in ("", ".", "..") for part in base.split("/")[:-1]):
        return None
    contents, prefixes = [], []
    full = lambda: MaxKeys is not None and len(contents) + len(prefixes) >= MaxKeys  # noqa: E731
    if Delimiter:
        for name in entries(os.path.join(root, base)):
            key = base + name
            if not key.startswith(Prefix):
                continue
            if full():
                break
            if not name.endswith("/"):
                contents.append(key)
            elif next(walk(root, key, key), None) is not None:
                prefixes.append({"Prefix": key})
    else:
        for key in walk(root, base, Prefix):
            if full():
                break
            contents.append(key)
    listed = []
    for key in contents:
        try:
            stat = os.lstat(os.path.join(root, key))
        except FileNotFoundError:
            continue
        listed.append(
            {
                "Key": key,
                "LastModified": moment(stat.st_mtime_ns - stat.st_mtime_ns % 1_000_000),
                "ETag": tag(stat),
                "Size": stat.st_size,
                "StorageClass": "STANDARD",
            }
        )
    response = {"IsTruncated": False, "KeyCount": len(listed) + len(prefixes), "Name": Bucket, "Prefix": Prefix}
    # As botocore: what is empty is not there.
    if listed:
        response["Contents"] = listed
    if prefixes:
        response["CommonPrefixes"] = prefixes
    return response


# Parts of unfinished uploads, by upload and number.
UPLOADS = {}


def create_multipart_upload(buckets, Bucket, Key, **_):
    if buckets.path(Bucket, Key) is None:
        return None
    upload = f"embedded-{uuid.uuid4().hex}"
    UPLOADS[upload] = {}
    return {"Bucket": Bucket, "Key": Key, "UploadId": upload}


def upload_part(buckets, Bucket, UploadId, PartNumber=None, Body=b"", **_):
    if UploadId not in UPLOADS:
        return None
    with buckets.new_file(Bucket) as file:
        fill(file, Body)
        UPLOADS[UploadId][PartNumber] = file.name
        return {"ETag": tag(os.fstat(file.fileno()))}


def upload_part_copy(buckets, Bucket, UploadId, CopySource, PartNumber=None, CopySourceRange=None, **_):
    if UploadId not in UPLOADS:
        return None
    source = copy_source(buckets, CopySource)
    if source is None or not os.path.isfile(source):
        raise failure("UploadPartCopy", 404, "NoSuchKey", "The specified key does not exist.")
    start, end = 0, None
    if CopySourceRange:
        first, _, last = CopySourceRange[len("bytes=") :].partition("-")
        start, end = int(first), int(last) + 1
    with buckets.new_file(Bucket) as file:
        copy_bytes(source, file, start, end)
        UPLOADS[UploadId][PartNumber] = file.name
        return {"CopyPartResult": {"ETag": tag(os.fstat(file.fileno()))}}


def complete_multipart_upload(buckets, Bucket, Key, UploadId, MultipartUpload=None, IfNoneMatch=None, **_):
    if UploadId not in UPLOADS:
        return None
    parts = UPLOADS.pop(UploadId)
    file = buckets.new_file(Bucket)
    for part in (MultipartUpload or {}).get("Parts", []):
        copy_bytes(parts[part["PartNumber"]], file)
    for name in parts.values():
        os.unlink(name)
    placed = place(file, buckets.path(Bucket, Key), exclusive=IfNoneMatch is not None)
    if placed is None:
        raise failure("CompleteMultipartUpload", 409, "409", f"{Key} is in the way of other objects")
    return placed


def abort_multipart_upload(buckets, UploadId, **_):
    if UploadId not in UPLOADS:
        return None
    for name in UPLOADS.pop(UploadId).values():
        os.unlink(name)
    return {}


ANSWERS = {
    answer.__name__: answer
    for answer in (
        head_object,
        get_object,
        put_object,
        copy_object,
        delete_object,
        delete_objects,
        head_bucket,
        list_objects_v2,
        create_multipart_upload,
        upload_part,
        upload_part_copy,
        complete_multipart_upload,
        abort_multipart_upload,
    )
}
ANSWERS["get_bucket_location"] = lambda buckets, **_: {"LocationConstraint": None}
ANSWERS["get_bucket_versioning"] = lambda buckets, **_: {}
