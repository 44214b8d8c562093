"""Leaves an execution that failed behind one that succeeded in part, and one that sleeps."""

from admin_calls import Place, admin

place = Place()
admin.CreateTask(place.task("copy"))
admin.CreateTask(place.task("fails", outputs=("x", "y")))
admin.CreateTask(place.task("sleeps", sleep_ms=600_000))
for name, nodes in (
    ("broken", (place.node("n0", "copy"), place.node("n1", "fails", "n0"))),
    ("sleeper", (place.node("n0", "sleeps"),)),
):
    admin.CreateWorkflow(place.workflow(name, *nodes))
    admin.CreateLaunchPlan(place.plan(name))
    place.start(name, name)
place.until("broken", "FAILED")
place.until("sleeper", "RUNNING")
print("SCENARIO OK")
