//! Claims about each kind of node, one file for each.

mod array;
mod branch;
mod cache;
mod dynamic;
mod eager;
mod failure_node;
mod gate;
mod launch_plan;
mod nested;
mod offloaded;
mod recovery;
mod sub_workflow;
