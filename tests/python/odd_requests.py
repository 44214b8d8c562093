"""Sends requests that make no sense to every method, over gRPC and over REST, and looks at how they are refused.

Every answer must be a fitting code with a short text: never INTERNAL or UNKNOWN, never a success for nothing. REST must
say the same as gRPC, in JSON and in binary protobuf. Arguments: how many requests for each method, a seed.
"""

import collections
import json
import os
import random
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import grpc
from admin_calls import Place, admin, channel
from common import check
from flyteidl.cacheservice import cacheservice_pb2
from flyteidl.datacatalog import datacatalog_pb2
from flyteidl.service import admin_pb2, dataproxy_pb2, identity_pb2, signal_pb2
from google.api import annotations_pb2
from google.protobuf import json_format, message_factory
from google.rpc import status_pb2
from odd_values import fill

COUNT, SEED = int(sys.argv[1]), int(sys.argv[2])
BASE = "http://" + os.environ["FLYTE_PLATFORM_URL"]
SERVICES = [
    file.DESCRIPTOR.services_by_name[name]
    for file, name in (
        (admin_pb2, "AdminService"), (signal_pb2, "SignalService"), (dataproxy_pb2, "DataProxyService"),
        (identity_pb2, "IdentityService"), (datacatalog_pb2, "DataCatalog"), (cacheservice_pb2, "CacheService"))
]
WRONG = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "CANCELLED", "ABORTED", "RESOURCE_EXHAUSTED"}
# These answer an empty request; kinds and resources that are 0 are the first of their enums.
ANSWER_NOTHING = {"GetVersion", "GetDomains", "ListProjects", "UserInfo", "ListMatchableAttributes", "ListDatasets"}
GARBAGE = [b"\xff\xff\xff", b"\x0a\x05ab", b"\x08\x96\x01" * 3, b"\x0a\x7f" * 60]
NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
OCTETS = "application/octet-stream"
# Signed links end at another time in each reply.
SIGNATURE = re.compile(r"/~\d+~[0-9a-f]+")
wrong, codes = [], collections.Counter()


def call(method, body):
    """The name of the code, and the reply or the text."""
    kind = message_factory.GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    rpc = channel.unary_unary(path, request_serializer=bytes, response_deserializer=kind.FromString)
    try:
        return "OK", rpc(body, timeout=60)
    except grpc.RpcError as error:
        return error.code().name, error.details()


class Rest:
    """A method's call over REST, if the request can be made into one."""

    def __init__(self, method, message):
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        self.verb = rule.WhichOneof("pattern")
        if self.verb is None:
            raise LookupError
        self.method, self.message, self.used = method, message, []
        self.path = re.sub(r"{([^}]*)}", self.variable, getattr(rule, self.verb))
        self.body = rule.body
        if not self.body:
            fields = json_format.MessageToDict(message, preserving_proto_field_name=True)
            query = list(self.query("", fields, message.DESCRIPTOR))
            self.path += "?" + urllib.parse.urlencode(query) if query else ""
        if len(self.path) > 8000:
            raise LookupError

    def variable(self, match):
        name = match[1].split("=")[0]
        value = self.message
        for part in name.split("."):
            value = getattr(value, part)
        if value == "":
            raise LookupError
        self.used.append(name)
        return urllib.parse.quote(str(value), safe="")

    def query(self, prefix, fields, descriptor):
        for key, value in fields.items():
            field, name = descriptor.fields_by_name[key], prefix + key
            if name in self.used:
                continue
            if isinstance(value, dict):
                if field.message_type.full_name.startswith("google.") or field.message_type.GetOptions().map_entry:
                    raise LookupError
                yield from self.query(name + ".", value, field.message_type)
            elif isinstance(value, list):
                if any(isinstance(one, dict) for one in value):
                    raise LookupError
                yield from ((name, one) for one in value)
            else:
                yield name, value

    def send(self, binary):
        """The HTTP status, and the reply or the `google.rpc.Status`."""
        headers = {"accept": OCTETS} if binary else {}
        body = None
        if self.body:
            body = self.message if self.body == "*" else getattr(self.message, self.body)
            headers["content-type"] = OCTETS if binary else "application/json"
            body = body.SerializeToString() if binary else json_format.MessageToJson(body).encode()
        request = urllib.request.Request(BASE + self.path, data=body, method=self.verb.upper(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                reply, said = message_factory.GetMessageClass(self.method.output_type)(), answer.read()
                return 200, reply.FromString(said) if binary else json_format.Parse(said, reply)
        except urllib.error.HTTPError as error:
            said = error.read()
            if binary:
                return error.code, status_pb2.Status.FromString(said)
            said = json.loads(said)
            return error.code, status_pb2.Status(code=said["code"], message=said["message"])


def compare(method, message, code, reply):
    """Calls that change something change what a repeat of them finds; of those only refusals of the request count."""
    is_read = method.name.startswith(("Get", "List", "UserInfo")) and "Reservation" not in method.name
    if not is_read and code != "INVALID_ARGUMENT":
        return
    for binary in (False, True):
        try:
            rest = Rest(method, message)
            status, said = rest.send(binary)
        except (LookupError, TypeError, json_format.SerializeToJsonError):
            return
        codes["REST"] += 1
        where = f"{rest.verb} {rest.path[:300]} ({'binary' if binary else 'JSON'})"
        if (status == 200) != (code == "OK"):
            wrong.append(f"{where}: {status} {said} and not {code} {reply}")
        elif status != 200 and NAMES[said.code] != code:
            wrong.append(f"{where}: {NAMES[said.code]} {said.message} and not {code} {reply}")
        elif status == 200 and SIGNATURE.sub("", str(said)) != SIGNATURE.sub("", str(reply)):
            wrong.append(f"{where}: {said} and not {reply}")


# Something to find.
place = Place()
admin.CreateTask(place.task("copy"))
admin.CreateWorkflow(place.workflow("good", place.node("n0", "copy")))
admin.CreateLaunchPlan(place.plan("good"))
place.until(place.start("good", "good"), "SUCCEEDED")

random_source = random.Random(SEED)
for service in SERVICES:
    for method in service.methods:
        request = message_factory.GetMessageClass(method.input_type)
        messages = [request()] + [fill(random_source, request) for _ in range(COUNT)]
        for n, message in enumerate(messages):
            body = message.SerializeToString()
            code, reply = call(method, body)
            codes[code] += 1
            if code in WRONG or (code != "OK" and not 0 < len(reply) < 8192):
                wrong.append(f"{method.name}: {code} {reply[:500]} for {str(message)[:500]}")
            if n == 0 and code == "OK" and method.name not in ANSWER_NOTHING and len(method.input_type.fields) > 0:
                wrong.append(f"{method.name}: an empty request is answered")
            compare(method, message, code, reply)
        for body in GARBAGE:
            code, reply = call(method, body)
            if code not in ("OK", "INVALID_ARGUMENT"):
                wrong.append(f"{method.name}: {code} {reply} for {body}")
print(f"seed {SEED}: {dict(codes)}")
check(not wrong, f"{len(wrong)} are wrong:\n" + "\n".join(wrong[:20]))
check(codes["REST"] > COUNT and codes["OK"] > COUNT and codes["NOT_FOUND"] > COUNT, codes)
print("SCENARIO OK")
