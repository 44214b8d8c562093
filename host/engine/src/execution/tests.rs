//! Checks the rules of execution one by one; `tests/simulate` checks them all at once.

mod abort;
mod array;
mod attempts;
mod branch;
mod catalog;
mod cost;
mod dynamic;
mod failure;
mod flow;
mod gate;
mod launch_plan;
mod names;
mod recovery;
mod release;
mod restore;
mod sub_workflow;
