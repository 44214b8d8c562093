"""Every type crosses the platform and comes back as it was."""

from datetime import datetime
from typing import Union

import requests
from common import check, phase, remote, version, wait
from types_wf import Colour, Outer, everything

client = remote()
workflow = client.fast_register_workflow(everything, version=version())
execution = client.execute(workflow, inputs={"n": 7, "day": datetime(2025, 5, 6, 7, 8, 9), "shade": Colour.BLUE}, wait=False)
execution = wait(client, execution)
check(phase(execution) == "SUCCEEDED", f"{phase(execution)}: {execution.closure.error}")

out = execution.outputs
text = out.get("text", str)
check(text.startswith("7 0.5 späß True 2025-05-06T07:08:09") and text.endswith(" 90.0"), text)
check(out.get("sums") == {"a": 7.0, "b": 6.0}, out.get("sums"))
check(out.get("attribute", float) == 7 + 4.0 + 7)
check(out.get("shade", Colour) == Colour.RED)
check(out.get("one_of", Union[int, str]) == "was 7")
check(out.get("absent", int) == -1)
check(out.get("present", int) == 7)
check(out.get("file_text", str) == "hello file")
check(out.get("directory_sum", int) == sum(range(7)))
check(out.get("frame_sum", int) == sum(range(7)))
check(out.get("pickled", int) == 7)
check(out.get("right", str) == "two")
outer = out.get("outer", Outer)
check(outer.inner.a == 7 and outer.inner.b == [1.5, 2.5] and outer.lookup == {"x": 7}, outer)
file = out.get("file")
check(str(file.remote_source or file.path).startswith("s3://my-s3-bucket/"), str(file))
with open(file.download()) as source:
    check(source.read() == "hello file")

# Every row a client lists is there and has ended well.
nodes = execution.node_executions
for name, node in nodes.items():
    check(node.closure.phase == 3, f"{name} is in phase {node.closure.phase}")
check("start-node" in nodes and "end-node" in nodes, list(nodes))

# The deck is a page a browser can open.
decked = [node for node in nodes.values() if node.closure.deck_uri]
check(decked, "no node has a deck")
url = client.client.get_download_artifact_signed_url(
    node_id=decked[0].id.node_id, project=execution.id.project, domain=execution.id.domain, name=execution.id.name
).signed_url[0]
page = requests.get(url, timeout=10)
check(page.status_code == 200 and "a deck of cards" in page.text, page.status_code)
check(page.headers["content-type"].startswith("text/html"), page.headers)
print("SCENARIO OK")
