//! Claims about each kind of node, one file for each.

mod array;
mod branch;
mod dynamic;
mod failure_node;
mod gate;
mod launch_plan;
mod nested;
mod sub_workflow;
